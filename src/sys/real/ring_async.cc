#include "sys/real/ring_async.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <new>

namespace holdfast::sys::real {
namespace {

static_assert(sizeof(IoPart) == sizeof(iovec) &&
              offsetof(IoPart, bytes) == offsetof(iovec, iov_len));

// Numbers of the ring's own, above those of requests.
constexpr std::uint64_t kWakeId = ~std::uint64_t{0};
constexpr std::uint64_t kCancelId = kWakeId - 1;
constexpr unsigned kEntriesMax = 1024;   // a batch is submitted in pieces of that many
constexpr int kSubmitRetriesMax = 1000;  // EAGAIN: the kernel is short of memory
// How long a reaper waits at most while entries are left over: it tries to submit them again.
constexpr std::uint64_t kLeftOverNs = 1'000'000;
// How long it waits at most for several completions: some may never come.
constexpr std::uint64_t kSeveralNs = 1'000'000;

Error ring_error(int os_errno) noexcept {
  const bool refused = os_errno == EPERM || os_errno == EACCES;
  const bool missing = os_errno == ENOSYS || os_errno == EOPNOTSUPP;
  return {.code = refused ? Errc::permission : (missing ? Errc::unsupported : Errc::system),
          .os_errno = os_errno,
          .doing = "set up io_uring",
          .remedy =
              "sysctl kernel.io_uring_disabled=0 and a seccomp profile that allows io_uring, "
              "Linux 5.11 or newer; or choose the thread backend"};
}

}  // namespace

Expected<std::unique_ptr<AsyncIo>> RingAsync::open(const AsyncIoOptions& options) {
  std::unique_ptr<RingAsync> ring(new (std::nothrow) RingAsync());
  if (!ring) return fail({.code = Errc::out_of_memory, .doing = "set up io_uring"});
  if (const int error = ring->set_up(options); error != 0) return fail(ring_error(error));
  return std::unique_ptr<AsyncIo>(std::move(ring));
}

int RingAsync::set_up(const AsyncIoOptions& options) noexcept {
  io_uring_params params{};
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
  // Requests, as many cancellations, and the wake-up.
  params.cq_entries = std::bit_ceil(2 * options.depth + 16);
  // A submitter that computes need not be interrupted for each completion if it asks itself.
  const unsigned cooperative = IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  if (options.reaped_by_submitter) params.flags |= cooperative;
  const unsigned entries = std::min(std::bit_ceil(options.depth), kEntriesMax);
  int result = io_uring_queue_init_params(entries, &ring_, &params);
  if (result == -EINVAL && options.reaped_by_submitter) {  // before Linux 5.19
    params.flags &= ~cooperative;
    result = io_uring_queue_init_params(entries, &ring_, &params);
  }
  if (result < 0) return -result;
  open_ = true;
  // Without EXT_ARG a wait with a time limit goes through the submission queue, which others fill.
  constexpr unsigned kNeeded = IORING_FEAT_EXT_ARG | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE;
  if ((params.features & kNeeded) != kNeeded) return EOPNOTSUPP;
  io_uring_ring_dontfork(&ring_);
  wake_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (wake_fd_ < 0) return errno;
  const sync::MutexGuard guard(mutex_);
  arm_wake();
  flush();
  return 0;
}

RingAsync::~RingAsync() {
  if (open_) io_uring_queue_exit(&ring_);
  if (wake_fd_ >= 0) ::close(wake_fd_);
}

void RingAsync::arm_wake() noexcept {
  io_uring_sqe& entry = next_entry();
  io_uring_prep_poll_add(&entry, wake_fd_, POLLIN);
  io_uring_sqe_set_data64(&entry, kWakeId);
}

io_uring_sqe& RingAsync::next_entry() noexcept {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  while (entry == nullptr) {  // full: the kernel takes what is there
    flush();
    entry = io_uring_get_sqe(&ring_);
  }
  return *entry;
}

// What the kernel does not take for want of memory stays in the queue, and is tried again by the
// next submission or by the reaper.
void RingAsync::flush() noexcept {
  int retries = 0;
  while (io_uring_sq_ready(&ring_) != 0) {
    const int result = io_uring_submit(&ring_);
    if (result > 0 || result == -EINTR) continue;
    if (++retries == kSubmitRetriesMax) break;
    sync::parking().relax();
  }
  left_over_.store(io_uring_sq_ready(&ring_) != 0, std::memory_order_relaxed);
}

void RingAsync::prepare(const AsyncRequest& request) noexcept {
  io_uring_sqe& entry = next_entry();
  const auto* vectors = reinterpret_cast<const iovec*>(request.parts);
  const bool single = request.count == 1;
  switch (request.kind) {
    case AsyncKind::read:
      if (single) {
        io_uring_prep_read(&entry, request.fd, vectors->iov_base,
                           static_cast<unsigned>(vectors->iov_len), request.offset);
      } else {
        io_uring_prep_readv(&entry, request.fd, vectors, request.count, request.offset);
      }
      break;
    case AsyncKind::write:
      if (single) {
        io_uring_prep_write(&entry, request.fd, vectors->iov_base,
                            static_cast<unsigned>(vectors->iov_len), request.offset);
      } else {
        io_uring_prep_writev(&entry, request.fd, vectors, request.count, request.offset);
      }
      break;
    case AsyncKind::sync:
      io_uring_prep_fsync(&entry, request.fd, 0);
      break;
    case AsyncKind::data_sync:
      io_uring_prep_fsync(&entry, request.fd, IORING_FSYNC_DATASYNC);
      break;
  }
  io_uring_sqe_set_data64(&entry, request.id);
}

void RingAsync::submit(std::span<const AsyncRequest> requests) noexcept {
  const sync::MutexGuard guard(mutex_);
  for (const AsyncRequest& request : requests) prepare(request);
  submissions_.fetch_add(1, std::memory_order_release);
  flush();
}

void RingAsync::cancel(std::uint64_t id) noexcept {
  const sync::MutexGuard guard(mutex_);
  io_uring_sqe& entry = next_entry();
  io_uring_prep_cancel64(&entry, id, 0);
  io_uring_sqe_set_data64(&entry, kCancelId);
  flush();
}

std::uint32_t RingAsync::reap(std::span<AsyncCompletion> out, std::uint64_t timeout_ns,
                              std::uint32_t least) noexcept {
  if (left_over_.load(std::memory_order_relaxed)) {
    timeout_ns = std::min(timeout_ns, kLeftOverNs);
    const sync::MutexGuard guard(mutex_);
    flush();
  }
  bool woken = false;
  const std::uint32_t taken = take(out, woken);
  if (taken >= least || timeout_ns == 0 || woken) return taken;
  if (taken != 0) timeout_ns = std::min(timeout_ns, kSeveralNs);
  wait(timeout_ns, std::min<std::uint32_t>(least, static_cast<std::uint32_t>(out.size())) - taken);
  return taken + take(out.subspan(taken), woken);
}

void RingAsync::wait(std::uint64_t timeout_ns, std::uint32_t least) noexcept {
  sync::check_none_held();
  io_uring_cqe* first = nullptr;
  // Whatever it returns: whether something is there is seen by looking.
  if (timeout_ns == kForever && least <= 1) {
    (void)io_uring_wait_cqe(&ring_, &first);
    return;
  }
  if (least > 1) timeout_ns = std::min(timeout_ns, kSeveralNs);
  constexpr std::uint64_t kSecond = 1'000'000'000;
  __kernel_timespec limit{.tv_sec = static_cast<std::int64_t>(timeout_ns / kSecond),
                          .tv_nsec = static_cast<long long>(timeout_ns % kSecond)};
  (void)io_uring_wait_cqes(&ring_, &first, std::max(least, 1U), &limit, nullptr);
}

std::uint32_t RingAsync::take(std::span<AsyncCompletion> out, bool& woken) noexcept {
  std::uint32_t taken = 0;
  while (taken < out.size()) {
    io_uring_cqe* entry = nullptr;
    if (io_uring_peek_cqe(&ring_, &entry) != 0 || entry == nullptr) break;
    const std::uint64_t id = io_uring_cqe_get_data64(entry);
    const int result = entry->res;
    (void)submissions_.load(std::memory_order_acquire);
    io_uring_cqe_seen(&ring_, entry);
    woken = woken || id == kWakeId;
    if (id < kCancelId) out[taken++] = {.id = id, .result = result};
  }
  if (woken) rearm_wake();
  return taken;
}

void RingAsync::rearm_wake() noexcept {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = ::read(wake_fd_, &count, sizeof count);
  const sync::MutexGuard guard(mutex_);
  arm_wake();
  flush();
}

void RingAsync::wake() noexcept {
  const int saved = errno;
  const std::uint64_t one = 1;
  // EAGAIN: so many wake-ups are waiting that one more makes no difference.
  [[maybe_unused]] const ssize_t put = ::write(wake_fd_, &one, sizeof one);
  errno = saved;
}

}  // namespace holdfast::sys::real
