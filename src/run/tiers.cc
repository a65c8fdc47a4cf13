#include "run/tiers.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

namespace holdfast::run {

namespace {

// Staging takes a sixteenth of the memory, in four objects where there is little of it; reads that
// are under way at once take as much again.
void size_far_tier(swap::TierOptions& tier, std::uint64_t memory) {
  constexpr std::uint64_t kLeast = 64 * 1024, kMost = 4096 * 1024;
  tier.object_bytes =
      static_cast<std::uint32_t>(std::clamp(std::bit_floor(memory / 64), kLeast, kMost));
  tier.staging =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(memory / 16 / tier.object_bytes, 4, 16));
  // One takes 516 KiB in the tier, and 256 KiB for what has arrived.
  tier.reads = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(memory >> 23, 2, 8));
}

}  // namespace

std::vector<swap::TierOptions> tiers_or_default(const RunOptions& options) {
  std::vector<swap::TierOptions> tiers = options.tiers;
  if (tiers.empty()) {
    const char* const folder = std::getenv("TMPDIR");
    tiers.push_back({.kind = swap::TierKind::ram});
    tiers.push_back({.kind = swap::TierKind::file,
                     .directory = folder != nullptr && *folder != '\0' ? folder : "/var/tmp"});
  }
  for (std::size_t i = 0; i < tiers.size(); ++i) {
    tiers[i].encrypted = options.encrypts_files && tiers[i].kind == swap::TierKind::file;
    if (tiers[i].kind == swap::TierKind::rados) size_far_tier(tiers[i], options.memory_bytes);
    if (tiers[i].kind != swap::TierKind::ram) continue;
    if (options.compressed_limit_bytes != 0) {
      tiers[i].limit_bytes = options.compressed_limit_bytes;
    } else if (i + 1 < tiers.size()) {
      tiers[i].limit_bytes = options.memory_bytes / 2;
    }
  }
  return tiers;
}

}  // namespace holdfast::run
