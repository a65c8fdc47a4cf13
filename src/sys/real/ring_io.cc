#include "sys/real/ring_io.h"

#include <liburing.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "sync/sync.h"

namespace holdfast::sys::real {
namespace {

constexpr unsigned kDepth = 64;                     // extents in flight per caller
constexpr std::uint64_t kTransferMax = 1ULL << 30;  // one request's length is 32 bits wide
constexpr int kSubmitRetriesMax = 1000;             // EAGAIN: the kernel is short of memory

}  // namespace

class Ring {
 public:
  Ring() noexcept = default;
  ~Ring() {
    if (open_) io_uring_queue_exit(&ring_);
  }
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  int open() noexcept {
    const int result = io_uring_queue_init(kDepth, &ring_, 0);
    open_ = result == 0;
    if (open_) io_uring_ring_dontfork(&ring_);
    return -result;
  }

  [[nodiscard]] bool try_claim() noexcept {
    return !busy_.load(std::memory_order_relaxed) &&
           !busy_.exchange(true, std::memory_order_acquire);
  }
  void give_back() noexcept { busy_.store(false, std::memory_order_release); }

  // The caller has claimed the ring.
  void run(int fd, std::span<IoRequest> requests, IoDirection direction) noexcept {
    while (!requests.empty()) {
      const std::size_t count = std::min<std::size_t>(requests.size(), kDepth);
      run_batch(fd, requests.first(count), direction);
      requests = requests.subspan(count);
    }
  }

 private:
  void run_batch(int fd, std::span<IoRequest> requests, IoDirection direction) noexcept {
    for (std::size_t i = 0; i < requests.size(); ++i) prepare(fd, requests[i], i, direction);
    const unsigned submitted = submit(static_cast<unsigned>(requests.size()));
    for (unsigned i = 0; i < submitted; ++i) reap(fd, requests, direction);
    HF_DCHECK(io_uring_cq_ready(&ring_) == 0);
    // What the kernel did not take stays in the queue of a broken ring: it is not used again.
    for (std::size_t i = submitted; i < requests.size(); ++i) {
      requests[i].error = transfer_plainly(fd, requests[i], 0, direction);
    }
  }

  void prepare(int fd, IoRequest& request, std::size_t index, IoDirection direction) noexcept {
    io_uring_sqe* const sqe = io_uring_get_sqe(&ring_);
    HF_CHECK2(sqe != nullptr, index, kDepth);
    const auto bytes = static_cast<unsigned>(std::min(request.bytes, kTransferMax));
    if (direction == IoDirection::read) {
      io_uring_prep_read(sqe, fd, request.data, bytes, request.offset);
    } else {
      io_uring_prep_write(sqe, fd, request.data, bytes, request.offset);
    }
    io_uring_sqe_set_data64(sqe, index);
  }

  // Hands the prepared entries to the kernel; how many it took. Fewer than all: the ring is broken,
  // its remaining entries must not be submitted by the next caller.
  unsigned submit(unsigned count) noexcept {
    unsigned taken = 0;
    int retries = 0;
    while (taken < count) {
      const int result = io_uring_submit_and_wait(&ring_, taken == 0 ? count : 0);
      if (result > 0) {
        taken += static_cast<unsigned>(result);
      } else if (result != -EINTR && (result != -EAGAIN || ++retries == kSubmitRetriesMax)) {
        broken_ = true;
        break;
      } else {
        sync::parking().relax();
      }
    }
    return taken;
  }

  void reap(int fd, std::span<IoRequest> requests, IoDirection direction) noexcept {
    io_uring_cqe* cqe = nullptr;
    int result = io_uring_wait_cqe(&ring_, &cqe);
    while (result == -EINTR || result == -EAGAIN) result = io_uring_wait_cqe(&ring_, &cqe);
    HF_CHECK2(result == 0 && cqe != nullptr, result,
              0);  // else the buffers may still be written to
    const std::uint64_t index = io_uring_cqe_get_data64(cqe);
    const int outcome = cqe->res;
    io_uring_cqe_seen(&ring_, cqe);
    HF_CHECK2(index < requests.size(), index, requests.size());
    requests[index].error = finish(fd, requests[index], outcome, direction);
  }

  // An interrupted or short transfer is continued plainly: it is rare, and its end tells the error.
  // ECANCELED too: nobody here cancels, but where a signal is pending the kernel may fail to start
  // the worker thread that a request needs, and then cancels the request.
  static int finish(int fd, const IoRequest& request, int outcome, IoDirection direction) noexcept {
    if (outcome == -EINTR || outcome == -EAGAIN || outcome == -ECANCELED) {
      return transfer_plainly(fd, request, 0, direction);
    }
    if (outcome < 0) return -outcome;
    if (outcome == 0) return EIO;
    const auto done = static_cast<std::uint64_t>(outcome);
    return done == request.bytes ? 0 : transfer_plainly(fd, request, done, direction);
  }

  friend class RingPool;

  io_uring ring_{};
  bool open_ = false;
  std::atomic<bool> busy_{false};  // claimed by a caller
  bool broken_ = false;            // holder's: entries are left over; never given back
};

RingPool::RingPool() noexcept = default;
RingPool::~RingPool() = default;

int RingPool::open(std::uint32_t count) {
  HF_CHECK(count_ == 0 && count > 0);
  rings_.reset(new (std::nothrow) Ring[count]);
  if (!rings_) return ENOMEM;
  int error = 0;
  while (count_ < count && error == 0) {
    error = rings_[count_].open();
    if (error == 0) ++count_;
  }
  return count_ > 0 ? 0 : error;
}

bool RingPool::run(int fd, std::span<IoRequest> requests, IoDirection direction) noexcept {
  const int saved = errno;
  for (std::uint32_t i = 0; i < count_; ++i) {
    Ring& ring = rings_[i];
    if (!ring.try_claim()) continue;
    ring.run(fd, requests, direction);
    if (!ring.broken_) ring.give_back();
    errno = saved;
    return true;
  }
  return false;
}

int RingPool::probe() noexcept {
  Ring ring;
  return ring.open();
}

}  // namespace holdfast::sys::real
