#include "swap/swap.h"

#include "swap/stacked_swap.h"

namespace holdfast::swap {

const char* name(TierKind kind) noexcept {
  switch (kind) {
    case TierKind::ram:
      return "ram";
    case TierKind::file:
      return "file";
    case TierKind::rados:
      return "rados";
  }
  return "";
}

Expected<std::unique_ptr<Swap>> Swap::create(sys::Machine& machine, page::FramePool& pool,
                                             const SwapOptions& options) {
  if (options.tiers.empty() || options.tiers.size() > kTiersMax) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create swap",
                 .what = "tiers",
                 .value = options.tiers.size(),
                 .limit = kTiersMax,
                 .remedy = "give one to eight tiers"});
  }
  return StackedSwap::create(machine, pool, options);
}

}  // namespace holdfast::swap
