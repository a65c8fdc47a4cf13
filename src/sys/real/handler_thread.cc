#include "sys/real/handler_thread.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <csignal>

#include "sys/real/real_thread.h"

namespace holdfast::sys::real {
namespace {

constexpr std::size_t kBatchMax =
    16;  // messages per read: more threads than that fault at once rarely

}  // namespace

HandlerThread::~HandlerThread() {
  if (thread_) {
    const std::uint64_t one = 1;
    const ssize_t written = ::write(stop_fd_, &one, sizeof(one));
    HF_CHECK2(written == sizeof(one), written, errno);
    thread_->join();
  }
  if (!far_.empty()) ::fcntl(far_in_, F_SETFL, 0);  // nobody but us writes any more: it may wait
  const Fault stop{.thread_id = kStop};
  for (std::size_t i = 0; i < far_.size(); ++i) {
    const ssize_t written = ::write(far_in_, &stop, sizeof stop);
    HF_CHECK2(written == sizeof stop, written, errno);
  }
  for (const auto& thread : far_) thread->join();
  for (const int fd : {stop_fd_, far_in_, far_out_}) {
    if (fd >= 0) ::close(fd);
  }
}

Expected<void> HandlerThread::start() {
  HF_CHECK(!thread_);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_fd_ < 0) {
    return fail({.code = Errc::system, .os_errno = errno, .doing = "make eventfd"});
  }
  if (far_threads_ > 0) TRY_VOID(start_far_threads());
  thread_ = TRY(start_real_thread("holdfast-fault", &HandlerThread::main, this));
  return {};
}

Expected<void> HandlerThread::start_far_threads() {
  int ends[2] = {-1, -1};
  if (::pipe2(ends, O_CLOEXEC) != 0) {
    return fail({.code = Errc::system, .os_errno = errno, .doing = "make pipe"});
  }
  far_out_ = ends[0];
  far_in_ = ends[1];
  if (::fcntl(far_in_, F_SETFL, O_NONBLOCK) != 0) {
    return fail({.code = Errc::system, .os_errno = errno, .doing = "make pipe"});
  }
  for (std::uint32_t i = 0; i < far_threads_; ++i) {
    far_.push_back(TRY(start_real_thread("holdfast-far", &HandlerThread::far_main, this)));
  }
  return {};
}

void HandlerThread::main(void* self) { static_cast<HandlerThread*>(self)->serve_until_stopped(); }

void HandlerThread::far_main(void* self) { static_cast<HandlerThread*>(self)->serve_far(); }

void HandlerThread::serve_until_stopped() noexcept {
  std::array<pollfd, 2> fds{pollfd{.fd = userfault_.fd(), .events = POLLIN, .revents = 0},
                            pollfd{.fd = stop_fd_, .events = POLLIN, .revents = 0}};
  for (;;) {
    const int ready = ::poll(fds.data(), fds.size(), -1);
    HF_CHECK2(ready > 0 || errno == EINTR, ready, errno);
    if (ready <= 0) continue;
    if ((fds[0].revents & POLLIN) != 0) drain();
    if (fds[1].revents != 0) return;
  }
}

void HandlerThread::drain() noexcept {
  std::array<uffd_msg, kBatchMax> messages;
  for (;;) {
    const ssize_t bytes = ::read(userfault_.fd(), messages.data(), sizeof(messages));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) {
      HF_CHECK2(bytes < 0 && errno == EAGAIN, bytes, errno);
      return;
    }
    const std::size_t count = static_cast<std::size_t>(bytes) / sizeof(uffd_msg);
    for (std::size_t i = 0; i < count; ++i) serve(messages[i]);
  }
}

void HandlerThread::serve(const uffd_msg& message) noexcept {
  HF_DCHECK2(message.event == UFFD_EVENT_PAGEFAULT, message.event, 0);
  if (message.event != UFFD_EVENT_PAGEFAULT) return;
  const Fault fault{.address = message.arg.pagefault.address,
                    .access = (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0
                                  ? Access::write
                                  : Access::read,
                    .thread_id = static_cast<int>(message.arg.pagefault.feat.ptid)};
  follower_.follow(fault.thread_id);
  if (far_.empty()) return answer(fault, sink_.on_fault(fault.address, fault.access));
  const FaultOutcome outcome = sink_.on_near_fault(fault.address, fault.access);
  outcome == FaultOutcome::far ? hand_over(fault) : answer(fault, outcome);
}

void HandlerThread::hand_over(const Fault& fault) noexcept {
  static_assert(sizeof fault <= PIPE_BUF, "written and read whole");
  // Where the pipe is full, it will be back.
  if (::write(far_in_, &fault, sizeof fault) != sizeof fault) answer(fault, FaultOutcome::served);
}

// A thread for faults that may wait for what is beyond this machine.
void HandlerThread::serve_far() noexcept {
  for (;;) {
    Fault fault;
    const ssize_t got = ::read(far_out_, &fault, sizeof fault);
    if (got < 0 && errno == EINTR) continue;
    HF_CHECK2(got == sizeof fault, got, errno);
    if (fault.thread_id == kStop) return;
    answer(fault, sink_.on_fault(fault.address, fault.access));
  }
}

void HandlerThread::answer(const Fault& fault, FaultOutcome outcome) noexcept {
  const Address page = fault.address & ~(kPageSize - 1);
  if (outcome == FaultOutcome::fatal) refuse(page, fault.thread_id);
  // Also when nobody knows the address: its region has just gone, and the thread looks again.
  userfault_.wake(page, kPageSize);
}

void HandlerThread::refuse(Address page, int thread_id) noexcept {
  const int error = userfault_.poison(page, kPageSize);
  if (error == 0 || error == EEXIST) return;  // EEXIST: somebody brought the page after all
  ::syscall(SYS_tgkill, ::getpid(), thread_id, SIGBUS);
}

}  // namespace holdfast::sys::real
