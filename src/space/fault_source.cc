// Faults on pages that the region's source has: they bring in their neighbours as far as these cost
// little more (a page group that is decompressed anyway), and never zeros where the source fails.
#include <algorithm>

#include "space/fault.h"

namespace holdfast::space {

// A page alone becomes the run that its source would give for it, unless it was asked for alone.
RunPlan FaultServer::with_neighbours(RegionRecord& region, std::uint64_t index,
                                     RunPlan plan) noexcept {
  if (!region.has_source(index) || plan.pages != 1 ||
      region.entry(index).peek().kind() != EntryKind::none ||
      region.advice.load(std::memory_order_relaxed) == Advice::random) {
    return plan;
  }
  const object::PageSpan span = region.source->around(index);
  HF_DCHECK2(span.first <= index && index - span.first < span.pages, span.first, index);
  const auto before =
      static_cast<std::uint32_t>(std::min<std::uint64_t>(index - span.first, kRunMax / 2));
  const std::uint64_t after = span.first + span.pages - index;
  return {before + static_cast<std::uint32_t>(std::min<std::uint64_t>(after, kRunMax / 2)), 1,
          before};
}

// Tells the source of the runs behind this one, once the stream is one. What is not the source's
// any more, or in memory, is not asked for.
void FaultServer::expect_beyond(RegionRecord& region, std::uint64_t index,
                                const RunPlan& plan) noexcept {
  constexpr std::uint32_t kStreamPages = 8;  // a run of so many is no coincidence
  constexpr std::uint32_t kRunsAhead = 8;    // of the widest
  if (plan.pages < kStreamPages || plan.before != 0 || plan.stride == 0) return;
  if (region.entry(index).peek().kind() != EntryKind::none) return;
  const auto step = static_cast<std::uint32_t>(std::abs(plan.stride));
  const std::uint64_t span = std::uint64_t{plan.pages} * step;
  const std::uint32_t runs = plan.pages < kRunMax ? 1 : kRunsAhead;
  for (std::uint32_t run = 1; run <= runs; ++run) {
    if (plan.stride < 0 && index + step < (run + 1) * span) return;
    // The lowest page of the run.
    const std::uint64_t first =
        plan.stride > 0 ? index + run * span : index + step - (run + 1) * span;
    if (first >= region.page_count()) return;
    if (region.entry(first).peek().kind() != EntryKind::none) continue;
    region.source->expect(first, step, plan.pages);
  }
}

// Adds up to `pages` pages before the first of the run, as long as each is the source's and free.
void FaultServer::lock_before(LockedRun& run, std::uint32_t pages) noexcept {
  RegionRecord& region = *run.region;
  for (; pages > 0 && run.first > 0; --pages) {
    const std::uint64_t index = run.first - 1;
    if (region.leaves[index / kLeafEntries].load(std::memory_order_acquire) == 0) return;
    Entry& entry = region.entry(index);
    if (!entry.try_lock()) return;
    if (entry.peek().kind() != EntryKind::none || !sharing_.is_ready(region, index)) {
      return entry.unlock();
    }
    --run.first;
    ++run.pages;
    ++run.primary;
  }
}

// Of a copy of a file's region: what that has in memory, and nobody has changed, is put at
// pages[i]. Returns which of them, as bits.
std::uint64_t FaultServer::fill_unchanged(const LockedRun& run, std::byte* const* pages) noexcept {
  static_assert(kRunMax <= 64);
  const Moment* const moment = run.region->moment.get();
  std::uint64_t had = 0;
  for (std::uint32_t i = 0; moment != nullptr && i < run.pages; ++i) {
    if (!is_from_source(run, i)) continue;
    if (sharing_.read_unchanged(*moment, run.index(i), pages[i])) had |= std::uint64_t{1} << i;
  }
  return had;
}

// Puts the content of each page of the run that is the source's at pages[i], a stretch of
// neighbours at a time, and others all at once. False: the source could not; `error` says why.
bool FaultServer::fill_from_source(const LockedRun& run, std::byte* const* pages,
                                   Error& error) noexcept {
  object::PageSource* const source = run.region->source.get();
  if (source == nullptr) return true;
  const std::uint64_t had = fill_unchanged(run, pages);
  const auto is_missing = [&](std::uint32_t i) {
    return (had >> i & 1) == 0 && is_from_source(run, i);
  };
  if (run.step != 1) {
    object::PageRead reads[kRunMax];
    std::uint32_t count = 0;
    for (std::uint32_t i = 0; i < run.pages; ++i) {
      if (is_missing(i)) reads[count++] = {.index = run.index(i), .to = pages[i]};
    }
    return count == 0 || source->read_scattered(std::span(reads, count), error);
  }
  for (std::uint32_t i = 0; i < run.pages;) {
    std::uint32_t count = 0;
    while (i + count < run.pages && is_missing(i + count)) ++count;
    if (count > 0 && !source->read(run.index(i), count, pages + i, error)) return false;
    i += std::max(count, 1U);
  }
  return true;
}

}  // namespace holdfast::space
