#include "engine/snapshot_source.h"

#include <algorithm>

namespace holdfast::engine {

using image::PageKind;
using image::PageRun;
using image::RegionEntry;

SnapshotSource::SnapshotSource(std::span<const Snapshot* const> snapshots,
                               std::span<const Snapshot* const> since, const image::Reader* base)
    : snapshots_(snapshots), since_(since), base_(base), firsts_{0} {
  for (const Snapshot* snapshot : snapshots) {
    sizes_.push_back(snapshot->size());
    firsts_.push_back(firsts_.back() + (snapshot->size() >> kPageShift));
  }
}

Expected<void> SnapshotSource::for_each_run(image::RunVisitor& visitor) {
  bool wanted = true;
  for (std::size_t i = 0; i < snapshots_.size() && wanted; ++i) {
    const Snapshot* const since = since_.empty() ? nullptr : since_[i];
    TRY_VOID(snapshots_[i]->for_each_run(
        [&](const Run& run) {
          wanted = tell(visitor, i, run);
          return wanted;
        },
        since));
  }
  return {};
}

bool SnapshotSource::tell(image::RunVisitor& visitor, std::size_t region, const Run& run) const {
  PageRun pages{.first = firsts_[region] + (run.offset >> kPageShift),
                .pages = run.bytes >> kPageShift,
                .kind = PageKind::data};
  if (run.kind == RunKind::zero) pages.kind = PageKind::filled;
  if (run.kind != RunKind::unchanged) return visitor.visit(pages);
  // What lies beyond the end of the earlier snapshot counts as zeros, and is not in its image.
  const RegionEntry& base = base_->regions()[region];
  const std::uint64_t in_region = run.offset >> kPageShift;
  const std::uint64_t base_pages = base.bytes >> kPageShift;
  const std::uint64_t there = in_region < base_pages ? base_pages - in_region : 0;
  PageRun beyond = pages;
  pages.kind = PageKind::unchanged;
  pages.value = base.first + in_region;
  pages.pages = std::min(pages.pages, there);
  beyond.kind = PageKind::filled;
  beyond.first += pages.pages;
  beyond.pages -= pages.pages;
  return (pages.pages == 0 || visitor.visit(pages)) && (beyond.pages == 0 || visitor.visit(beyond));
}

// Jobs read runs, which may reach from the end of one region into the next.
Expected<void> SnapshotSource::read(std::uint64_t first, std::uint32_t pages, std::byte* to) {
  for (std::uint64_t at = first; at < first + pages;) {
    const auto after = std::upper_bound(firsts_.begin(), firsts_.end(), at);
    const auto region = static_cast<std::size_t>(after - firsts_.begin()) - 1;
    const std::uint64_t count = std::min(first + pages, *after) - at;
    TRY_VOID(snapshots_[region]->read((at - firsts_[region]) << kPageShift,
                                      std::span(to, count << kPageShift)));
    to += count << kPageShift;
    at += count;
  }
  return {};
}

}  // namespace holdfast::engine
