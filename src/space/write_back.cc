// Evictions that go back to their source: changed pages of a file that is mapped shared.
//
// As with a store to swap the page is not locked meanwhile, and a touch may rescue it. The turn of
// the source is ours from before the page is looked at until its entry has been settled, so that
// nobody else writes the page, or believes that it is clean.
#include <algorithm>
#include <cstring>

#include "space/eviction.h"
#include "space/page_entry.h"
#include "space/write_out.h"

namespace holdfast::space {

static_assert(kWriteOutBatch <= object::PageSource::kRoomPages);

using page::Holder;
using page::Page;
using page::PageState;

// The page's entry is locked, and stays so unless it was added.
Evictor::Back Evictor::add_write_back(const WriteOutItem& item, const std::byte* content,
                                      WriteOutScratch& scratch) noexcept {
  RegionRecord& region = *item.region;
  Page& page = *item.page;
  if (!region.from_file || !region.source->takes(page.owner().index.value)) return Back::not_taken;
  object::PageSource* const source = region.source.get();
  object::PageSource** const end = scratch.turns + scratch.turn_count;
  if (std::find(scratch.turns, end, source) == end) {
    if (!source->turn().try_take()) return Back::busy;
    scratch.turns[scratch.turn_count++] = source;
  }
  drop_kept_slot(parts_, page);
  region.leaf_of(page.owner().index.value).expect_change();
  parts_.clean.clear(parts_.pool.index_of(page));  // until we know what the source has
  std::byte* const copy = source->room() + std::uint64_t{scratch.back_count} * kPageSize;
  std::memcpy(copy, content, kPageSize);
  page.to(PageState::writeback);
  parts_.cache->hold(cache::WindowIndex(item.window));
  item.entry->unlock();
  scratch.backs[scratch.back_count++] = {item, copy};
  return Back::added;
}

// Writes what was added, one source after the other, in the order of its pages.
void Evictor::write_back(WriteOutScratch& scratch) noexcept {
  auto* const backs = scratch.backs;
  const std::uint32_t count = scratch.back_count;
  const auto index_of = [](const WriteOutScratch::BackItem& back) {
    return static_cast<std::uint64_t>(back.item.entry - back.item.region->entries);
  };
  std::sort(backs, backs + count, [&](const auto& a, const auto& b) {
    if (a.item.region != b.item.region) return a.item.region < b.item.region;
    return index_of(a) < index_of(b);
  });
  for (std::uint32_t i = 0; i < count; ++i) {
    scratch.writes[i] = {.index = index_of(backs[i]), .content = backs[i].content};
  }
  for (std::uint32_t from = 0; from < count;) {
    std::uint32_t to = from + 1;
    RegionRecord* const region = backs[from].item.region;
    while (to < count && backs[to].item.region == region) ++to;
    region->source->write(std::span(scratch.writes + from, to - from));
    from = to;
  }
  for (std::uint32_t i = 0; i < count; ++i) {
    WriteOutItem& item = backs[i].item;
    const bool leaves = settle_write_back(item, scratch.writes[i].error);
    parts_.cache->release(cache::WindowIndex(item.window));
    if (leaves) {
      gone(*item.page, scratch);
    } else {
      parts_.pool.put(*item.page, Holder::caller);
    }
  }
  while (scratch.turn_count > 0) scratch.turns[--scratch.turn_count]->turn().give();
  for (std::uint32_t i = 0; i < count; ++i) backs[i].item.region->leave();
}

// The write is done, or has failed. True: the page leaves.
bool Evictor::settle_write_back(WriteOutItem& item, int error) noexcept {
  Page& page = *item.page;
  const FrameIndex frame = parts_.pool.index_of(page);
  if (item.entry->lock()) parts_.counters.add(Count::faults_waited);
  const EntryValue value = item.entry->peek();
  const bool still_there = value == EntryValue::cached(frame) &&
                           page.state() == PageState::writeback &&
                           page.pool_window() == item.window;
  // Shared meanwhile: its version must get an image first.
  if (still_there && error == 0 && !sharing_.is_linked(page)) {
    item.entry->unlock(EntryValue());
    parts_.counters.add(Count::evicted_written);
    return true;
  }
  if (still_there) page.to(PageState::cached);
  if (still_there && error != 0) {  // it stays, changed, and in memory
    note_refused(frame, parts_.swap.room_mark());
    parts_.counters.add(Count::write_out_failed);
  } else {
    const bool in_frame = value.kind() == EntryKind::resident || value.kind() == EntryKind::cached;
    if (in_frame && error == 0) parts_.clean.set(value.frame(), item.hash);
    parts_.counters.add(Count::skipped_rescued);
  }
  item.entry->unlock();
  return false;
}

}  // namespace holdfast::space
