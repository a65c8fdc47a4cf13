// FileTier: compaction of sparse clusters, and what the tier tells about itself.
#include <algorithm>
#include <cstring>

#include "swap/file_tier.h"
#include "swap/report.h"

namespace holdfast::swap {
namespace {
constexpr std::uint32_t kScanned = 4096;     // clusters looked at in one pass
constexpr std::uint32_t kCompactedFrom = 4;  // fewer clusters in use are left alone
constexpr std::uint32_t kCrowdedShare = 4;   // compaction works harder when less than 1/4 is left
constexpr std::uint32_t kNearlyFullShare = 16;
constexpr std::uint32_t kGrowthRetry = 64;  // trims until a full file system is tried again
}  // namespace

// Compaction is worth its writes when the file is half dead, or when room runs out and an eighth of
// what is used is dead.
bool FileTier::wants(Reason reason) noexcept {
  if (reason != Reason::compaction) return false;
  const std::uint64_t in_use = clusters_.in_use();
  const std::uint64_t room = in_use * cluster_units_;
  if (clusters_.has_less_than(kCrowdedShare)) return clusters_.live_units() * 8 < room * 7;
  return in_use > kCompactedFrom && clusters_.live_units() * 2 < room;
}

std::uint32_t FileTier::choose(Reason reason, std::span<std::uint32_t> units) noexcept {
  if (!wants(reason)) return 0;
  std::uint32_t found = 0;
  const std::uint32_t touched = clusters_.touched();
  const std::uint64_t most =
      std::uint64_t{cluster_units_} * (clusters_.has_less_than(kCrowdedShare) ? 6 : 4) / 8;
  for (std::uint32_t n = 0; n < std::min(kScanned, touched); ++n) {
    scanned_ = scanned_ + 1 < touched ? scanned_ + 1 : 0;
    if (clusters_.at(scanned_).state.load(std::memory_order_relaxed) != ClusterState::closed)
      continue;
    if (clusters_.live_units(scanned_) <= most) keep_sparsest(units, found, scanned_);
  }
  std::uint32_t isolated = 0;
  for (std::uint32_t i = 0; i < found; ++i) {
    if (clusters_.isolate(units[i])) units[isolated++] = units[i];
  }
  counters_.compactions.fetch_add(isolated > 0 ? 1 : 0, std::memory_order_relaxed);
  return isolated;
}

void FileTier::keep_sparsest(std::span<std::uint32_t> units, std::uint32_t& found,
                             std::uint32_t cluster) noexcept {
  const std::uint32_t live = clusters_.live_units(cluster);
  std::uint32_t at = found;
  while (at > 0 && clusters_.live_units(units[at - 1]) > live) --at;
  if (at == units.size()) return;
  if (found < units.size()) ++found;
  for (std::uint32_t i = found - 1; i > at; --i) units[i] = units[i - 1];
  units[at] = cluster;
}

void FileTier::visit(std::uint32_t unit, ImageVisitor& visitor) noexcept {
  const std::uint32_t lease = read_pool_.take();
  const ReadArea& area = read_areas_[lease];
  sys::IoRequest request{.data = area.buffer,
                         .bytes = clusters_.at(unit).fill,
                         .offset = std::uint64_t{unit} * options_.cluster_bytes};
  if (request.bytes != 0) file_->read({&request, 1});
  if (request.error != 0) {
    counters_.read_errors.fetch_add(1, std::memory_order_relaxed);
    clusters_.at(unit).damaged = true;
  } else {
    counters_.read.fetch_add(request.bytes, std::memory_order_relaxed);
    clusters_.at(unit).damaged = !walk(unit, area, visitor);
  }
  read_pool_.give(lease);
}

// False: the directories do not make sense, or images are not what was written, so the cluster
// cannot be emptied by moving its images.
bool FileTier::walk(std::uint32_t unit, const ReadArea& area, ImageVisitor& visitor) noexcept {
  const Cluster& cluster = clusters_.at(unit);
  bool whole = true;
  for (std::uint32_t at = 0; at < cluster.fill;) {
    SegmentHeader header;
    std::memcpy(&header, area.buffer + at, sizeof header);
    const std::uint64_t directory =
        sizeof header + std::uint64_t{header.count} * sizeof(SegmentEntry);
    if (header.magic != SegmentHeader::kMagic || header.generation != cluster.generation ||
        header.bytes == 0 || header.bytes > cluster.fill - at || directory > header.bytes) {
      return false;
    }
    bool stopped = false;
    const std::uint64_t place = std::uint64_t{unit} * cluster_units_ + at / kPlaceUnit;
    whole = walk_segment(header, place, area.buffer + at, area, visitor, stopped) && whole;
    if (stopped) break;
    at += header.bytes;
  }
  return whole;
}

bool FileTier::walk_segment(const SegmentHeader& header, std::uint64_t place,
                            const std::byte* bytes, const ReadArea& area, ImageVisitor& visitor,
                            bool& stopped) noexcept {
  bool whole = true;
  for (std::uint32_t i = 0; i < header.count && !stopped; ++i) {
    SegmentEntry entry;
    std::memcpy(&entry, bytes + sizeof header + i * sizeof entry, sizeof entry);
    const std::uint32_t offset = std::uint32_t{entry.unit} * kPlaceUnit;
    if (entry.length() > kPageSize ||
        offset + std::uint64_t{room_for(entry.length())} > header.bytes) {
      return false;
    }
    const std::byte* image = bytes + offset;
    if (sealer_ != nullptr) {
      const bool genuine = open(entry, image, area.page);
      whole = whole && genuine;
      if (!genuine) continue;
      image = area.page;
    }
    stopped = !visitor.visit(SlotIndex(entry.slot), place + entry.unit, image);
  }
  return whole;
}

void FileTier::restore(std::uint32_t unit) noexcept { clusters_.restore(unit); }

void FileTier::trim() noexcept {
  if (++trims_ % kGrowthRetry == 0) clusters_.allow_growing();
}

bool FileTier::nearly_full() const noexcept { return clusters_.has_less_than(kNearlyFullShare); }

std::uint64_t FileTier::metadata_bytes() const noexcept {
  return std::uint64_t{clusters_.touched()} * sizeof(Cluster);
}

TierStats FileTier::stats() noexcept {
  TierStats s = counters_.stats();
  s.kind = TierKind::file;
  s.held_bytes = held_bytes();
  s.limit_bytes = options_.limit_bytes;
  s.places_retired = clusters_.retired();
  return s;
}

void FileTier::begin_check() noexcept {
  for (std::uint32_t i = 0; i < clusters_.touched(); ++i) clusters_.at(i).checked = 0;
}

bool FileTier::check_image(SlotIndex slot, Location location) noexcept {
  const std::uint32_t cluster = cluster_of(location);
  if (cluster >= clusters_.touched()) {
    return report(machine_, "slot lies outside the file", slot.value, location.place());
  }
  Cluster& c = clusters_.at(cluster);
  const std::uint64_t end =
      (location.place() % cluster_units_) * kPlaceUnit + room_for(location.length());
  if (end > c.fill)
    return report(machine_, "slot lies behind its cluster's content", slot.value, end);
  ++c.checked;
  return true;
}

bool FileTier::end_check() noexcept {
  if (!writer_pool_.idle() || !read_pool_.idle()) {
    return report(machine_, "staging areas are still lent", 0, 0);
  }
  if (sealer_ != nullptr && !sealer_->idle()) {
    return report(machine_, "cipher states are still lent", 0, 0);
  }
  std::uint64_t pages = 0;
  for (std::uint32_t i = 0; i < clusters_.touched(); ++i) {
    const Cluster& c = clusters_.at(i);
    const ClusterState state = c.state.load();
    const auto uses = static_cast<std::uint32_t>(c.uses.load());
    const bool own = state == ClusterState::tail || state == ClusterState::retired ||
                     state == ClusterState::unbacked;
    if (state == ClusterState::open || state == ClusterState::draining) {
      return report(machine_, "cluster is still open", i, static_cast<std::uint64_t>(state));
    }
    if (uses != c.checked + (own ? 1 : 0)) {
      return report(machine_, "cluster's uses are miscounted", uses, c.checked);
    }
    pages += c.checked;
  }
  if (pages != counters_.pages.load()) {
    return report(machine_, "pages of the file are miscounted", pages, counters_.pages.load());
  }
  return true;
}

}  // namespace holdfast::swap
