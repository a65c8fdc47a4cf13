// What went wrong with a file behind its user's back: kept once, told to everybody who asks, once
// each. A later error takes the place of an earlier one that somebody has not asked for yet.
//
// Any context, lock-free: an eviction notes what it could not write.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"

namespace holdfast::file {

class FileErrors {
 public:
  struct Noted {
    int os_errno = 0;
    std::uint64_t offset = 0;  // in the file, of a page
  };
  // What somebody has seen: starts as now() says.
  using Seen = std::uint64_t;

  void note(int os_errno, std::uint64_t offset) noexcept {
    std::uint64_t old = word_.load(std::memory_order_relaxed);
    std::uint64_t next = 0;
    do {
      const std::uint64_t count = (old >> kCountShift) + 1;
      next = count << kCountShift | static_cast<std::uint64_t>(os_errno & 0xff) << kPageBits |
             (offset >> kPageShift & kPageMask);
    } while (!word_.compare_exchange_weak(old, next, std::memory_order_acq_rel));
  }
  [[nodiscard]] Seen now() const noexcept { return word_.load(std::memory_order_acquire); }

  // True if something was noted since; then it is in `noted`, and seen.
  [[nodiscard]] bool take(std::atomic<Seen>& seen, Noted& noted) const noexcept {
    const std::uint64_t word = now();
    if (seen.exchange(word, std::memory_order_acq_rel) == word) return false;
    noted.os_errno = static_cast<int>(word >> kPageBits & 0xff);
    noted.offset = (word & kPageMask) << kPageShift;
    return true;
  }

 private:
  // Bits: count 16, errno 8 (Linux has none above 133), page 40.
  static constexpr int kPageBits = 40;
  static constexpr int kCountShift = 48;
  static constexpr std::uint64_t kPageMask = (std::uint64_t{1} << kPageBits) - 1;

  std::atomic<std::uint64_t> word_{0};
};

}  // namespace holdfast::file
