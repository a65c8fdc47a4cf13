// How the LRU lock is taken in the two protocols that free under it.
#pragma once

#include <csignal>

#include "sync/sync.h"

namespace holdfast::bench {

using LruMutex = sync::Mutex<sync::Rank::lru>;

// spin_lock(): a task's lock. An interrupt may come in the middle and must not take it; the scope
// is how it knows (in_interrupt()).
class HF_SCOPED_CAPABILITY TaskGuard {
 public:
  explicit TaskGuard(LruMutex& mutex) noexcept HF_ACQUIRE(mutex) : mutex_(mutex) { mutex_.lock(); }
  ~TaskGuard() HF_RELEASE() { mutex_.unlock(); }
  TaskGuard(const TaskGuard&) = delete;
  TaskGuard& operator=(const TaskGuard&) = delete;

 private:
  sync::EngineScope scope_;
  LruMutex& mutex_;
};

// spin_lock_irqsave(): what interrupts a thread in user space is a signal, so signals are blocked
// while the lock is held. Legal in any context but the allocator's, whose own lock comes after this
// one; 2.4 switched interrupts off there too.
class HF_SCOPED_CAPABILITY IrqSaveGuard {
 public:
  explicit IrqSaveGuard(LruMutex& mutex) noexcept HF_ACQUIRE(mutex) : mutex_(mutex) {
    pthread_sigmask(SIG_BLOCK, &all_signals(), &before_);
    mutex_.lock();
  }
  ~IrqSaveGuard() HF_RELEASE() {
    mutex_.unlock();
    pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }
  IrqSaveGuard(const IrqSaveGuard&) = delete;
  IrqSaveGuard& operator=(const IrqSaveGuard&) = delete;

 private:
  static const sigset_t& all_signals() noexcept {
    static const sigset_t kAll = [] {
      sigset_t set;
      sigfillset(&set);
      return set;
    }();
    return kAll;
  }

  LruMutex& mutex_;
  sigset_t before_;
};

}  // namespace holdfast::bench
