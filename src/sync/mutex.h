// Ranked locks. A lock's rank is part of its type and has no default; debug builds abort when a
// thread takes a lock whose rank is not above all that it holds, and name both.
//
// The ladder, top first (DESIGN.md section 4; docs/locking.md tells what each guards):
//   region table -> page-table entry -> before-images -> page -> cache -> LRU -> buddy -> slot map
//   -> tier -> device
//
// All of them are task-only: nothing that an interrupt may call takes a lock. Nobody touches
// managed memory, waits for I/O or runs foreign code while holding one.
#pragma once

#include <atomic>
#include <cstdint>

#include "sync/context.h"
#include "sync/thread_annotations.h"

namespace holdfast::sync {

enum class Rank : std::uint8_t {
  region_table = 1,
  entry = 2,  // page-table entries: many may be held, in ascending address order
  before_images = 3,
  page = 4,
  cache = 5,
  lru = 6,
  buddy = 7,
  slot_map = 8,
  tier = 9,
  device = 10,
};

[[nodiscard]] const char* name(Rank rank) noexcept;

// Debug builds: checks the ladder and notes the lock as held / given back. Release: nothing.
void note_acquire(Rank rank) noexcept;
void note_release(Rank rank) noexcept;
// Debug builds: aborts if this thread holds any ranked lock (before waiting, I/O, foreign code).
void check_none_held() noexcept;
// The same before waiting for I/O on behalf of a fault: page-table entries may be held, for they
// are what marks the pages on their way as busy; no other lock may.
void check_may_wait() noexcept;

namespace detail {
// A futex lock: 0 free, 1 held, 2 held and somebody waits.
class FutexWord {
 public:
  bool try_acquire() noexcept {
    std::uint32_t expected = 0;
    return word_.compare_exchange_strong(expected, 1, std::memory_order_acquire,
                                         std::memory_order_relaxed);
  }
  void acquire() noexcept {
    if (!try_acquire()) acquire_slowly();
  }
  void release() noexcept {
    if (word_.exchange(0, std::memory_order_release) == 2) wake_one();
  }
  [[nodiscard]] bool held() const noexcept { return word_.load(std::memory_order_relaxed) != 0; }

 private:
  void acquire_slowly() noexcept;
  void wake_one() noexcept;

  std::atomic<std::uint32_t> word_{0};
};
}  // namespace detail

template <Rank kRank>
class HF_CAPABILITY("mutex") Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() noexcept HF_ACQUIRE() {
    note_acquire(kRank);
    word_.acquire();
  }
  [[nodiscard]] bool try_lock() noexcept HF_TRY_ACQUIRE(true) {
    if (!word_.try_acquire()) return false;
    note_acquire(kRank);
    return true;
  }
  void unlock() noexcept HF_RELEASE() {
    note_release(kRank);
    word_.release();
  }
  // For checks only: true if somebody holds it.
  [[nodiscard]] bool held() const noexcept { return word_.held(); }

 private:
  detail::FutexWord word_;
};

template <Rank kRank>
class HF_SCOPED_CAPABILITY MutexGuard {
 public:
  explicit MutexGuard(Mutex<kRank>& mutex) noexcept HF_ACQUIRE(mutex) : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexGuard() HF_RELEASE() { mutex_.unlock(); }
  MutexGuard(const MutexGuard&) = delete;
  MutexGuard& operator=(const MutexGuard&) = delete;

 private:
  Mutex<kRank>& mutex_;
};

}  // namespace holdfast::sync
