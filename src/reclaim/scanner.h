// The scan: decides what leaves next, a step at a time. It works on two callables' worth of
// interface, so that its test is a page counter.
//
// One step does the first of these that is possible:
//   1. what is already finished is made free: frames freed in interrupts, finished pool windows
//   2. enough pages are inactive: the oldest are written out
//   3. the window of the oldest active page is unmapped, which makes its pages inactive
//   4. too few are inactive, but nothing active can leave: the inactive are written out all the
//   same
//   5. urgent, and nothing of all this is possible: warm frames are freed before their windows are
//   finished
//
// How many pages are kept inactive is the length of the second chance: a page that is touched in
// that time is rescued. A 32nd of the frames: long enough to catch what is in use, short enough
// that a random reader finds few of its pages unmapped (each costs a rescue of about 9 us).
//
// Context: task, nothing held. Thread-safe: several threads may step at once.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "space/space.h"

namespace holdfast::reclaim {

struct StepResult {
  std::uint64_t freed = 0;  // frames that became free
  bool progress = false;    // something moved, even if nothing is free yet
  bool turn_busy = false;   // a page can leave as soon as somebody else has written to its file
  bool hopeless = false;    // it looked at everything, and nothing can leave
};

class Scanner {
 public:
  explicit Scanner(space::Parts& parts, space::AddressSpace& space) noexcept;

  // One step. `urgent`: no second chances, and nothing is kept warm.
  StepResult step(bool urgent) noexcept;

  // How many pages should be inactive.
  [[nodiscard]] std::uint64_t inactive_target() const noexcept { return inactive_target_; }
  // How many steps without progress have looked at every page once.
  [[nodiscard]] std::uint64_t steps_for_all() noexcept;
  // Threads that are in a step now.
  [[nodiscard]] std::uint32_t stepping() const noexcept {
    return stepping_.load(std::memory_order_relaxed);
  }

 private:
  StepResult look(bool urgent) noexcept;
  StepResult write_out_oldest() noexcept;
  StepResult unmap_oldest(bool urgent) noexcept;
  StepResult make_free(bool urgent) noexcept;

  space::Parts& parts_;
  space::AddressSpace& space_;
  const std::uint64_t inactive_target_;
  std::atomic<std::uint32_t> stepping_{0};
};

}  // namespace holdfast::reclaim
