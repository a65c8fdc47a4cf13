#include "sys/real/thread_async.h"

#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>

#include "sys/real/real_thread.h"

namespace holdfast::sys::real {
namespace {

bool is_stream(int fd) noexcept {
  struct stat status{};
  if (::fstat(fd, &status) != 0) return false;  // the transfer itself says what is wrong
  return !S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode) && !S_ISDIR(status.st_mode);
}

std::int64_t outcome(ssize_t result) noexcept { return result >= 0 ? result : -errno; }

std::int64_t transfer(const AsyncRequest& request, const iovec* vectors, int count,
                      int flags) noexcept {
  const auto offset =
      request.offset == AsyncRequest::kCurrent ? off_t{-1} : static_cast<off_t>(request.offset);
  std::int64_t result = 0;
  do {
    result = outcome(request.kind == AsyncKind::read
                         ? ::preadv2(request.fd, vectors, count, offset, flags)
                         : ::pwritev2(request.fd, vectors, count, offset, flags));
  } while (result == -EINTR);
  return result;
}

std::int64_t transfer_socket(const AsyncRequest& request, iovec* vectors) noexcept {
  msghdr message{};
  message.msg_iov = vectors;
  message.msg_iovlen = request.count;
  return outcome(request.kind == AsyncKind::read ? ::recvmsg(request.fd, &message, MSG_DONTWAIT)
                                                 : ::sendmsg(request.fd, &message, MSG_DONTWAIT));
}

// One step of a transfer on a stream that does not wait; -EAGAIN: it would have to.
std::int64_t transfer_stream(const AsyncRequest& request, bool ready) noexcept {
  auto* vectors = const_cast<iovec*>(reinterpret_cast<const iovec*>(request.parts));
  const auto count = static_cast<int>(request.count);
  std::int64_t result = transfer(request, vectors, count, RWF_NOWAIT);
  if (result != -EOPNOTSUPP) return result;
  result = transfer_socket(request, vectors);
  if (result != -ENOTSOCK) return result;
  if (!ready) return -EAGAIN;
  if (request.kind == AsyncKind::read) return transfer(request, vectors, count, 0);
  // Ready for writing means room for PIPE_BUF bytes; more could block the worker.
  iovec piece = vectors[0];
  for (std::uint32_t i = 1; i < request.count && piece.iov_len == 0; ++i) piece = vectors[i];
  piece.iov_len = std::min<std::size_t>(piece.iov_len, PIPE_BUF);
  return transfer(request, &piece, 1, 0);
}

std::int64_t perform(const AsyncRequest& request, bool ready) noexcept {
  switch (request.kind) {
    case AsyncKind::sync:
      return outcome(::fsync(request.fd));
    case AsyncKind::data_sync:
      return outcome(::fdatasync(request.fd));
    case AsyncKind::read:
    case AsyncKind::write:
      break;
  }
  if (is_stream(request.fd)) return transfer_stream(request, ready);
  return transfer(request, reinterpret_cast<const iovec*>(request.parts),
                  static_cast<int>(request.count), 0);
}

}  // namespace

struct ThreadAsync::Polled : pollfd {
  std::uint64_t id = 0;
};

ThreadAsync::ThreadAsync(const AsyncIoOptions& options) {
  runnable_.make_room(options.depth);
  done_.make_room(options.depth);
  parked_.reserve(options.depth);
  in_hand_.reserve(options.threads);
  polled_.resize(options.depth + 1);
}

Expected<std::unique_ptr<AsyncIo>> ThreadAsync::open(const AsyncIoOptions& options) {
  std::unique_ptr<ThreadAsync> made(new (std::nothrow) ThreadAsync(options));
  if (!made) return fail({.code = Errc::out_of_memory, .doing = "start I/O threads"});
  TRY_VOID(made->start(options));
  return std::unique_ptr<AsyncIo>(std::move(made));
}

Expected<void> ThreadAsync::start(const AsyncIoOptions& options) {
  poll_fd_ = ::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (poll_fd_ < 0) {
    return fail({.code = Errc::system,
                 .os_errno = errno,
                 .doing = "start I/O threads",
                 .remedy = "raise the limit of open files (ulimit -n)"});
  }
  threads_.push_back(TRY(start_real_thread("hf-io-poll", &ThreadAsync::run_poller, this)));
  for (std::uint32_t i = 0; i < options.threads; ++i) {
    threads_.push_back(TRY(start_real_thread("hf-io", &ThreadAsync::run_worker, this)));
  }
  return {};
}

ThreadAsync::~ThreadAsync() {
  stop_.store(true);
  signal(work_, sync::kWakeAll);
  if (poll_fd_ >= 0) nudge_poller();
  for (const auto& thread : threads_) thread->join();
  if (poll_fd_ >= 0) ::close(poll_fd_);
}

void ThreadAsync::signal(std::atomic<std::uint32_t>& word, std::uint32_t waiters) noexcept {
  word.fetch_add(1);
  sync::parking().wake(word, waiters);
}

void ThreadAsync::nudge_poller() noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(poll_fd_, &one, sizeof one);
}

void ThreadAsync::submit(std::span<const AsyncRequest> requests) noexcept {
  {
    const sync::MutexGuard guard(mutex_);
    for (const AsyncRequest& request : requests) runnable_.push({.request = request});
  }
  signal(work_, static_cast<std::uint32_t>(requests.size()));
}

void ThreadAsync::cancel(std::uint64_t id) noexcept {
  const sync::MutexGuard guard(mutex_);
  const auto parked = std::ranges::find(parked_, id, [](const Job& job) { return job.request.id; });
  if (parked != parked_.end()) {
    parked_.erase(parked);
    finish_locked(id, -ECANCELED);
    return;
  }
  for (InHand& held : in_hand_) {
    if (held.id == id) held.cancelled = true;
  }
  for (std::size_t left = runnable_.size(); left > 0; --left) {  // once round, in order
    const Job job = runnable_.pop();
    if (job.request.id == id) {
      finish_locked(id, -ECANCELED);
    } else {
      runnable_.push(job);
    }
  }
}

void ThreadAsync::finish_locked(std::uint64_t id, std::int64_t result) noexcept {
  done_.push({.id = id, .result = result});
  signal(events_, sync::kWakeAll);
}

void ThreadAsync::finish(std::uint64_t id, std::int64_t result) noexcept {
  const sync::MutexGuard guard(mutex_);
  (void)let_go_locked(id);
  finish_locked(id, result);
}

// The worker has done what it could. True: it was asked to end meanwhile.
bool ThreadAsync::let_go_locked(std::uint64_t id) noexcept {
  const auto held = std::ranges::find(in_hand_, id, &InHand::id);
  HF_CHECK2(held != in_hand_.end(), id, in_hand_.size());
  const bool cancelled = held->cancelled;
  in_hand_.erase(held);
  return cancelled;
}

// --- workers ---

void ThreadAsync::run_worker(void* self) noexcept { static_cast<ThreadAsync*>(self)->work(); }

bool ThreadAsync::take_job(Job& job) noexcept {
  const sync::MutexGuard guard(mutex_);
  if (runnable_.size() == 0) return false;
  job = runnable_.pop();
  in_hand_.push_back({.id = job.request.id});
  return true;
}

void ThreadAsync::work() noexcept {
  while (!stop_.load()) {
    const std::uint32_t seen = work_.load();
    Job job;
    if (!take_job(job)) {
      if (!stop_.load()) sync::parking().wait(work_, seen, 0);
      continue;
    }
    const std::int64_t result = perform(job.request, job.ready);
    if (result == -EAGAIN && is_stream(job.request.fd)) {
      park(job);
    } else {
      finish(job.request.id, result);
    }
  }
}

void ThreadAsync::park(const Job& job) noexcept {
  {
    const sync::MutexGuard guard(mutex_);
    if (let_go_locked(job.request.id)) return finish_locked(job.request.id, -ECANCELED);
    parked_.push_back({.request = job.request});
  }
  nudge_poller();
}

// --- the poller ---

void ThreadAsync::run_poller(void* self) noexcept { static_cast<ThreadAsync*>(self)->poll(); }

void ThreadAsync::poll() noexcept {
  while (!stop_.load()) {
    const std::size_t count = list_parked();
    // pollfd and what goes with it lie together, but poll() wants an array of the former.
    std::vector<pollfd> descriptors(polled_.begin(), polled_.begin() + static_cast<long>(count));
    if (::poll(descriptors.data(), count, -1) <= 0) continue;
    for (std::size_t i = 0; i < count; ++i) polled_[i].revents = descriptors[i].revents;
    if (polled_[0].revents != 0) {
      std::uint64_t nudges = 0;
      [[maybe_unused]] const ssize_t got = ::read(poll_fd_, &nudges, sizeof nudges);
    }
    unpark(count);
  }
}

std::size_t ThreadAsync::list_parked() noexcept {
  const sync::MutexGuard guard(mutex_);
  std::size_t count = 0;
  const auto add = [&](int fd, short events, std::uint64_t id) noexcept {
    Polled& polled = polled_[count++];
    polled.fd = fd;
    polled.events = events;
    polled.revents = 0;
    polled.id = id;
  };
  add(poll_fd_, POLLIN, 0);
  for (const Job& job : parked_) {
    add(job.request.fd, job.request.kind == AsyncKind::read ? POLLIN : POLLOUT, job.request.id);
  }
  return count;
}

// Ready, broken or closed: a worker finds out which.
void ThreadAsync::unpark(std::size_t polled) noexcept {
  std::uint32_t made = 0;
  {
    const sync::MutexGuard guard(mutex_);
    for (std::size_t i = 1; i < polled; ++i) {
      if (polled_[i].revents == 0) continue;
      const auto job = std::ranges::find(parked_, polled_[i].id,
                                         [](const Job& parked) { return parked.request.id; });
      if (job == parked_.end()) continue;  // cancelled meanwhile
      runnable_.push({.request = job->request, .ready = true});
      parked_.erase(job);
      ++made;
    }
  }
  if (made > 0) signal(work_, made);
}

// --- completions ---

std::uint32_t ThreadAsync::reap(std::span<AsyncCompletion> out, std::uint64_t timeout_ns,
                                std::uint32_t /*least*/) noexcept {
  const auto take = [&]() noexcept {
    const sync::MutexGuard guard(mutex_);
    std::uint32_t taken = 0;
    while (taken < out.size() && done_.size() > 0) out[taken++] = done_.pop();
    return taken;
  };
  const std::uint32_t seen = events_.load();
  const std::uint32_t taken = take();
  if (taken != 0 || timeout_ns == 0 || woken_.exchange(false)) return taken;
  sync::parking().wait(events_, seen, timeout_ns == kForever ? 0 : timeout_ns);
  woken_.store(false);
  return take();
}

void ThreadAsync::wake() noexcept {
  woken_.store(true);
  signal(events_, sync::kWakeAll);
}

}  // namespace holdfast::sys::real
