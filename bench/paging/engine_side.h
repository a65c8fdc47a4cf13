// Engines for our side of the comparisons, made and checked in one place.
#pragma once

#include <holdfast/holdfast.h>

#include <cstdint>
#include <memory>
#include <string>

#include "scene.h"
#include "trouble.h"

namespace holdfast::bench {

// The Error of a call as Trouble: what this machine refuses (permission, unsupported) is skipped.
[[nodiscard]] std::unexpected<Trouble> engine_trouble(const Error& error);

// An engine with one tier, signal delivery and `budget` bytes; everything else as by default.
[[nodiscard]] Result<std::unique_ptr<Engine>> make_engine(Medium medium, std::uint64_t budget,
                                                          const std::string& directory);

// Bytes of the frames that the engine has for pages, used or not: the budget without compressed
// pages and tables. What the kernel's side calls its resident set must not be less.
[[nodiscard]] std::uint64_t frame_bytes(const Stats& stats);

// An engine and a filled region of it in the state in which a Scene is measured.
//
// The budget is found by trial, so that both sides have equal frames: the engine's budget pays for
// compressed pages and tables too, whereas the kernel's zram takes its memory beside the cgroup's
// limit. A trial fills and warms up the memory and looks at what the frames came to; the next one's
// budget is corrected by the difference.
class EngineSide {
 public:
  explicit EngineSide(const Scene& scene) : scene_(scene) {}
  // Fills, warms up, and repeats until frame_bytes() is within 1 % of the scene's resident_bytes.
  [[nodiscard]] Result<void> prepare();
  // One interval of the scene's work.
  [[nodiscard]] Result<Interval> interval();
  // Random loads and stores, and one interval to settle.
  [[nodiscard]] Result<Interval> age();
  // Trouble if the frames have grown by more than 2 % over the scene's: an unequal comparison.
  [[nodiscard]] Result<void> check_frames();
  [[nodiscard]] std::string report();

  [[nodiscard]] Engine& engine() { return *engine_; }
  [[nodiscard]] Region& region() { return region_; }

 private:
  Result<void> build(std::uint64_t budget);
  Result<Interval> pinned_reads();

  Scene scene_;
  std::unique_ptr<Engine> engine_;
  Region region_;  // before the engine in destruction
  std::unique_ptr<Workload> workload_;
  std::uint64_t ops_warm_ = 0;
  unsigned trials_ = 0;
};

}  // namespace holdfast::bench
