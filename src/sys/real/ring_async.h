// AsyncIo through io_uring.
//
// One ring for all submitters, whose queue a lock of rank `device` guards; completions are taken by
// one thread at a time. wake() writes to an eventfd that the ring polls, so that a reaper that
// waits in the kernel returns.
#pragma once

#include <liburing.h>

#include <atomic>
#include <memory>

#include "sync/sync.h"
#include "sys/async_io.h"

namespace holdfast::sys::real {

class RingAsync final : public AsyncIo {
 public:
  // Errors: permission (EPERM, EACCES), unsupported (ENOSYS, a kernel before 5.11), system.
  [[nodiscard]] static Expected<std::unique_ptr<AsyncIo>> open(const AsyncIoOptions& options);
  ~RingAsync() override;
  RingAsync(const RingAsync&) = delete;
  RingAsync& operator=(const RingAsync&) = delete;

  void submit(std::span<const AsyncRequest> requests) noexcept override;
  void cancel(std::uint64_t id) noexcept override;
  std::uint32_t reap(std::span<AsyncCompletion> out, std::uint64_t timeout_ns,
                     std::uint32_t least) noexcept override;
  void wake() noexcept override;
  [[nodiscard]] const char* description() const noexcept override { return "io_uring"; }

 private:
  RingAsync() noexcept = default;
  int set_up(const AsyncIoOptions& options) noexcept;
  io_uring_sqe& next_entry() noexcept HF_REQUIRES(mutex_);
  void flush() noexcept HF_REQUIRES(mutex_);
  void prepare(const AsyncRequest& request) noexcept HF_REQUIRES(mutex_);
  void arm_wake() noexcept HF_REQUIRES(mutex_);
  std::uint32_t take(std::span<AsyncCompletion> out, bool& woken) noexcept;
  void rearm_wake() noexcept;
  void wait(std::uint64_t timeout_ns, std::uint32_t least) noexcept;

  sync::Mutex<sync::Rank::device> mutex_;
  io_uring ring_{};  // its submission side is the lock's, its completion side the reaper's
  bool open_ = false;
  int wake_fd_ = -1;
  std::atomic<bool> left_over_{false};  // entries that the kernel had no memory for yet
  // Bumped before the kernel gets entries and looked at when it gives their results. The kernel
  // orders the two, and this says so in the terms of the language: who takes a result sees all that
  // was done before the submission.
  std::atomic<std::uint32_t> submissions_{0};
};

}  // namespace holdfast::sys::real
