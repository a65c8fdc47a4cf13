// Pinned pages, while their region is being copied.
#include <algorithm>
#include <cstring>

#include "space/copier.h"

namespace holdfast::space {

using page::Holder;
using page::Page;

// Pinned pages are copied now, for the copy, and stay writable: what a device or another thread
// writes to them lands where their region's owner looks.
Expected<void> Copier::copy_pinned(RegionRecord& source, std::uint64_t leaf, TableId table) {
  LeafRecord& record = source.leaf_records[leaf];
  pinned_.fill(0);
  if (record.pinned.load(std::memory_order_seq_cst) == 0) return {};
  // Cleared before looking: whoever pins now and finds it clear sets it again.
  record.pinned.store(0, std::memory_order_seq_cst);
  const std::uint64_t first = leaf * kLeafEntries;
  const std::uint64_t end = std::min(first + kLeafEntries, source.page_count());
  Expected<void> result;
  for (std::uint64_t index = first; index < end && result; ++index) {
    if (!is_pinned(source, index)) continue;
    record.pinned.store(1, std::memory_order_seq_cst);
    result = keep_pinned(source, index, table);
  }
  if (!result) record.pinned.store(1, std::memory_order_seq_cst);
  return result;
}

bool Copier::is_pinned(const RegionRecord& source, std::uint64_t index) const noexcept {
  const EntryValue value = source.entry(index).peek();
  return value.kind() == EntryKind::resident && parts_.pool.page(value.frame()).pins() != 0;
}

// Pins go at any moment, and then the page may be taken away: under its entry's lock it stays. One
// whose pins have gone by then is a page like any other.
Expected<void> Copier::keep_pinned(RegionRecord& source, std::uint64_t index, TableId table) {
  page::Reservation frames;
  if (table != 0) frames = parts_.pool.reserve(1, page::Priority::normal);
  Entry& entry = source.entry(index);
  (void)entry.lock();
  Expected<void> result;
  // One that is protected is only being looked at: see pinning.cc.
  if (is_pinned(source, index) && source.leaf_of(index).is_writable(index % kLeafEntries)) {
    const std::uint64_t i = index % kLeafEntries;
    pinned_[i / 64] |= std::uint64_t{1} << i % 64;
    if (table != 0) result = copy_page(source, index, table, frames);
  }
  entry.unlock();
  return result;
}

Expected<void> Copier::copy_page(RegionRecord& source, std::uint64_t index, TableId table,
                                 page::Reservation& frames) {
  if (frames.size() == 0) return short_of_frames(1, parts_.pool.free_count());
  const cache::CopyPlaces places = parts_.cache->take_places(1);
  if (places.pages == 0) return short_of_frames(1, parts_.pool.free_count());
  std::memcpy(parts_.machine.view(places.address), parts_.machine.view(source.address_of(index)),
              kPageSize);
  Page& copy = frames.take(Holder::entry);
  const FrameIndex frame = parts_.pool.index_of(copy);
  SharedTables& tables = parts_.regions.tables();
  const SlotIndex version = parts_.swap.share(frame);
  --tables.header(table).promised;
  sharing_.add_copy(copy, version, places.window, places.place);
  parts_.cache->release(places.window);
  const bool noted = moment_ == nullptr || source.before->note_copy(*moment_, index, version);
  tables.set_value(table, index % kLeafEntries, EntryValue::swapped(version));
  parts_.counters.add(Count::cow_copied);
  if (!noted) return short_of_frames(1, parts_.pool.free_count());
  return {};
}

}  // namespace holdfast::space
