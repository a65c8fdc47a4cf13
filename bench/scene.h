// The setting of one paging comparison: the same for both sides.
#pragma once

#include <cstdint>
#include <string>

#include "workload.h"

namespace holdfast::bench {

// Where pages go that are not resident. For the kernel: a zram device or a swap file. For the
// engine: its compressed-RAM tier or its file tier, alone.
enum class Medium : std::uint8_t { zram, file };

// Both sides follow the same pattern of accesses.
inline constexpr std::uint64_t kSideSeed = 20;

// What a side's round() does.
enum ScenePart : unsigned {
  kMeasuredWork,  // one interval of the scene's work
  kMemoryTaken,   // no work: the MiB that the side takes now, compressed pages included
  kAging,         // `ops_aging` random loads and stores, then one interval that is not measured
};

struct Scene {
  Medium medium = Medium::zram;
  Work work = Work::random_read;
  bool pinned = false;  // the engine's side pins each page around its load (the explicit path)
  std::uint64_t memory_bytes = 1ull << 30;
  std::uint64_t resident_bytes = 512ull << 20;
  std::uint64_t ops_per_round = 200'000;
  std::uint64_t ops_warm_up = 262'144;
  // Sequential work is measured twice: on memory that was only ever used in order, and, as the
  // figure proper, after these random loads and stores, which scatter it over the swap space as
  // any program does that has run for a while.
  std::uint64_t ops_aging = 0;
  std::string directory = "/var/tmp";  // where the swap files of both sides are

  // Sizes and counts divided, for smoke runs.
  [[nodiscard]] Scene divided_by(std::uint64_t divisor) const {
    Scene smaller = *this;
    smaller.memory_bytes /= divisor;
    smaller.resident_bytes /= divisor;
    smaller.ops_per_round /= divisor;
    smaller.ops_warm_up /= divisor;
    smaller.ops_aging /= divisor;
    return smaller;
  }
};

}  // namespace holdfast::bench
