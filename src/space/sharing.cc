#include "space/sharing.h"

#include <algorithm>
#include <cstring>

namespace holdfast::space {
namespace {
// How often a reader looks for a page whose owner is at work on it before he lets go of what he has
// locked himself: an entry is mostly free within a few microseconds.
constexpr int kReadTries = 256;
}  // namespace

using page::Holder;
using page::Owner;
using page::Page;
using page::PageState;

// --- pages ---

SlotIndex Sharing::share(Page& page, bool& made) noexcept {
  const FrameIndex frame = parts_.pool.index_of(page);
  const SlotIndex known = page.version();
  made = known.is_none() || !parts_.swap.try_get(known, frame);
  if (!made) return known;
  // What it kept of an earlier write-out may be old: only its hash would tell.
  const SlotIndex kept = page.slot();
  page.set_slot(SlotIndex::none());
  if (!kept.is_none()) put_slot(kept);
  parts_.pool.get(page, Holder::entry);
  const SlotIndex version = parts_.swap.share(frame);
  page.set_version(version);
  return version;
}

const std::byte* Sharing::content_in_memory(const RegionRecord& region, std::uint64_t index,
                                            EntryValue value) const noexcept {
  if (value.kind() == EntryKind::resident) return parts_.machine.view(region.address_of(index));
  if (value.kind() != EntryKind::cached) return nullptr;
  const cache::WindowIndex window(parts_.pool.page(value.frame()).pool_window());
  const auto place = static_cast<std::uint32_t>(index % parts_.window_pages);
  return parts_.machine.view(parts_.cache->address_of(window, place));
}

// --- versions ---

Sharing::Read Sharing::read_version(SlotIndex version, std::byte* to) noexcept {
  for (int tries = 0; tries < kReadTries; ++tries) {
    const FrameIndex frame = parts_.swap.frame_of(version);
    if (frame.is_none()) return Read::image;
    const Owner owner = parts_.pool.page(frame).owner();
    const bool read = owner.region == kVersionOwner ? read_from_window(version, frame, to)
                                                    : read_from_owner(version, frame, owner, to);
    if (read) return Read::done;
    sync::parking().relax();  // it is on its way elsewhere
  }
  return Read::busy;
}

// The page of a region: under its entry's lock it stands still, and nobody writes to it.
bool Sharing::read_from_owner(SlotIndex version, FrameIndex frame, Owner owner,
                              std::byte* to) noexcept {
  if (owner.is_none()) return false;
  RegionRecord& region = parts_.regions.record(owner.region);
  if (!region.enter_to_read()) return false;
  bool read = false;
  if (owner.index.value < region.capacity) {
    Entry& entry = region.entry(owner.index.value);
    if (!entry.try_lock()) {
      region.leave();
      return false;
    }
    const EntryValue value = entry.peek();
    if (value == EntryValue::resident(frame) || value == EntryValue::cached(frame)) {
      const std::byte* const content = content_in_memory(region, owner.index.value, value);
      read = parts_.swap.frame_of(version) == frame;
      if (read) std::memcpy(to, content, kPageSize);
    }
    entry.unlock();
  }
  region.leave();
  return read;
}

// A page that only the version has: it stands in its pool window until it has been written out, and
// the window is held against that.
bool Sharing::read_from_window(SlotIndex version, FrameIndex frame, std::byte* to) noexcept {
  Page& page = parts_.pool.page(frame);
  if (!parts_.pool.try_get(page, Holder::caller)) return false;
  const Owner owner = page.owner();
  const std::uint32_t window = page.pool_window();
  bool read = false;
  if (owner.region == kVersionOwner && version_of(owner) == version &&
      window != Page::kNoPoolWindow && parts_.swap.frame_of(version) == frame &&
      parts_.cache->try_hold(cache::WindowIndex(window))) {
    // Looked at again with the window held: the page's memory is there from now on.
    if (parts_.swap.frame_of(version) == frame) {
      const std::uint32_t place = place_of(owner, parts_.window_pages);
      std::memcpy(to,
                  parts_.machine.view(parts_.cache->address_of(cache::WindowIndex(window), place)),
                  kPageSize);
      read = true;
    }
    parts_.cache->release(cache::WindowIndex(window));
  }
  parts_.pool.put(page, Holder::caller);
  return read;
}

// As long as the entry is locked nobody keeps the page, nor stores to it.
bool Sharing::read_unchanged(const Moment& moment, std::uint64_t index, std::byte* to) noexcept {
  RegionRecord& region = parts_.regions.record(moment.region());
  if (!region.enter_to_read()) return false;
  bool read = false;
  const bool there = index < region.capacity && !region.entry(index).peek().is_absent();
  if (there && region.entry(index).try_lock()) {
    const std::byte* const content = content_in_memory(region, index, region.entry(index).peek());
    read = content != nullptr && moment.find(index).kind() == EntryKind::none;
    if (read) std::memcpy(to, content, kPageSize);
    region.entry(index).unlock();
  }
  region.leave();
  return read;
}

void Sharing::add_copy(Page& copy, SlotIndex version, cache::WindowIndex window,
                       std::uint32_t place) noexcept {
  const FrameIndex frame = parts_.pool.index_of(copy);
  copy.set_owner({kVersionOwner, version_index(version, place)});
  copy.set_pool_window(window.value);
  copy.to(PageState::cached);
  parts_.pool.get(copy, Holder::vm);
  parts_.cache->place_page(window, place, frame);
  parts_.lru.add_inactive(std::span(&frame, 1));
}

void Sharing::put_slot(SlotIndex slot) noexcept {
  const FrameIndex frame = parts_.swap.put(slot);
  if (!frame.is_none()) release_frame(frame);
}

void Sharing::release_frame(FrameIndex frame) noexcept {
  Page& page = parts_.pool.page(frame);
  // Pairs with hand_over(): it changes the owner and then looks where the version stands; we have
  // changed that, and look at the owner now.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  // It may be the page of another version by now: it was shared once more before it was handed
  // over.
  if (is_left(page)) make_orphan(page);
  parts_.pool.put(page, Holder::entry);
}

void Sharing::make_orphan(Page& page) noexcept {
  if (!page.try_to(PageState::cached, PageState::orphan) &&
      !page.try_to(PageState::writeback, PageState::orphan)) {
    return;
  }
  const FrameIndex frame = parts_.pool.index_of(page);
  parts_.lru.deactivate_first(std::span(&frame, 1));
}

bool Sharing::hand_over(Page& page, std::uint64_t index) noexcept {
  const SlotIndex version = page.version();
  if (version.is_none()) return false;
  const auto place = static_cast<std::uint32_t>(index % parts_.window_pages);
  page.set_owner({kVersionOwner, version_index(version, place)});
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!is_linked(page)) return false;
  page.clear_version(version);
  return true;
}

// --- tables and leaves ---

void Sharing::wait_until_thawed(RegionRecord& region, const LeafRecord& leaf) noexcept {
  while ((leaf.pending.load(std::memory_order_seq_cst) & LeafRecord::kFrozen) != 0) {
    const std::uint32_t frozen = region.frozen.load(std::memory_order_seq_cst);
    if (frozen != 0) sync::parking().wait(region.frozen, frozen, 0);
  }
}

void Sharing::make_ready(RegionRecord& region, std::uint64_t index) noexcept {
  LeafRecord& leaf = region.leaf_of(index);
  for (;;) {
    const std::uint32_t pending = leaf.pending.load(std::memory_order_seq_cst);
    if (pending == 0) break;
    if ((pending & LeafRecord::kFrozen) != 0) {
      wait_until_thawed(region, leaf);
    } else if ((pending & LeafRecord::kCancelling) != 0) {
      sync::parking().relax();
    } else {
      settle_pending(region, leaf, pending);
    }
  }
  const TableId base = region.base_of(index);
  if (base == 0 || parts_.regions.tables().is_settled(base)) return;
  // The region refers to its base while its leaf is not given up, and whoever gives it up settles
  // it before.
  if (!parts_.regions.tables().try_get(base)) return;
  settle(base);
  put_table(base);
}

void Sharing::settle_pending(RegionRecord& region, LeafRecord& leaf, TableId table) noexcept {
  (void)region;
  SharedTables& tables = parts_.regions.tables();
  if (!tables.try_get(table)) return;  // settled meanwhile, and dropped
  if (leaf.pending.load(std::memory_order_seq_cst) == table && !cancel(leaf, table)) settle(table);
  put_table(table);
}

// The table is pending and nobody has it but the leaf (and we): nothing has to be kept.
bool Sharing::cancel(LeafRecord& leaf, TableId table) noexcept {
  SharedTables& tables = parts_.regions.tables();
  const auto unwanted = [&] { return tables.header(table).references.load() == 2; };
  if (!unwanted()) return false;
  std::uint32_t expected = table;
  // While the mark is set, no clone or snapshot can get at the table.
  if (!leaf.pending.compare_exchange_strong(expected, table | LeafRecord::kCancelling)) {
    return true;  // somebody else deals with it: look again
  }
  const bool cancelled = unwanted() && tables.header(table).state.load() == SharedTables::kPending;
  leaf.pending.store(cancelled ? 0 : table, std::memory_order_seq_cst);
  if (cancelled) put_table(table);  // the leaf's
  return cancelled;
}

// Waits until the region whose leaf a pending table stands for is not being copied. The region may
// go while we look: it settles its tables first, and then its leaves are there no more. One that is
// dying has no copy under way that we would have to wait for.
void Sharing::wait_for_source(const SharedTables::Header& header) noexcept {
  RegionRecord& region = parts_.regions.record(header.source);
  HF_INTERLEAVE();
  if (!region.enter_to_read()) return;
  if (header.state.load(std::memory_order_seq_cst) == SharedTables::kPending) {
    wait_until_thawed(region, region.leaf_records[header.leaf]);
  }
  region.leave();
}

void Sharing::settle(TableId table) noexcept {
  SharedTables::Header& header = parts_.regions.tables().header(table);
  for (;;) {
    std::uint32_t state = header.state.load(std::memory_order_acquire);
    if (state == SharedTables::kSettled) return;
    if (state == SharedTables::kSettling) {
      sync::parking().wait(header.state, state, 0);
      continue;
    }
    wait_for_source(header);
    if (header.state.compare_exchange_strong(state, SharedTables::kSettling)) break;
  }
  capture_all(table);
  RegionRecord& region = parts_.regions.record(header.source);
  LeafRecord& leaf = region.leaf_records[header.leaf];
  std::uint32_t expected = table;
  while (!leaf.pending.compare_exchange_weak(expected, 0, std::memory_order_seq_cst)) {
    // Frozen for the next snapshot, or looked at by cancel(): both pass.
    HF_DCHECK2((expected & ~(LeafRecord::kFrozen | LeafRecord::kCancelling)) == table, expected,
               table);
    expected = table;
    sync::parking().relax();
  }
  header.state.store(SharedTables::kSettled, std::memory_order_release);
  sync::parking().wake(header.state, sync::kWakeAll);
  parts_.counters.add(Count::cow_settled);
  put_table(table);  // the leaf's
}

// The pages of the leaf, one after the other: nobody changes one before it has been captured, and
// nobody changes any before the table is settled.
void Sharing::capture_all(TableId table) noexcept {
  SharedTables& tables = parts_.regions.tables();
  SharedTables::Header& header = tables.header(table);
  RegionRecord& region = parts_.regions.record(header.source);
  const std::uint64_t first = header.leaf * kLeafEntries;
  const std::uint64_t end = std::min(first + kLeafEntries, header.pages);
  for (std::uint64_t index = first; index < end; ++index) {
    if (tables.value(table, index - first).kind() != EntryKind::none) continue;  // pinned: copied
    Entry& entry = region.entry(index);
    (void)entry.lock();
    tables.set_value(table, index - first, capture(region, index, entry.peek(), header.promised));
    entry.unlock();
  }
  if (header.promised > 0) parts_.swap.unpromise(header.promised);
  header.promised = 0;
}

// The value for a table of what the entry, which is locked, stands for: with a count of its own.
EntryValue Sharing::capture(RegionRecord& region, std::uint64_t index, EntryValue value,
                            std::uint32_t& promised) noexcept {
  if (value.kind() == EntryKind::resident || value.kind() == EntryKind::cached) {
    // Of a file, what is as the file has it is the file's: a store will keep it before.
    if (region.before != nullptr &&
        parts_.clean.matches(value.frame(),
                             base::hash_page(content_in_memory(region, index, value)))) {
      return {};
    }
    bool made = false;
    const SlotIndex version = share(parts_.pool.page(value.frame()), made);
    promised -= made ? 1 : 0;
    return EntryValue::swapped(version);
  }
  const EntryValue content = content_of(region, index, value);
  if (content.kind() == EntryKind::swapped) parts_.swap.get(content.slot());
  return content;
}

void Sharing::put_table(TableId table) noexcept {
  SharedTables& tables = parts_.regions.tables();
  if (!tables.put(table)) return;
  for (std::uint64_t i = 0; i < kLeafEntries; ++i) {
    const EntryValue value = tables.value(table, i);
    if (value.kind() == EntryKind::swapped) put_slot(value.slot());
  }
  SharedTables::Header& header = tables.header(table);
  if (header.promised > 0) parts_.swap.unpromise(header.promised);
  header.promised = 0;
  tables.release(table);
  parts_.pool.uncharge(1);
}

}  // namespace holdfast::space
