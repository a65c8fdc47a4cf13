// Clones, snapshots and arming: one at a time in an engine, on regions that stay while it works.
#include "space/address_space.h"
#include "space/copier.h"

namespace holdfast::space {

namespace {

std::unexpected<Error> not_live(const char* doing) {
  return fail({.code = Errc::not_mapped,
               .doing = doing,
               .what = "region",
               .remedy = "the region was unmapped"});
}

}  // namespace

Expected<void> AddressSpace::copy(std::span<RegionRecord* const> sources, CopyKind kind,
                                  std::span<RegionRecord*> made) {
  if (!parts_.pmap->can_protect()) {
    return fail({.code = Errc::unsupported,
                 .doing = "copy regions",
                 .what = "write protection by userfaultfd",
                 .remedy = "Linux 5.7 or newer has it"});
  }
  const sync::TurnGuard turn(copying_);
  std::size_t entered = 0;
  while (entered < sources.size() && sources[entered]->enter()) ++entered;
  Expected<void> result = not_live("copy regions");
  if (entered == sources.size()) result = Copier(*this, parts_).copy(sources, kind, made);
  for (std::size_t i = 0; i < entered; ++i) sources[i]->leave();
  return result;
}

Expected<void> AddressSpace::arm(RegionRecord& region) {
  if (!parts_.pmap->can_protect()) {
    return fail({.code = Errc::unsupported, .doing = "arm a region"});
  }
  const sync::TurnGuard turn(copying_);
  if (!region.enter()) return not_live("arm a region");
  const auto result = Copier(*this, parts_).arm(region);
  region.leave();
  return result;
}

}  // namespace holdfast::space
