// A gate: many may be inside at once, until somebody closes it for a while.
//
// Whoever closes it waits for those who are inside, and keeps others out until it opens again. Like
// a turn it has no rank: it is passed, and closed, with nothing locked. One closer at a time. Task
// context; thread-safe.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "sync/parking.h"

namespace holdfast::sync {

class Gate {
 public:
  Gate() noexcept = default;
  Gate(const Gate&) = delete;
  Gate& operator=(const Gate&) = delete;

  void enter() noexcept {
    std::uint32_t old = word_.load(std::memory_order_relaxed);
    for (;;) {
      if ((old & kClosed) != 0) {
        parking().wait(word_, old, 0);
        old = word_.load(std::memory_order_relaxed);
      } else if (word_.compare_exchange_weak(old, old + 1, std::memory_order_acquire)) {
        return;
      }
    }
  }
  void leave() noexcept {
    const std::uint32_t old = word_.fetch_sub(1, std::memory_order_release);
    HF_DCHECK((old & ~kClosed) != 0);
    if (old == (kClosed | 1)) parking().wake(word_, kWakeAll);
  }

  void close() noexcept {
    std::uint32_t old = word_.fetch_or(kClosed, std::memory_order_acquire) | kClosed;
    while (old != kClosed) {
      parking().wait(word_, old, 0);
      old = word_.load(std::memory_order_acquire);
    }
  }
  // Closes it if nobody is inside.
  [[nodiscard]] bool try_close() noexcept {
    std::uint32_t nobody = 0;
    return word_.compare_exchange_strong(nobody, kClosed, std::memory_order_acquire);
  }
  void open() noexcept {
    word_.fetch_and(~kClosed, std::memory_order_release);
    parking().wake(word_, kWakeAll);
  }

 private:
  static constexpr std::uint32_t kClosed = 1U << 31;
  std::atomic<std::uint32_t> word_{0};
};

// Closed as long as it lives.
class GateCloser {
 public:
  explicit GateCloser(Gate& gate) noexcept : gate_(gate) { gate_.close(); }
  ~GateCloser() { gate_.open(); }
  GateCloser(const GateCloser&) = delete;
  GateCloser& operator=(const GateCloser&) = delete;

 private:
  Gate& gate_;
};

}  // namespace holdfast::sync
