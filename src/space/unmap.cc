// Unmapping a window: the first half of an eviction.
#include <algorithm>
#include <cerrno>

#include "space/eviction.h"

namespace holdfast::space {

using page::Holder;
using page::Page;
using page::PageState;

namespace {

// What stands at a place of the window that is being unmapped.
enum class Place : std::uint8_t {
  barrier,  // pinned, or somebody else has its entry: the window leaves around it
  hole,     // locked by us, nothing is mapped there
  page,     // locked by us, a resident page
  moved,    // a page that has left its mapping
};

// A window of which more than an eighth was rescued is in use: it is spared once for each time.
constexpr std::uint32_t kRescuedShare = 8;
constexpr std::uint8_t kChancesMax = 2;

}  // namespace

struct Evictor::UnmapScratch {
  Place places[512];
  FrameIndex moved[512];
  std::uint32_t moved_count;
  std::uint32_t pinned;
  std::uint32_t resident;
  bool busy;  // somebody else has an entry
  bool failed;
};

bool Evictor::spare(RegionRecord& region, std::uint64_t index) noexcept {
  WindowRecord& window = region.windows[index / parts_.window_pages];
  if (window.cold.load(std::memory_order_relaxed) != 0) return false;
  const std::uint32_t rescues = window.rescues.load(std::memory_order_relaxed);
  if (rescues * kRescuedShare < parts_.window_pages) return false;
  const std::uint8_t chances = window.chances.load(std::memory_order_relaxed);
  if (chances >= kChancesMax) {
    window.chances.store(0, std::memory_order_relaxed);
    window.rescues.store(0, std::memory_order_relaxed);
    return false;
  }
  window.chances.store(static_cast<std::uint8_t>(chances + 1), std::memory_order_relaxed);
  return true;
}

UnmapResult Evictor::unmap_window(FrameIndex frame, bool urgent) noexcept {
  Page& page = parts_.pool.page(frame);
  const page::Owner owner = page.owner();
  if (owner.is_none() || page.state() != PageState::resident) return {};
  if (page.pins() != 0) {  // its neighbours have their own turn
    parts_.counters.add(Count::skipped_pinned);
    return {.what = Unmapped::pinned};
  }
  RegionRecord& region = parts_.regions.record(owner.region);
  if (!region.enter()) return {};
  UnmapResult result;
  if (owner.index.value >= region.capacity) {
    result.what = Unmapped::busy;  // the record serves another region by now
  } else if (!urgent && spare(region, owner.index.value)) {
    parts_.counters.add(Count::skipped_recent);
    result.what = Unmapped::recent;
  } else {
    result = unmap_window_of(region, owner.index.value);
  }
  region.leave();
  return result;
}

UnmapResult Evictor::unmap_window_of(RegionRecord& region, std::uint64_t index) noexcept {
  const std::uint64_t first = index / parts_.window_pages * parts_.window_pages;
  const auto pages = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(parts_.window_pages, region.capacity - first));
  StagingBuffer scratch(parts_.staging);
  return unmap_locked(region, first, pages, scratch.as<UnmapScratch>());
}

UnmapResult Evictor::unmap_locked(RegionRecord& region, std::uint64_t first, std::uint32_t pages,
                                  UnmapScratch& scratch) noexcept {
  const cache::WindowIndex window = parts_.cache->acquire();
  if (window.is_none()) return {.what = Unmapped::no_window};
  scratch.moved_count = scratch.pinned = scratch.resident = 0;
  scratch.busy = scratch.failed = false;
  for (std::uint32_t i = 0; i < pages; ++i) {
    Entry& entry = region.entry(first + i);
    scratch.places[i] = Place::barrier;
    if (!entry.try_lock()) {
      scratch.busy = true;
      continue;
    }
    const EntryValue value = entry.peek();
    scratch.places[i] = Place::hole;
    if (value.kind() != EntryKind::resident) continue;
    if (parts_.pool.page(value.frame()).pins() != 0) {
      scratch.places[i] = Place::barrier;
      ++scratch.pinned;
      entry.unlock();
      continue;
    }
    scratch.places[i] = Place::page;
    ++scratch.resident;
  }
  for (std::uint32_t from = 0; from < pages && scratch.resident > 0;) {
    std::uint32_t to = from;
    while (to < pages && scratch.places[to] != Place::barrier) ++to;
    if (to > from) remove_stretch(region, first, from, to, window, scratch);
    from = to + 1;
  }
  // On the inactive list before their entries open: a rescue takes them from there.
  deactivate(std::span(scratch.moved, scratch.moved_count));
  for (std::uint32_t i = 0; i < pages; ++i) {
    Entry& entry = region.entry(first + i);
    if (scratch.places[i] == Place::barrier) continue;
    if (scratch.places[i] == Place::moved) {
      entry.unlock(EntryValue::cached(entry.peek().frame()));
    } else {
      entry.unlock();
    }
  }
  parts_.cache->release(window);
  parts_.counters.add(Count::skipped_pinned, scratch.pinned);
  if (scratch.moved_count > 0) {
    region.windows[first / parts_.window_pages].rescues.store(0, std::memory_order_relaxed);
    parts_.counters.add(Count::windows_unmapped);
    parts_.counters.add(Count::pages_unmapped, scratch.moved_count);
    return {.what = Unmapped::pages, .pages = scratch.moved_count};
  }
  if (scratch.failed) return {.what = Unmapped::failed};
  return {.what = scratch.pinned > 0 && !scratch.busy ? Unmapped::pinned : Unmapped::busy};
}

void Evictor::deactivate(std::span<const FrameIndex> frames) noexcept {
  if (refused_.load(std::memory_order_relaxed) == 0) return parts_.lru.deactivate(frames);
  parts_.lru.deactivate_first(frames);
  // Of those that were refused, some have been rescued since: at most the others are left.
  const std::uint64_t inactive = parts_.lru.counts().inactive;
  const std::uint64_t most = inactive > frames.size() ? inactive - frames.size() : 0;
  std::uint64_t refused = refused_.load(std::memory_order_relaxed);
  while (refused > most &&
         !refused_.compare_exchange_weak(refused, most, std::memory_order_relaxed)) {
  }
}

// Removes [from, to) of the window from its mapping; all its entries are locked by us. Holes are
// locked too, or a page that enters one meanwhile would be swept away.
void Evictor::remove_stretch(RegionRecord& region, std::uint64_t first, std::uint32_t from,
                             std::uint32_t to, cache::WindowIndex window,
                             UnmapScratch& scratch) noexcept {
  // A whole window moves its page table; less than that is trimmed to what is there.
  if (to - from != parts_.window_pages) {
    while (from < to && scratch.places[from] != Place::page) ++from;
    while (to > from && scratch.places[to - 1] != Place::page) --to;
    if (from == to) return;
  }
  const int error =
      parts_.pmap->remove(parts_.cache->address_of(window, from), region.address_of(first + from),
                          std::uint64_t{to - from} * kPageSize);
  if (error != 0) {
    scratch.failed = true;
    return;
  }
  for (std::uint32_t i = from; i < to; ++i) {
    if (scratch.places[i] != Place::page) continue;
    scratch.places[i] = Place::moved;
    const FrameIndex frame = region.entry(first + i).peek().frame();
    Page& page = parts_.pool.page(frame);
    page.set_pool_window(window.value);
    page.to(PageState::cached);
    parts_.cache->place_page(window, i, frame);
    parts_.pool.put(page, Holder::entry);
    scratch.moved[scratch.moved_count++] = frame;
  }
}

}  // namespace holdfast::space
