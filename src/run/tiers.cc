#include "run/tiers.h"

#include <cstdlib>

namespace holdfast::run {

std::vector<swap::TierOptions> tiers_or_default(const RunOptions& options) {
  std::vector<swap::TierOptions> tiers = options.tiers;
  if (tiers.empty()) {
    const char* const folder = std::getenv("TMPDIR");
    tiers.push_back({.kind = swap::TierKind::ram});
    tiers.push_back({.kind = swap::TierKind::file,
                     .directory = folder != nullptr && *folder != '\0' ? folder : "/var/tmp"});
  }
  for (std::size_t i = 0; i < tiers.size(); ++i) {
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
