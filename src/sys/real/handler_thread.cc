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
  {
    const std::lock_guard lock(far_mutex_);
    stopped_ = true;
  }
  far_due_.notify_all();
  for (const auto& thread : far_) thread->join();
  if (stop_fd_ >= 0) ::close(stop_fd_);
}

Expected<void> HandlerThread::start() {
  HF_CHECK(!thread_);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (stop_fd_ < 0) {
    return fail({.code = Errc::system, .os_errno = errno, .doing = "make eventfd"});
  }
  for (std::uint32_t i = 0; i < far_threads_; ++i) {
    far_.push_back(TRY(start_real_thread("holdfast-far", &HandlerThread::far_main, this)));
  }
  thread_ = TRY(start_real_thread("holdfast-fault", &HandlerThread::main, this));
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
  bool taken = false;
  {
    const std::lock_guard lock(far_mutex_);
    taken = far_count_ < kFarFaultsMax;
    if (taken) far_faults_[(far_first_ + far_count_++) % kFarFaultsMax] = fault;
  }
  if (!taken) return answer(fault, FaultOutcome::served);  // it will be back
  far_due_.notify_one();
}

// A thread for faults that may wait for what is beyond this machine.
void HandlerThread::serve_far() noexcept {
  std::unique_lock lock(far_mutex_);
  for (;;) {
    far_due_.wait(lock, [this] { return stopped_ || far_count_ > 0; });
    if (stopped_) return;
    const Fault fault = far_faults_[far_first_];
    far_first_ = (far_first_ + 1) % kFarFaultsMax;
    --far_count_;
    lock.unlock();
    answer(fault, sink_.on_fault(fault.address, fault.access));
    lock.lock();
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
