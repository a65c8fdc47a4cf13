#include "sync/defer.h"

#include "base/base.h"
#include "sync/interleave.h"
#include "sync/mutex.h"

namespace holdfast::sync {

// A bounded queue after Dmitry Vyukov: each cell's turn tells whose it is, so that filling a cell
// and taking its place are two steps without a lock between them.
static_assert((DeferQueue::kCapacity & (DeferQueue::kCapacity - 1)) == 0);

DeferQueue::DeferQueue() noexcept {
  for (std::size_t i = 0; i < kCapacity; ++i) cells_[i].turn.store(i, std::memory_order_relaxed);
}

bool DeferQueue::push(Function function, void* argument) noexcept {
  HF_DCHECK(function != nullptr);
  std::uint64_t position = tail_.load(std::memory_order_relaxed);
  for (;;) {
    Cell& cell = cells_[position % kCapacity];
    const std::uint64_t turn = cell.turn.load(std::memory_order_acquire);
    if (turn < position) return false;  // still filled from one round ago: full
    HF_INTERLEAVE();
    if (turn > position) {
      position = tail_.load(std::memory_order_relaxed);  // somebody else took this place
    } else if (tail_.compare_exchange_weak(position, position + 1, std::memory_order_relaxed)) {
      cell.function = function;
      cell.argument = argument;
      HF_INTERLEAVE();
      cell.turn.store(position + 1, std::memory_order_release);
      return true;
    }
  }
}

std::size_t DeferQueue::drain() noexcept {
  check_none_held();
  std::size_t ran = 0;
  while (ran < kCapacity) {
    const std::uint64_t position = head_.load(std::memory_order_relaxed);
    Cell& cell = cells_[position % kCapacity];
    // Not filled: the queue is empty, or whoever took the place was interrupted before filling it.
    if (cell.turn.load(std::memory_order_acquire) != position + 1) break;
    const Function function = cell.function;
    void* const argument = cell.argument;
    HF_DCHECK(function != nullptr);
    head_.store(position + 1, std::memory_order_relaxed);
    cell.turn.store(position + kCapacity, std::memory_order_release);
    function(argument);  // it may push again: its cell is free by now
    ++ran;
  }
  return ran;
}

bool DeferQueue::pending() const noexcept {
  return head_.load(std::memory_order_relaxed) != tail_.load(std::memory_order_relaxed);
}

}  // namespace holdfast::sync
