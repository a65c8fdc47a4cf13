#include "sys/real/handler_thread.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
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
  if (stop_fd_ >= 0) ::close(stop_fd_);
}

Expected<void> HandlerThread::start() {
  HF_CHECK(!thread_);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_fd_ < 0) {
    return fail({.code = Errc::system, .os_errno = errno, .doing = "make eventfd"});
  }
  thread_ = TRY(start_real_thread("holdfast-fault", &HandlerThread::main, this));
  return {};
}

void HandlerThread::main(void* self) { static_cast<HandlerThread*>(self)->serve_until_stopped(); }

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
  const Address address = message.arg.pagefault.address;
  const Address page = address & ~(kPageSize - 1);
  const auto thread_id = static_cast<int>(message.arg.pagefault.feat.ptid);
  const bool write = (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0;
  follower_.follow(thread_id);
  const FaultOutcome outcome = sink_.on_fault(address, write ? Access::write : Access::read);
  if (outcome == FaultOutcome::fatal) refuse(page, thread_id);
  // Also when nobody knows the address: its region has just gone, and the thread looks again.
  userfault_.wake(page, kPageSize);
}

void HandlerThread::refuse(Address page, int thread_id) noexcept {
  const int error = userfault_.poison(page, kPageSize);
  if (error == 0 || error == EEXIST) return;  // EEXIST: somebody brought the page after all
  ::syscall(SYS_tgkill, ::getpid(), thread_id, SIGBUS);
}

}  // namespace holdfast::sys::real
