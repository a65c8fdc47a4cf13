// Pages that are asked for at once, wherever they lie: one reservation, one staging buffer, and all
// that a device has to give in flight together.
//
// Only a shortcut: what is busy, cached, not settled or cannot be read is left as it is, for
// bring_in(), which waits, rescues, settles and tells.
#include <algorithm>

#include "space/fault.h"

namespace holdfast::space {

using page::Holder;

std::uint32_t FaultServer::bring_in_scattered(RegionRecord& region,
                                              std::span<const std::uint64_t> indices) noexcept {
  HF_DCHECK2(indices.size() <= kRunMax, indices.size(), kRunMax);
  for (const std::uint64_t index : indices) {
    if (!pay_for_leaf(region, index)) return 0;
  }
  const auto wanted = static_cast<std::uint32_t>(indices.size());
  constexpr page::Priority kPriority = page::Priority::fresh;  // those who cannot wait come first
  if (parts_.pool.free_count() < wanted + std::uint64_t{parts_.pool.kept_from(kPriority)}) {
    parts_.counters.add(Count::reclaim_direct);
    (void)parts_.relief->relieve(wanted, kPriority);
  }
  StagingBuffer staging(parts_.staging);
  page::Reservation frames = parts_.pool.reserve(wanted, kPriority);
  std::uint64_t locked[kRunMax];
  LockedRun run{.region = &region,
                .step = 0,
                .pages = lock_scattered(region, indices, frames.size(), locked),
                .scattered = locked};
  if (run.pages == 0) return 0;
  std::byte* pages[kRunMax];
  for (std::uint32_t i = 0; i < run.pages; ++i) pages[i] = staging.page(i);
  Error error;
  const Fetched none(*this);  // what is far is left to bring_in() too
  const bool filled = fill(run, pages, none, error) == Filled::all;
  run.protection = protection_of(run);
  const std::uint32_t entered = filled ? enter_scattered(run, frames, pages) : 0;
  for (std::uint32_t i = entered; i < run.pages; ++i) run.entry(i).unlock();
  return entered;
}

// Locks as many of the entries as can be had without waiting; their indices are in `locked`.
std::uint32_t FaultServer::lock_scattered(RegionRecord& region,
                                          std::span<const std::uint64_t> indices,
                                          std::uint32_t most, std::uint64_t* locked) noexcept {
  std::uint32_t count = 0;
  for (const std::uint64_t index : indices) {
    if (count == most) break;
    Entry& entry = region.entry(index);
    if (!entry.try_lock()) continue;
    if (entry.peek().is_absent() && sharing_.is_ready(region, index)) {
      locked[count++] = index;
    } else {
      entry.unlock();
    }
  }
  return count;
}

// Makes the pages visible, neighbours in one call. Returns how many, from the first on.
std::uint32_t FaultServer::enter_scattered(const LockedRun& run, page::Reservation& frames,
                                           std::byte* const* pages) noexcept {
  for (std::uint32_t i = 0; i < run.pages; ++i) run.region->leaf_of(run.index(i)).expect_change();
  for (std::uint32_t from = 0; from < run.pages;) {
    std::uint32_t to = from + 1;
    while (to < run.pages && run.index(to) == run.index(to - 1) + 1) ++to;
    const pmap::Entered entered =
        parts_.pmap->enter_copy(run.address(from), pages[from], to - from, run.protection);
    for (std::uint32_t i = from; i < from + entered.pages; ++i) {
      publish(run, i, frames.take(Holder::entry), pages[i]);
    }
    from += entered.pages;
    if (entered.error != 0) return from;
  }
  return run.pages;
}

}  // namespace holdfast::space
