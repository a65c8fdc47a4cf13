// Rescue: a touched page that was unmapped but still stands in its frame comes back from the swap
// cache. A single page is copied: that costs 2.5 us and no other CPU is interrupted; the memory
// that it leaves behind is a warm frame, dropped with its window. Runs are carried.
#include <algorithm>
#include <cerrno>

#include "space/fault.h"
#include "space/page_entry.h"

namespace holdfast::space {

using page::Holder;
using page::Owner;
using page::Page;
using page::PageState;

// A store to a cached page that others share: its version keeps it where it stands, and its entry
// gets the version, as if it were swapped; the region's own page then comes in from there, writable
// at once. That takes one frame. To rescue the page, and to copy it at the next fault, takes two
// and a place for the copy; and where there is one, the rescue would take it every time, and the
// copy never get one. False: nobody shares it any more, and nothing was done.
bool FaultServer::leave_to_others(RegionRecord& region, std::uint64_t index) noexcept {
  Entry& entry = region.entry(index);
  const FrameIndex frame = entry.peek().frame();
  Page& page = parts_.pool.page(frame);
  const SlotIndex version = page.version();
  if (version.is_none() || !parts_.swap.try_get(version, frame)) return false;
  // Once it is handed over others may free it: it stays until we have looked.
  parts_.pool.get(page, Holder::caller);
  if (!sharing_.hand_over(page, index)) sharing_.make_orphan(page);  // it has just got its image
  parts_.pool.put(page, Holder::caller);
  entry.unlock(EntryValue::swapped(version));
  return true;
}

FaultServer::Outcome FaultServer::rescue(RegionRecord& region, std::uint64_t index, RunPlan plan,
                                         page::Reservation& frames) noexcept {
  Entry& entry = region.entry(index);
  Page& page = parts_.pool.page(entry.peek().frame());
  HF_DCHECK2(page.owner() == (Owner{region.id, PageIndex(index)}), index, page.pool_window());
  int error = 0;
  const bool in_run = plan.pages >= cache::SwapCache::kWarmRunMin && plan.stride == 1;
  const sys::Protection protection = sharing_.protection_of(region, index, page);
  const bool may_move =  // carried pages arrive writable
      parts_.pmap->can_move() && protection == sys::Protection::writable;
  std::uint32_t rescued = 0;
  if (may_move && (in_run || frames.size() == 0)) {
    rescued = rescue_by_move(region, index, page, in_run ? plan.pages : 1, error);
    if (rescued > 0) return Outcome::came_in(rescued);
  }
  if (frames.size() > 0 && rescue_by_copy(region, index, page, frames, error)) {
    return Outcome::came_in(1);
  }
  entry.unlock();
  if (frames.size() == 0) return Outcome::retry(Step::no_frames);
  return stopped(error, "rescue a page", region.address_of(index));
}

bool FaultServer::rescue_by_copy(RegionRecord& region, std::uint64_t index, Page& page,
                                 page::Reservation& frames, int& error) noexcept {
  const sys::Protection protection = sharing_.protection_of(region, index, page);
  const cache::WindowIndex window(page.pool_window());
  const auto place = static_cast<std::uint32_t>(index % parts_.window_pages);
  const std::byte* content = parts_.machine.view(parts_.cache->address_of(window, place));
  region.leaf_of(index).expect_change();
  const pmap::Entered entered =
      parts_.pmap->enter_copy(region.address_of(index), content, 1, protection);
  if (entered.pages != 1) {
    error = entered.error;
    return false;
  }
  // The copy is paid for by the new frame; the page keeps its descriptor, so the new one stands for
  // the memory that is left at the old place.
  Page& left = frames.take(Holder::caller);
  left.set_pool_window(window.value);
  const FrameIndex left_frame = parts_.pool.index_of(left);
  const bool warm = parts_.pool.put_to_warm(left, Holder::caller);
  HF_DCHECK(warm);
  publish_rescued(region, index, page, warm ? left_frame : FrameIndex::none(),
                  protection == sys::Protection::writable);
  return true;
}

// Carries the page, and those that follow it in the same pool window. Returns how many came.
std::uint32_t FaultServer::rescue_by_move(RegionRecord& region, std::uint64_t index, Page& page,
                                          std::uint32_t most, int& error) noexcept {
  const cache::WindowIndex window(page.pool_window());
  const auto place = static_cast<std::uint32_t>(index % parts_.window_pages);
  std::uint32_t pages = 1;
  const auto limit = static_cast<std::uint32_t>(
      std::min({std::uint64_t{most}, std::uint64_t{parts_.window_pages - place},
                region.page_count() - index}));
  for (; pages < limit; ++pages) {
    Entry& entry = region.entry(index + pages);
    if (!entry.try_lock()) break;
    const EntryValue value = entry.peek();
    if (value.kind() != EntryKind::cached || !sharing_.is_ready(region, index + pages) ||
        parts_.pool.page(value.frame()).pool_window() != window.value ||
        sharing_.protection_of(region, index + pages, parts_.pool.page(value.frame())) !=
            sys::Protection::writable) {
      entry.unlock();
      break;
    }
  }
  region.leaf_of(index).expect_change();  // a pool window is no larger than a leaf
  const pmap::Entered entered = parts_.pmap->enter_move(
      region.address_of(index), parts_.cache->address_of(window, place), pages);
  error = entered.error;
  for (std::uint32_t i = 0; i < pages; ++i) {
    Entry& entry = region.entry(index + i);
    if (i < entered.pages) {
      publish_rescued(region, index + i, parts_.pool.page(entry.peek().frame()), FrameIndex::none(),
                      true);
    } else if (i > 0) {
      entry.unlock();  // the first stays locked: the caller tries otherwise
    }
  }
  return entered.pages;
}

// The page is visible again: it goes back to the active list, and its entry holds it. writable: as
// it was entered; those who shared it then may be gone.
void FaultServer::publish_rescued(RegionRecord& region, std::uint64_t index, Page& page,
                                  FrameIndex left, bool writable) noexcept {
  const cache::WindowIndex window(page.pool_window());
  const FrameIndex frame = parts_.pool.index_of(page);
  note_writable(region, index, writable);
  parts_.pool.get(page, Holder::entry);
  page.to(PageState::resident);
  page.set_pool_window(Page::kNoPoolWindow);
  parts_.lru.activate(frame);
  parts_.cache->vacate(window, static_cast<std::uint32_t>(index % parts_.window_pages), left);
  region.windows[index / parts_.window_pages].rescues.fetch_add(1, std::memory_order_relaxed);
  parts_.counters.add(Count::faults_rescued);
  region.entry(index).unlock(EntryValue::resident(frame));
}

}  // namespace holdfast::space
