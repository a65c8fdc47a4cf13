#include "space/entry.h"

namespace holdfast::space {
namespace {
// A busy entry is mostly released within a few microseconds (a copy); beyond that it is I/O.
constexpr int kSpinsBeforeParking = 64;
}  // namespace

std::atomic<std::uint32_t>& Entry::low_word() noexcept {
  auto* halves = reinterpret_cast<std::atomic<std::uint32_t>*>(&word_);
  return halves[0];
}

bool Entry::lock() noexcept {
  if (try_lock()) return false;
  for (int spin = 0; spin < kSpinsBeforeParking; ++spin) {
    sync::parking().relax();
    if (try_lock()) return true;
  }
  for (;;) {
    std::uint64_t raw = word_.load(std::memory_order_relaxed);
    if ((raw & kLock) == 0) {
      if (try_lock()) return true;
      continue;
    }
    if ((raw & kWaiters) == 0 &&
        !word_.compare_exchange_strong(raw, raw | kWaiters, std::memory_order_relaxed)) {
      continue;
    }
    sync::parking().wait(low_word(), static_cast<std::uint32_t>(raw | kWaiters), 0);
  }
}

void Entry::wake() noexcept { sync::parking().wake(low_word(), sync::kWakeAll); }

}  // namespace holdfast::space
