// Writing out: the second half of an eviction.
//
// A page that has to be stored is not locked meanwhile: its state is `writeback`, its pool window
// is held, and a touch may rescue it. Afterwards the entry is locked again and tells: still cached
// at that place: it now refers to the slot. Rescued: the slot stays with the page, and its hash
// will tell at the next unmap whether it is still good.
#include <algorithm>

#include "space/eviction.h"
#include "space/page_entry.h"
#include "space/write_out.h"

namespace holdfast::space {

using page::Holder;
using page::Page;
using page::PageState;

WriteOutResult Evictor::write_out(std::span<const FrameIndex> frames) noexcept {
  HF_DCHECK(frames.size() <= kWriteOutBatch);
  StagingBuffer buffer(parts_.staging);
  auto& scratch = buffer.as<WriteOutScratch>();
  scratch.count = 0;
  scratch.leaving_count = 0;
  scratch.back_count = 0;
  scratch.turn_count = 0;
  scratch.busy = false;
  scratch.turn_busy = false;
  writing_.fetch_add(1, std::memory_order_relaxed);
  for (const FrameIndex frame : frames) consider(frame, scratch);
  if (scratch.turn_count > 0) write_back(scratch);
  if (scratch.count > 0) {
    scratch.mark = parts_.swap.room_mark();
    parts_.swap.store(std::span(scratch.stores, scratch.count), page::Priority::reclaim);
    for (std::uint32_t i = 0; i < scratch.count; ++i) {
      settle(scratch.items[i], scratch.stores[i], scratch);
    }
  }
  const std::uint32_t freed = free_gone(scratch);
  writing_.fetch_sub(1, std::memory_order_relaxed);
  return {.left = freed, .busy = scratch.busy, .turn_busy = scratch.turn_busy};
}

// Looks at one inactive page: frees it if it needs no store, else adds it to the batch. The
// reference that came with it is put, or goes on to `leaving` or `items`.
void Evictor::consider(FrameIndex frame, WriteOutScratch& scratch) noexcept {
  Page& page = parts_.pool.page(frame);
  const page::Owner owner = page.owner();
  if (page.state() == PageState::orphan) {
    if (page.count() == 2) {
      parts_.counters.add(Count::orphans_freed);
      gone(page, scratch);
    } else {
      parts_.pool.put(page, Holder::caller);
    }
    return;
  }
  if (owner.region == kVersionOwner) return consider_copy(page, owner, scratch);
  RegionRecord* region = owner.is_none() ? nullptr : &parts_.regions.record(owner.region);
  if (region == nullptr || !region->enter()) {
    parts_.pool.put(page, Holder::caller);
    return;
  }
  WriteOutItem item{
      .page = &page, .region = region, .entry = nullptr, .window = 0, .hash = {}, .version = {}};
  const bool in_range = owner.index.value < region->capacity;
  if (in_range) item.entry = &region->entry(owner.index.value);
  if (!in_range || !item.entry->try_lock()) {
    parts_.counters.add(Count::skipped_busy);
    scratch.busy = true;
    parts_.pool.put(page, Holder::caller);
    region->leave();
    return;
  }
  // count 2: the VM and us, and 1 more of its version. More: somebody else works on it (another
  // reclaimer, a losing pinner).
  const bool linked = sharing_.is_linked(page);
  if (item.entry->peek() != EntryValue::cached(frame) || page.state() != PageState::cached ||
      page.count() != (linked ? 3 : 2)) {
    parts_.counters.add(Count::skipped_rescued);
    // Rescued while it was on its way to the inactive list: it belongs on the active one.
    if (item.entry->peek() == EntryValue::resident(frame)) parts_.lru.activate(frame);
    return skip(item, scratch);
  }
  item.window = page.pool_window();
  const auto place = static_cast<std::uint32_t>(owner.index.value % parts_.window_pages);
  const std::byte* content =
      parts_.machine.view(parts_.cache->address_of(cache::WindowIndex(item.window), place));
  const SlotIndex version = page.version();  // its last holder may take it away
  if (!version.is_none() && parts_.swap.try_get(version, frame)) item.version = version;
  if (item.version.is_none() && leave_without_store(item, content)) {
    gone(page, scratch);
    region->leave();
    return;
  }
  const bool alone = item.version.is_none();
  if (!alone) item.hash = base::hash_page(content);
  const Back back = alone ? add_write_back(item, content, scratch) : Back::not_taken;
  if (back == Back::added) return;
  if (back == Back::busy) {
    parts_.counters.add(Count::skipped_busy);
    scratch.turn_busy = true;
    return skip(item, scratch);
  }
  page.to(PageState::writeback);
  parts_.cache->hold(cache::WindowIndex(item.window));
  item.entry->unlock();
  add_store(item, content, scratch);
}

// Somebody else is at work on the page, whose entry we have locked.
void Evictor::skip(WriteOutItem& item, WriteOutScratch& scratch) noexcept {
  scratch.busy = true;
  item.entry->unlock();
  parts_.pool.put(*item.page, Holder::caller);
  item.region->leave();
}

void Evictor::add_store(const WriteOutItem& item, const std::byte* content,
                        WriteOutScratch& scratch) noexcept {
  scratch.stores[scratch.count] = swap::StoreItem{.page = content,
                                                  .hash = item.hash,
                                                  .into = item.version,
                                                  .slot = {},
                                                  .replaced = {},
                                                  .error = {}};
  scratch.items[scratch.count++] = item;
}

// A copy that was made for those who share a page: its version is its entry, and our count of it
// keeps it from going away meanwhile.
void Evictor::consider_copy(Page& page, page::Owner owner, WriteOutScratch& scratch) noexcept {
  const FrameIndex frame = parts_.pool.index_of(page);
  WriteOutItem item{.page = &page,
                    .region = nullptr,
                    .entry = nullptr,
                    .window = page.pool_window(),
                    .hash = {},
                    .version = version_of(owner)};
  if (!parts_.swap.try_get(item.version, frame)) {
    parts_.pool.put(page, Holder::caller);  // it has just become nobody's
    return;
  }
  // count 3: the VM, the version and we. More: somebody reads it, or writes it out.
  if (page.count() != 3 || !page.try_to(PageState::cached, PageState::writeback)) {
    parts_.counters.add(Count::skipped_busy);
    scratch.busy = true;
    sharing_.put_slot(item.version);
    parts_.pool.put(page, Holder::caller);
    return;
  }
  parts_.cache->hold(cache::WindowIndex(item.window));
  const std::byte* content = parts_.machine.view(parts_.cache->address_of(
      cache::WindowIndex(item.window), place_of(owner, parts_.window_pages)));
  item.hash = base::hash_page(content);
  add_store(item, content, scratch);
}

// Same-filled and clean pages: their entry, which is locked, takes its new value at once.
bool Evictor::leave_without_store(WriteOutItem& item, const std::byte* content) noexcept {
  Page& page = *item.page;
  if (item.region->read_only) {  // it stands in the snapshot's table
    drop_kept_slot(parts_, page);
    item.entry->unlock(EntryValue());
    parts_.counters.add(Count::evicted_clean);
    return true;
  }
  if (item.region->from_file && leave_to_source(item, content)) return true;
  if (const auto word = base::repeated_word(content)) {
    if (const auto packed = base::pack_word(*word)) {
      drop_kept_slot(parts_, page);
      // A page of zeros is as good as one that was never touched.
      item.entry->unlock(*word == 0 ? Sharing::zeros(*item.region, page.owner().index.value)
                                    : EntryValue::filled(*packed));
      parts_.counters.add(Count::evicted_same_filled);
      return true;
    }
  }
  item.hash = base::hash_page(content);
  const SlotIndex slot = page.slot();
  if (slot.is_none()) return !item.region->from_file && leave_to_source(item, content);
  if (!parts_.swap.matches(slot, item.hash)) {
    drop_kept_slot(parts_, page);  // it changed: the slot's content is of no use to anybody
    return false;
  }
  page.set_slot(SlotIndex::none());  // its count passes to the entry
  item.entry->unlock(EntryValue::swapped(slot));
  parts_.counters.add(Count::evicted_clean);
  return true;
}

// True if the page of this hash, whose entry is locked, is what none means there.
bool Evictor::is_as_source(const WriteOutItem& item) noexcept {
  const RegionRecord& region = *item.region;
  const std::uint64_t index = item.page->owner().index.value;
  // With a base, none means what the base has; in a copy of a file, what the file had.
  if (!region.has_source(index) || region.base_of(index) != 0 || region.moment) return false;
  if (!region.from_file) return region.source->holds(index, item.hash);
  return parts_.clean.matches(parts_.pool.index_of(*item.page), item.hash);
}

// A page that is still as the region's source has it needs no slot: it comes from there again.
bool Evictor::leave_to_source(WriteOutItem& item, const std::byte* content) noexcept {
  if (item.region->from_file) item.hash = base::hash_page(content);
  if (!is_as_source(item)) return false;
  if (item.region->from_file) drop_kept_slot(parts_, *item.page);
  item.entry->unlock(EntryValue());
  parts_.counters.add(Count::evicted_clean);
  return true;
}

// The store is done, or has failed. Decides under the entry's lock what it is worth.
void Evictor::settle(WriteOutItem& item, swap::StoreItem& stored,
                     WriteOutScratch& scratch) noexcept {
  if (!item.version.is_none()) return settle_version(item, stored, scratch);
  Page& page = *item.page;
  const FrameIndex frame = parts_.pool.index_of(page);
  const bool ok = !stored.slot.is_none();
  if (item.entry->lock()) parts_.counters.add(Count::faults_waited);
  const EntryValue value = item.entry->peek();
  const bool at_its_place = value == EntryValue::cached(frame) &&
                            page.state() == PageState::writeback &&
                            page.pool_window() == item.window;
  // Shared meanwhile: its version must get the image, the next time.
  const bool shared = at_its_place && sharing_.is_linked(page);
  const bool still_there = at_its_place && !shared;
  bool leaves = false;
  // Nobody writes to a cached page: what was stored is what stands there.
  HF_DCHECK(!still_there || base::hash_page(stored.page) == item.hash);
  if (still_there && ok) {
    if (item.region->from_file) {  // a save may have taken it meanwhile
      item.region->leaf_of(page.owner().index.value).expect_change();
    }
    item.entry->unlock(EntryValue::swapped(stored.slot));
    parts_.counters.add(Count::evicted_written);
    leaves = true;
  } else if (still_there) {
    if (stored.error.code == Errc::swap_full) note_refused(frame, scratch.mark);
    page.to(PageState::cached);  // it stays where it is: nothing is lost
    item.entry->unlock();
    parts_.counters.add(Count::write_out_failed);
  } else {
    // Rescued meanwhile, and perhaps carried away while it was read: the image is worth nothing.
    if (ok) parts_.swap.put(stored.slot);
    if (shared || page.owner().region == kVersionOwner) {
      (void)page.try_to(PageState::writeback, PageState::cached);
    }
    item.entry->unlock();
    parts_.counters.add(Count::skipped_rescued);
  }
  parts_.cache->release(cache::WindowIndex(item.window));
  if (leaves) {
    gone(page, scratch);
  } else {
    parts_.pool.put(page, Holder::caller);
  }
  item.region->leave();
}

// The image has gone into the page's version, or nowhere. Whoever holds the version has it now;
// what is left to decide is whether the page itself can leave.
void Evictor::settle_version(WriteOutItem& item, swap::StoreItem& stored,
                             WriteOutScratch& scratch) noexcept {
  Page& page = *item.page;
  const FrameIndex frame = parts_.pool.index_of(page);
  const bool ok = !stored.slot.is_none();
  // The version stood in the page, or meanwhile in a copy of it.
  const bool ours = stored.replaced == frame;
  if (!stored.replaced.is_none() && !ours) sharing_.release_frame(stored.replaced);
  if (!ok && stored.error.code == Errc::swap_full) note_refused(frame, scratch.mark);
  bool leaves = false;
  if (item.region == nullptr) {
    leaves = settle_copy(item, ours);
  } else {
    (void)item.entry->lock();
    leaves = settle_page(item, ours, ok);
  }
  if (ok) parts_.counters.add(leaves ? Count::evicted_written : Count::skipped_rescued);
  if (!ok) parts_.counters.add(Count::write_out_failed);
  parts_.cache->release(cache::WindowIndex(item.window));
  if (leaves) {
    gone(page, scratch);
  } else {
    parts_.pool.put(page, Holder::caller);
  }
  if (item.region != nullptr) item.region->leave();
}

// A copy: only its version had it. True: it leaves.
bool Evictor::settle_copy(WriteOutItem& item, bool ours) noexcept {
  Page& page = *item.page;
  if (!ours) (void)page.try_to(PageState::writeback, PageState::cached);
  if (ours) parts_.pool.put(page, Holder::entry);
  sharing_.put_slot(item.version);
  return ours;
}

// A page of a region, whose entry is locked: it leaves if nobody has rescued it. Our count of the
// version passes to the entry then. It leaves, too, if its region has handed it over meanwhile, to
// the version that has got the image; it may have been shared once more before, and handed over to
// that one.
bool Evictor::settle_page(WriteOutItem& item, bool ours, bool ok) noexcept {
  Page& page = *item.page;
  const FrameIndex frame = parts_.pool.index_of(page);
  const bool handed_over = page.owner().region == kVersionOwner;
  const bool at_its_place = item.entry->peek() == EntryValue::cached(frame) &&
                            page.state() == PageState::writeback &&
                            page.pool_window() == item.window;
  if (ours) {
    page.clear_version(item.version);
    parts_.pool.put(page, Holder::entry);
  }
  // Since its version got the image and now it may have been shared once more, as another version.
  if (at_its_place && ok && !sharing_.is_linked(page)) {
    const bool is_sources = item.region->from_file && is_as_source(item);
    if (item.region->from_file) {  // a save may have taken it meanwhile
      item.region->leaf_of(page.owner().index.value).expect_change();
    }
    item.entry->unlock(is_sources ? EntryValue() : EntryValue::swapped(item.version));
    if (is_sources) sharing_.put_slot(item.version);
    return true;
  }
  if (at_its_place || handed_over) (void)page.try_to(PageState::writeback, PageState::cached);
  const bool leaves = ours && sharing_.is_left(page);
  item.entry->unlock();
  sharing_.put_slot(item.version);
  return leaves;
}

// Called with the page's entry locked, before anybody else can try it again: who does is told by
// its state. While another batch is stored the refusal says little: room may be on its way back.
void Evictor::note_refused(FrameIndex frame, std::uint64_t mark) noexcept {
  parts_.lru.rotate_inactive(std::span(&frame, 1));
  const bool others = writing_.load(std::memory_order_relaxed) > 1;
  if (refused_mark_.exchange(mark, std::memory_order_relaxed) != mark || others) {
    refused_.store(0, std::memory_order_relaxed);
  }
  refused_.fetch_add(others ? 0 : 1, std::memory_order_relaxed);
}

// No entry refers to the page any more. Of several reclaimers that come to that conclusion about an
// orphan, the one that takes the owner frees it.
void Evictor::gone(Page& page, WriteOutScratch& scratch) noexcept {
  const page::Owner owner = page.take_owner();
  if (owner.is_none()) {
    parts_.pool.put(page, Holder::caller);
    return;
  }
  scratch.leaving[scratch.leaving_count] = &page;
  scratch.leaving_owner[scratch.leaving_count++] = owner;
}

// The VM forgets the pages that have left.
std::uint32_t Evictor::free_gone(WriteOutScratch& scratch) noexcept {
  FrameIndex frames[kWriteOutBatch];
  for (std::uint32_t i = 0; i < scratch.leaving_count; ++i) {
    frames[i] = parts_.pool.index_of(*scratch.leaving[i]);
  }
  parts_.lru.remove(std::span(frames, scratch.leaving_count));
  for (std::uint32_t i = 0; i < scratch.leaving_count; ++i) {
    Page& page = *scratch.leaving[i];
    const std::uint32_t window = page.pool_window();
    const std::uint32_t next =
        i + 1 < scratch.leaving_count ? scratch.leaving[i + 1]->pool_window() : Page::kNoPoolWindow;
    // Frames come back when their window is finished. Where they are so short that storing the rest
    // of it could fail for want of compressed memory, they come back now.
    const bool trims = window != Page::kNoPoolWindow && next != window &&
                       parts_.pool.free_count() < parts_.pool.watermarks().min;
    if (trims) parts_.cache->hold(cache::WindowIndex(window));
    parts_.pool.put(page, Holder::caller);
    free_unlisted(parts_, page, scratch.leaving_owner[i]);
    if (!trims) continue;
    (void)parts_.cache->trim(cache::WindowIndex(window));
    parts_.cache->release(cache::WindowIndex(window));
  }
  return scratch.leaving_count;
}

}  // namespace holdfast::space
