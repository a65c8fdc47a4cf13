// What a tier that writes to a device counts, for its statistics. Any thread, lock-free; each count
// is right by itself, and all together only when nothing is in flight.
#pragma once

#include <atomic>
#include <cstdint>

#include "swap/swap.h"

namespace holdfast::swap {

struct TierCounters {
  std::atomic<std::uint64_t> pages{0}, image_bytes{0}, stores{0}, loads{0}, frees{0}, moved{0};
  std::atomic<std::uint64_t> written{0}, read{0}, refused{0}, write_errors{0}, read_errors{0};
  std::atomic<std::uint64_t> compactions{0};

  // Everything of a tier's statistics that is counted here; the rest is the tier's to fill in.
  [[nodiscard]] TierStats stats() const noexcept {
    const auto load = [](const std::atomic<std::uint64_t>& counter) {
      return counter.load(std::memory_order_relaxed);
    };
    TierStats s;
    s.pages = load(pages);
    s.image_bytes = load(image_bytes);
    s.stores = load(stores);
    s.loads = load(loads);
    s.frees = load(frees);
    s.written_bytes = load(written);
    s.read_bytes = load(read);
    s.refused_full = load(refused);
    s.write_errors = load(write_errors);
    s.read_errors = load(read_errors);
    s.compactions = load(compactions);
    s.moved = load(moved);
    return s;
  }
};

}  // namespace holdfast::swap
