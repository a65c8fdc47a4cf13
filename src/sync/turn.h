// A turn: what one thread at a time may do, however long it takes.
//
// It is for work that waits for I/O or for entries, under which no ranked lock may be held. It has
// no rank: it is taken with nothing locked, or only tried. Who takes it gives it: a thread that has
// turns must not wait for those who wait for one (ThreadContext::turns). Task context; thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "sync/context.h"
#include "sync/parking.h"

namespace holdfast::sync {

class Turn {
 public:
  Turn() noexcept = default;
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

  void take() noexcept {
    while (!try_take()) parking().wait(word_, 1, 0);
  }
  // Async-signal-safe.
  [[nodiscard]] bool try_take() noexcept {
    if (word_.exchange(1, std::memory_order_seq_cst) != 0) return false;
    ++this_thread().turns;
    return true;
  }
  void give() noexcept {
    --this_thread().turns;
    word_.store(0, std::memory_order_seq_cst);
    parking().wake(word_, 1);
  }

 private:
  std::atomic<std::uint32_t> word_{0};
};

class TurnGuard {
 public:
  explicit TurnGuard(Turn& turn) noexcept : turn_(turn) { turn_.take(); }
  ~TurnGuard() { turn_.give(); }
  TurnGuard(const TurnGuard&) = delete;
  TurnGuard& operator=(const TurnGuard&) = delete;

 private:
  Turn& turn_;
};

}  // namespace holdfast::sync
