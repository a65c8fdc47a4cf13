// A page's state word as vmcache publishes it, and fixing a page by it: the peer of paging/hit.
//
// Leis, Alhomssi, Ziegler, Loeck, Dietrich: "Virtual-Memory Assisted Buffer Management", SIGMOD
// 2023, section 3. 64 bits: 8 of state, 56 of version. A shared fix adds one to the state by
// compare-and-swap, which also clears an eviction mark; unfix takes one off in the same way. What
// follows keeps the published loops; the miss path (evicted) is never taken here and only reported.
#pragma once

#include <immintrin.h>

#include <atomic>
#include <cstdint>

namespace holdfast::bench {

class VmcacheState {
 public:
  static constexpr std::uint64_t kUnlocked = 0;
  static constexpr std::uint64_t kSharedMost = 252;
  static constexpr std::uint64_t kLocked = 253;
  static constexpr std::uint64_t kMarked = 254;
  static constexpr std::uint64_t kEvicted = 255;

  // fixS. False: the page is not resident.
  bool fix_shared() noexcept {
    for (;;) {
      std::uint64_t word = word_.load();
      switch (state_of(word)) {
        case kLocked:
          break;
        case kEvicted:
          return false;
        default:
          if (try_lock_shared(word)) return true;
      }
      _mm_pause();
    }
  }

  // unfixS.
  void unfix_shared() noexcept {
    for (;;) {
      std::uint64_t word = word_.load();
      if (word_.compare_exchange_strong(word, same_version(word, state_of(word) - 1))) return;
    }
  }

  void set_resident() noexcept { word_.store(same_version(word_.load(), kUnlocked)); }

 private:
  static std::uint64_t state_of(std::uint64_t word) noexcept { return word >> 56; }
  static std::uint64_t same_version(std::uint64_t word, std::uint64_t state) noexcept {
    return ((word << 8) >> 8) | state << 56;
  }
  bool try_lock_shared(std::uint64_t word) noexcept {
    const std::uint64_t state = state_of(word);
    if (state < kSharedMost) {
      return word_.compare_exchange_strong(word, same_version(word, state + 1));
    }
    if (state == kMarked) return word_.compare_exchange_strong(word, same_version(word, 1));
    return false;
  }

  std::atomic<std::uint64_t> word_ = kEvicted << 56;
};

}  // namespace holdfast::bench
