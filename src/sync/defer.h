// defer: what an interrupt hands to task context. A bounded lock-free queue of (function, argument)
// pairs, filled from any context, drained by the reclaimer's thread.
//
// Flow: 1. an interrupt calls queue.push(fn, arg); 2. the drain runs fn(arg) in task context, with
// no lock held, in the order of pushing. A full queue says so and changes nothing: the caller still
// owns what it wanted to hand over.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace holdfast::sync {

class DeferQueue {
 public:
  using Function = void (*)(void*) noexcept;
  static constexpr std::size_t kCapacity = 1024;  // one burst of an interrupt storm; power of 2

  DeferQueue() noexcept;
  DeferQueue(const DeferQueue&) = delete;
  DeferQueue& operator=(const DeferQueue&) = delete;

  // Any context, lock-free. False: the queue is full and nothing was queued.
  [[nodiscard]] bool push(Function function, void* argument) noexcept;
  // Runs what is queued, at most kCapacity items; returns how many. Task context, one at a time.
  std::size_t drain() noexcept;
  // True if something waits. Any context.
  [[nodiscard]] bool pending() const noexcept;

 private:
  struct Cell {
    std::atomic<std::uint64_t> turn{0};  // == position: free to fill; == position + 1: filled
    Function function = nullptr;
    void* argument = nullptr;
  };
  std::array<Cell, kCapacity> cells_;
  std::atomic<std::uint64_t> head_{0};  // next to run; moved by the drain alone
  std::atomic<std::uint64_t> tail_{0};  // next to fill
};

}  // namespace holdfast::sync
