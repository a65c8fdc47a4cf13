// AsyncIo by threads, for where io_uring is forbidden.
//
//   submit ──▶ runnable ──worker──▶ done ──▶ reap
//                 ▲          │ would block (pipes, sockets)
//                 └─poller── parked
//
// A worker never waits for a stream: what would block is parked, and the poller makes it runnable
// when its descriptor is ready. So a few workers serve any number of silent pipes, and a parked
// request can be cancelled at once. Files block their worker, as disks do.
//
// All books are made for `depth` requests when it is opened; one lock of rank `device` guards them.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "sync/sync.h"
#include "sys/async_io.h"
#include "sys/machine.h"

namespace holdfast::sys::real {

class ThreadAsync final : public AsyncIo {
 public:
  // Errors: out_of_memory, system (no thread, no descriptor).
  [[nodiscard]] static Expected<std::unique_ptr<AsyncIo>> open(const AsyncIoOptions& options);
  ~ThreadAsync() override;
  ThreadAsync(const ThreadAsync&) = delete;
  ThreadAsync& operator=(const ThreadAsync&) = delete;

  void submit(std::span<const AsyncRequest> requests) noexcept override;
  void cancel(std::uint64_t id) noexcept override;
  std::uint32_t reap(std::span<AsyncCompletion> out, std::uint64_t timeout_ns,
                     std::uint32_t least) noexcept override;
  void wake() noexcept override;
  [[nodiscard]] const char* description() const noexcept override { return "threads"; }

 private:
  struct Job {
    AsyncRequest request;
    bool ready = false;  // the poller has seen its descriptor ready
  };
  // A request that a worker has taken: one that must not wait any more ends when it would park.
  struct InHand {
    std::uint64_t id = 0;
    bool cancelled = false;
  };
  // First in, first out, in room that was made beforehand.
  template <class T>
  class Fifo {
   public:
    void make_room(std::size_t most) { cells_.resize(most); }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    void push(const T& value) noexcept {
      HF_CHECK2(size_ < cells_.size(), size_, cells_.size());  // more in flight than `depth`
      cells_[(first_ + size_++) % cells_.size()] = value;
    }
    T pop() noexcept {
      const T value = cells_[first_];
      first_ = (first_ + 1) % cells_.size();
      --size_;
      return value;
    }

   private:
    std::vector<T> cells_;
    std::size_t first_ = 0, size_ = 0;
  };

  explicit ThreadAsync(const AsyncIoOptions& options);
  Expected<void> start(const AsyncIoOptions& options);
  static void run_worker(void* self) noexcept;
  static void run_poller(void* self) noexcept;
  void work() noexcept;
  void poll() noexcept;
  bool take_job(Job& job) noexcept;
  void park(const Job& job) noexcept;
  void finish(std::uint64_t id, std::int64_t result) noexcept;
  bool let_go_locked(std::uint64_t id) noexcept HF_REQUIRES(mutex_);
  void finish_locked(std::uint64_t id, std::int64_t result) noexcept HF_REQUIRES(mutex_);
  std::size_t list_parked() noexcept;
  void unpark(std::size_t polled) noexcept;
  void signal(std::atomic<std::uint32_t>& word, std::uint32_t waiters) noexcept;
  void nudge_poller() noexcept;

  sync::Mutex<sync::Rank::device> mutex_;
  Fifo<Job> runnable_ HF_GUARDED_BY(mutex_);
  std::vector<Job> parked_ HF_GUARDED_BY(mutex_);
  std::vector<InHand> in_hand_ HF_GUARDED_BY(mutex_);
  Fifo<AsyncCompletion> done_ HF_GUARDED_BY(mutex_);

  struct Polled;
  std::vector<Polled> polled_;            // the poller's own
  std::atomic<std::uint32_t> work_{0};    // bumped when something becomes runnable
  std::atomic<std::uint32_t> events_{0};  // bumped when something is done, or by wake()
  std::atomic<bool> woken_{false};
  std::atomic<bool> stop_{false};
  int poll_fd_ = -1;  // eventfd: what is parked has changed
  std::vector<std::unique_ptr<Thread>> threads_;
};

}  // namespace holdfast::sys::real
