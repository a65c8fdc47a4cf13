// What happened in a run, counted. Relaxed: right when nothing is in flight.
#pragma once

#include <atomic>
#include <cstdint>

#include "run/stall_clock.h"

namespace holdfast::run {

struct Counters {
  using Count = std::atomic<std::uint64_t>;
  Count faults{0};        // served
  Count fresh_pages{0};   // that came in as zeros
  Count pages_in{0};      // that came in with content
  Count ahead_pages{0};   // of those, before anybody touched them: a recording is replayed
  Count ahead_passed{0};  // of those, that the program came past without a fault
  Count read_ahead{0};    // that were loaded for a stream before it came to them
  Count pages_out{0};     // that left
  Count rescued{0};       // came back out of a buffer
  Count clean{0};         // left again as they had come: not stored anew
  Count stored{0};        // went to a tier
  Count filled{0};        // of one repeated word
  Count returned{0};      // could not be stored, and were put back
  Count busy{0};          // the kernel would not let them go
  Count waits{0};         // faults that had to wait for room
  Count wait_ns{0};
  Count spaces{0};  // address spaces that were managed
  Count forks{0};
  StallClock stall;

  static void add(Count& count, std::uint64_t amount = 1) noexcept {
    count.fetch_add(amount, std::memory_order_relaxed);
  }
};

}  // namespace holdfast::run
