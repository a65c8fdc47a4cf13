// What an engine's options come to on a machine: frames, watermarks, windows, tiers. Pure
// arithmetic, so that bad options are refused before anything is built.
#pragma once

#include <cstdint>

#include "cache/cache.h"
#include "holdfast/options.h"
#include "page/page.h"
#include "swap/swap.h"
#include "sys/sys.h"

namespace holdfast::engine {

struct Plan {
  page::FramePoolOptions pool;
  swap::SwapOptions swap;
  cache::SwapCache::Options cache;
  sys::FaultSourceOptions faults;
};

// Errors: invalid_argument, naming the option, its value and the limit.
[[nodiscard]] Expected<Plan> plan_for(const sys::Machine& machine, const Options& options);

}  // namespace holdfast::engine
