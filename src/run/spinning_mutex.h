// A mutex between the pager thread, the evictor and its storers, which spins for a while before it
// sleeps.
//
// Why: the pager holds it for a few microseconds for each fault, and takes it again for the next. A
// waiter that sleeps has to be woken at every unlock, on another CPU, and comes too late each time:
// that was more than a third of the pager's work under random faults, and held the evictor up.
//
// Thread-safe; satisfies Lockable.
#pragma once

#include <immintrin.h>

#include <mutex>

namespace holdfast::run {

class SpinningMutex {
 public:
  void lock() {
    for (int i = 0; i < kSpins; ++i) {
      if (mutex_.try_lock()) return;
      ::_mm_pause();
    }
    mutex_.lock();
  }
  bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

 private:
  // Some 20 to 50 us: longer than a fault is served for, shorter than a window takes to leave.
  static constexpr int kSpins = 1000;
  std::mutex mutex_;
};

}  // namespace holdfast::run
