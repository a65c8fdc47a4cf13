// The swap tiers of a run: those that were asked for, or the default.
#pragma once

#include <vector>

#include "run/run.h"
#include "swap/swap.h"

namespace holdfast::run {

// Each with its limit.
[[nodiscard]] std::vector<swap::TierOptions> tiers_or_default(const RunOptions& options);

}  // namespace holdfast::run
