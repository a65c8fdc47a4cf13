// Contexts: task and interrupt (DESIGN.md section 2), known from a per-thread depth.
//
// Every public entry that works on mappings or takes locks makes an EngineScope first. A signal
// handler that runs while its thread is inside a scope is in interrupt context, whatever the
// handler is. A completion callback is put into interrupt context by an InterruptScope.
//
// All of it is async-signal-safe. The depth is touched only by its own thread and by handlers that
// run on it, so it needs no atomic, only that the compiler keeps the order.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"

namespace holdfast::sync {

class Parking;

inline constexpr int kHeldLocksMax = 16;  // deepest ladder is 9; far more than that is a bug

struct ThreadContext {
  int engine_depth = 0;        // > 0: inside the engine
  int interrupt_depth = 0;     // > 0: inside a completion callback or a declared handler
  Parking* parking = nullptr;  // override of the process's parking; null: none
  int held_locks = 0;          // debug: how many ranked locks this thread holds ...
  std::uint8_t held_ranks[kHeldLocksMax] = {};  // ... and their ranks, in order of taking
  int turns = 0;                                // that this thread has
  int held_entries = 0;            // debug: entries held; together they are one of held_ranks
  std::uint32_t random_state = 0;  // for cheap tie-breaking choices of this thread
};

// This thread's context. The simulated machine gives each of its threads its own.
[[nodiscard]] ThreadContext& this_thread() noexcept;

// Replaces this thread's context (null: back to its own) and returns the old one. For the
// simulated machine's scheduler only.
ThreadContext* swap_thread_context(ThreadContext* context) noexcept;

// True if the caller must not touch mappings, wait or take locks.
[[nodiscard]] inline bool in_interrupt() noexcept {
  const ThreadContext& t = this_thread();
  return t.engine_depth > 0 || t.interrupt_depth > 0;
}

// What a task-only function answers in interrupt context, and the check that it begins with.
[[nodiscard]] Error wrong_context(const char* doing) noexcept;
[[nodiscard]] Expected<void> check_task_context(const char* doing) noexcept;

// Marks the thread as inside the engine.
class EngineScope {
 public:
  EngineScope() noexcept : context_(this_thread()) {
    ++context_.engine_depth;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~EngineScope() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    --context_.engine_depth;
  }
  EngineScope(const EngineScope&) = delete;
  EngineScope& operator=(const EngineScope&) = delete;

 private:
  ThreadContext& context_;
};

// Marks the thread as in interrupt context: around completion callbacks, and by tests.
class InterruptScope {
 public:
  InterruptScope() noexcept : context_(this_thread()) {
    ++context_.interrupt_depth;
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }
  ~InterruptScope() {
    std::atomic_signal_fence(std::memory_order_seq_cst);
    --context_.interrupt_depth;
  }
  InterruptScope(const InterruptScope&) = delete;
  InterruptScope& operator=(const InterruptScope&) = delete;

 private:
  ThreadContext& context_;
};

}  // namespace holdfast::sync
