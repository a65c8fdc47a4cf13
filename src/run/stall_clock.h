// For how long at least one address space has waited for its pager: the share of that in the time
// that went by is what a person is shown as "stalled". Several that wait at once count once, so
// that it is never more than all of the time.
//
// From when a pager reads a fault until it has served it: what the kernel takes to wake the two is
// not in it. Lock-free, any thread; one enter() for each leave().
#pragma once

#include <atomic>
#include <cstdint>

namespace holdfast::run {

class StallClock {
 public:
  void enter(std::uint64_t now_ns) noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
      next = count(old) == 0 ? micros(now_ns) << kCountBits | 1 : old + 1;
    } while (!word_.compare_exchange_weak(old, next, std::memory_order_acq_rel));
  }
  void leave(std::uint64_t now_ns) noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
      next = count(old) == 1 ? 0 : old - 1;
    } while (!word_.compare_exchange_weak(old, next, std::memory_order_acq_rel));
    if (next == 0) total_us_.fetch_add(elapsed(old, now_ns), std::memory_order_relaxed);
  }
  // What goes on at this moment included.
  [[nodiscard]] std::uint64_t stalled_ns(std::uint64_t now_ns) const noexcept {
    const std::uint64_t word = word_.load(std::memory_order_acquire);
    const std::uint64_t open = count(word) == 0 ? 0 : elapsed(word, now_ns);
    return (total_us_.load(std::memory_order_relaxed) + open) * 1000;
  }

 private:
  // One word: how many wait, and since when somebody does, in microseconds.
  static constexpr unsigned kCountBits = 16;
  static constexpr std::uint64_t kMicrosMask = ~std::uint64_t{0} >> kCountBits;
  static std::uint64_t count(std::uint64_t word) noexcept {
    return word & ((std::uint64_t{1} << kCountBits) - 1);
  }
  static std::uint64_t micros(std::uint64_t ns) noexcept { return ns / 1000 & kMicrosMask; }
  static std::uint64_t elapsed(std::uint64_t word, std::uint64_t now_ns) noexcept {
    const std::uint64_t since = word >> kCountBits;
    return micros(now_ns) > since ? micros(now_ns) - since : 0;
  }

  std::atomic<std::uint64_t> word_{0};
  std::atomic<std::uint64_t> total_us_{0};
};

}  // namespace holdfast::run
