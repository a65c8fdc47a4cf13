// Pages of several ranges brought in together: what coroutines wait for (Region::ready).
#include <algorithm>
#include <array>

#include "space/address_space.h"

namespace holdfast::space {

namespace {

// Pages that are to be brought in now, and which part of each range they are.
struct Round {
  std::array<std::uint64_t, kRunMax> pages;
  std::uint32_t count = 0;

  // Adds what is absent of the range, as far as there is room. Returns where it ends.
  std::uint64_t add(const RegionRecord& region, const WantedPages& range) noexcept {
    std::uint64_t at = range.first;
    for (; at < range.end && count < kRunMax; ++at) {
      if (region.entry(at).peek().kind() != EntryKind::resident) pages[count++] = at;
    }
    return at;
  }
  // Sorted, each once.
  [[nodiscard]] std::span<const std::uint64_t> in_order() noexcept {
    std::sort(pages.begin(), pages.begin() + count);
    const auto end = std::unique(pages.begin(), pages.begin() + count);
    count = static_cast<std::uint32_t>(end - pages.begin());
    return {pages.data(), count};
  }
};

}  // namespace

bool AddressSpace::is_resident(RegionRecord& region, std::uint64_t first,
                               std::uint64_t end) const noexcept {
  if (!region.enter()) return false;
  std::uint64_t at = first;
  while (at < end && region.entry(at).peek().kind() == EntryKind::resident) ++at;
  region.leave();
  return at == end;
}

Expected<void> AddressSpace::bring_in_together(RegionRecord& region,
                                               std::span<WantedPages> ranges) {
  if (!region.enter()) return fail({.code = Errc::not_mapped, .doing = "bring pages in"});
  std::array<std::uint64_t, kRunMax> ends;
  HF_DCHECK2(ranges.size() <= ends.size(), ranges.size(), ends.size());
  Round round;
  for (std::size_t r = 0; r < ranges.size(); ++r) {
    ranges[r].end = std::min(ranges[r].end, region.page_count());  // it may have been cut off since
    ends[r] = round.add(region, ranges[r]);
  }
  const auto pages = round.in_order();
  // A whole run of neighbours is part of a stream: then the source is told what comes next.
  const bool is_stream = pages.size() == kRunMax && pages.back() - pages.front() == kRunMax - 1;
  if (pages.size() > 1 && !is_stream) (void)faults_.bring_in_scattered(region, pages);
  for (std::size_t r = 0; r < ranges.size(); ++r) {
    bring_in_rest(region, ranges[r], ends[r], pages, is_stream ? kRunMax : 1);
  }
  region.leave();
  return {};
}

// Brings in what did not come together, page by page or as a run; `pages`: what was absent before.
void AddressSpace::bring_in_rest(RegionRecord& region, WantedPages& range, std::uint64_t end,
                                 std::span<const std::uint64_t> pages,
                                 std::uint32_t width) noexcept {
  for (; range.first < end; ++range.first) {
    if (region.entry(range.first).peek().kind() != EntryKind::resident) {
      const auto came = faults_.bring_in(region, range.first, {width, 1});
      if (!came) {
        range.failed = true;
        range.error = came.error();
        return;
      }
    }
    if (std::binary_search(pages.begin(), pages.end(), range.first)) ++range.came;
  }
}

}  // namespace holdfast::space
