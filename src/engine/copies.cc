// Clones, snapshots and arming: whose the sources are, and what the copies are handed out as.
#include "engine/paging_engine.h"
#include "engine/region_handle.h"
#include "engine/snapshot_handle.h"

namespace holdfast::engine {

using space::RegionRecord;

Expected<std::vector<RegionRecord*>> PagingEngine::records_of(const char* doing,
                                                              std::span<const Source> sources) {
  if (sync::in_interrupt()) return fail(refused_in_interrupt(doing));
  if (sources.empty()) {
    return fail({.code = Errc::invalid_argument,
                 .doing = doing,
                 .what = "sources",
                 .value = 0,
                 .limit = 1,
                 .remedy = "name at least one region or snapshot"});
  }
  std::vector<RegionRecord*> records;
  for (const Source& source : sources) {
    RegionRecord* record = nullptr;
    if (source.region() != nullptr && source.region()->engine() == this) {
      record = &static_cast<RegionHandle*>(source.region())->record();
    } else if (source.snapshot() != nullptr && source.snapshot()->engine() == this) {
      record = &static_cast<SnapshotHandle*>(source.snapshot())->record();
    }
    if (record == nullptr) {
      return fail({.code = Errc::not_mapped,
                   .doing = doing,
                   .what = "source that is empty, or another engine's: number",
                   .value = records.size(),
                   .remedy = "name mapped regions and snapshots of this engine"});
    }
    records.push_back(record);
  }
  return records;
}

Expected<std::vector<RegionRecord*>> PagingEngine::copy(const char* doing,
                                                        std::span<const Source> sources,
                                                        space::AddressSpace::CopyKind kind) {
  const std::vector<RegionRecord*> records = TRY(records_of(doing, sources));
  const sync::EngineScope scope;
  TRY_VOID(refuse_under_pressure(doing, 0));
  std::vector<RegionRecord*> made(records.size());
  TRY_VOID(space_->copy(records, kind, made));
  return made;
}

Expected<std::vector<Region>> PagingEngine::clone(std::span<const Source> sources) {
  const auto made = TRY(copy("clone", sources, space::AddressSpace::CopyKind::clone));
  std::vector<Region> clones;
  clones.reserve(made.size());
  for (RegionRecord* record : made) clones.emplace_back(new RegionHandle(*this, *record));
  return clones;
}

Expected<std::vector<Snapshot>> PagingEngine::snapshot(std::span<const Source> sources) {
  const auto made = TRY(copy("snapshot", sources, space::AddressSpace::CopyKind::snapshot));
  std::vector<Snapshot> snapshots;
  snapshots.reserve(made.size());
  for (RegionRecord* record : made) snapshots.emplace_back(new SnapshotHandle(*this, *record));
  return snapshots;
}

Expected<void> PagingEngine::arm(std::span<const Source> regions) {
  const auto records = TRY(records_of("arm", regions));
  const sync::EngineScope scope;
  for (RegionRecord* record : records) TRY_VOID(space_->arm(*record));
  return {};
}

}  // namespace holdfast::engine
