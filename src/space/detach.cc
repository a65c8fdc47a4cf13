// Detaching pages from their entries: unmap, shrink, Advice::free.
//
// The owner never waits for the VM: an entry drops its reference and that is that. The page, if the
// VM knows it, becomes an orphan (count 1) that the VM frees later; a page that somebody still pins
// keeps its entry, its memory and its address until the last pin goes (the region is a zombie
// then).
//
// A page that clones or snapshots share is unmapped first, as if it were evicted, and then handed
// over to its version: it stays in its frame, and belongs to nobody else.
//
// A chunk at a time: its entries are locked, its memory is dropped, then the entries are published.
#include <algorithm>
#include <cerrno>

#include "space/address_space.h"
#include "space/detach_scratch.h"
#include "space/page_entry.h"

namespace holdfast::space {
namespace {
constexpr std::uint64_t kKeptAtOnce = 16;  // pages that are read for copies before they are freed
constexpr int kKeepTries = 64;   // a page that is rescued again and again while it is being freed
constexpr int kWindowTries = 4;  // for a pool window
}  // namespace

using page::Holder;
using page::Page;
using page::PageState;

Expected<void> AddressSpace::unmap(RegionRecord& region) {
  if (!region.retire()) {
    return fail(
        {.code = Errc::not_mapped, .doing = "unmap region", .remedy = "a region is unmapped once"});
  }
  wait_for_users(region);
  finish_unmap(region);
  if (parts_.reclaimer != nullptr) parts_.reclaimer->wake();  // there are orphans to free
  return {};
}

void AddressSpace::wait_for_users(RegionRecord& region) noexcept {
  while (region.has_users()) sync::parking().relax();
}

void AddressSpace::finish_unmap(RegionRecord& region) noexcept {
  std::uint64_t pinned = 0;
  for (std::uint64_t leaf = 0; leaf * kLeafEntries < region.capacity; ++leaf) {
    if (region.leaves[leaf].load(std::memory_order_acquire) == 0) continue;
    const std::uint64_t first = leaf * kLeafEntries;
    const auto pages = static_cast<std::uint32_t>(std::min(kLeafEntries, region.capacity - first));
    (void)keep_for_others(region, first, pages);
    StagingBuffer scratch(parts_.staging);
    pinned += detach_chunk(region, first, pages, Gone::region, scratch.as<DetachScratch>());
  }
  if (pinned > 0) {
    region.set_state(RegionRecord::State::zombie);
  } else {
    release_bases(region);
    const std::uint32_t leaves = region.leaves_charged.load(std::memory_order_relaxed);
    parts_.pmap->detach(region.base, region.reserved_bytes);
    parts_.regions.drop(region);
    parts_.pool.uncharge(leaves);
  }
}

// Frees [first, end) of a live region. Refused, with nothing changed, if a page of it is pinned.
Expected<void> AddressSpace::detach(RegionRecord& region, std::uint64_t first, std::uint64_t end) {
  std::uint64_t where = 0;
  int error = 0;
  bool pinned = any_pinned(region, first, end, where);
  if (!pinned) TRY_VOID(keep_from_source(region, first, end));
  if (!pinned) TRY_VOID(keep_before(region, first, end));
  bool kept = true;  // what others share could be kept for them
  for (std::uint64_t at = first; at < end && !pinned && error == 0 && kept;) {
    const std::uint64_t leaf_end = (at / kLeafEntries + 1) * kLeafEntries;
    const std::uint64_t stop = std::min(end, leaf_end);
    const auto pages = static_cast<std::uint32_t>(stop - at);
    kept = give_up_base(region, at, pages);
    if (kept && region.leaves[at / kLeafEntries].load(std::memory_order_acquire) != 0) {
      std::uint64_t skipped = 1;
      for (int tries = 0; skipped > 0 && tries < kKeepTries && !pinned && error == 0; ++tries) {
        if (tries > 0) TRY_VOID(keep_before(region, at, stop));  // there may be a new copy
        (void)keep_for_others(region, at, pages);
        StagingBuffer buffer(parts_.staging);
        auto& scratch = buffer.as<DetachScratch>();
        skipped = detach_chunk(region, at, pages, Gone::pages, scratch);
        error = scratch.error;
        pinned = skipped > 0 && any_pinned(region, at, stop, where);
      }
      kept = skipped == 0 || pinned || error != 0;
      where = pinned ? where : at;
    }
    at = stop;
  }
  if (parts_.reclaimer != nullptr) parts_.reclaimer->wake();
  if (error != 0) {
    return fail({.code = Errc::system,
                 .os_errno = error,
                 .doing = "free memory of a region",
                 .what = "address",
                 .value = region.address_of(where),
                 .remedy = "munlock it first"});
  }
  if (!kept) {
    return fail({.code = Errc::out_of_memory,
                 .os_errno = ENOMEM,
                 .doing = "free memory of a region",
                 .what = "no room to keep what snapshots share; address",
                 .value = region.address_of(where),
                 .remedy = "drop snapshots or clones, or raise memory_budget"});
  }
  if (!pinned) return {};
  return fail({.code = Errc::busy,
               .doing = "free memory of a region",
               .what = "range with a pinned page, at address",
               .value = region.address_of(where),
               .remedy = "unpin it first"});
}

// What is freed must not come back from the region's source: each page of the range gets an entry
// that says so, and the tables for that are paid for before anything is changed.
Expected<void> AddressSpace::keep_from_source(RegionRecord& region, std::uint64_t first,
                                              std::uint64_t end) {
  if (!region.source) return {};
  for (std::uint64_t at = first; at < end; at = (at / kLeafEntries + 1) * kLeafEntries) {
    while (!faults_.pay_for_leaf(region, at)) {
      if (parts_.relief->relieve(1, page::Priority::normal)) continue;
      return fail({.code = Errc::out_of_memory,
                   .os_errno = ENOMEM,
                   .doing = "free memory of a region",
                   .what = "free frames for its tables, at address",
                   .value = region.address_of(at),
                   .remedy = "free smaller ranges, or raise memory_budget"});
    }
  }
  return {};
}

// What copies of a file need of the range is kept before it goes, as if all of it was stored to.
Expected<void> AddressSpace::keep_before(RegionRecord& region, std::uint64_t first,
                                         std::uint64_t end) {
  if (region.before == nullptr || !region.before->any()) return {};
  for (std::uint64_t at = first; at < end; ++at) {
    while (region.before->wants(at)) {
      const auto width = static_cast<std::uint32_t>(std::min<std::uint64_t>(kKeptAtOnce, end - at));
      TRY_VOID(faults_.bring_in(region, at, {width, 1}, sys::Access::write));
    }
  }
  return {};
}

bool AddressSpace::any_pinned(RegionRecord& region, std::uint64_t first, std::uint64_t end,
                              std::uint64_t& where) noexcept {
  for (std::uint64_t at = first; at < end; ++at) {
    if (region.leaves[at / kLeafEntries].load(std::memory_order_acquire) == 0) {
      at = (at / kLeafEntries + 1) * kLeafEntries - 1;
      continue;
    }
    const EntryValue value = region.entry(at).peek();
    if (value.kind() == EntryKind::resident && parts_.pool.page(value.frame()).pins() != 0) {
      where = at;
      return true;
    }
  }
  return false;
}

// Detaches the pages of one chunk (at most DetachScratch::kPages); returns how many stay because
// they are pinned.
std::uint64_t AddressSpace::detach_chunk(RegionRecord& region, std::uint64_t first,
                                         std::uint32_t pages, Gone what,
                                         DetachScratch& scratch) noexcept {
  HF_DCHECK(pages <= DetachScratch::kPages);
  do {
    sharing_.make_ready(region, first);
    lock_chunk(region, first, pages, what, scratch);
    if (scratch.skipped_count == pages || sharing_.is_ready(region, first)) break;
    for (std::uint32_t i = 0; i < pages; ++i) {
      if (!scratch.skipped[i]) region.entry(first + i).unlock();
    }
  } while (true);
  region.leaf_of(first).expect_change();
  // Where the region itself goes, what cannot be dropped now goes with its address space.
  scratch.error = drop_unpinned(region, first, pages, scratch);
  const bool refused = scratch.error != 0 && what != Gone::region;
  for (std::uint32_t i = 0; i < pages; ++i) {
    if (scratch.skipped[i]) continue;
    if (refused) {
      region.entry(first + i).unlock();
    } else {
      detach_entry(region, first + i, scratch, i, what);
    }
  }
  orphan_chunk(scratch);
  return scratch.skipped_count;
}

// Locks the entries of the chunk but for those that have to stay: pages that are pinned, or mapped
// and shared, or, where they go for good, to be kept for a copy first.
void AddressSpace::lock_chunk(RegionRecord& region, std::uint64_t first, std::uint32_t pages,
                              Gone what, DetachScratch& scratch) noexcept {
  scratch.orphan_count = scratch.skipped_count = 0;
  for (std::uint32_t i = 0; i < pages; ++i) {
    // Waiting with entries held, in ascending order: those who hold several only try for the rest,
    // and those who wait hold none below.
    Entry& entry = region.entry(first + i);
    (void)entry.lock();
    scratch.values[i] = entry.peek();
    scratch.skipped[i] = false;
    if (scratch.values[i].kind() == EntryKind::resident) {
      const Page& page = parts_.pool.page(scratch.values[i].frame());
      scratch.skipped[i] = page.pins() != 0 || sharing_.is_linked(page);
    }
    if (what == Gone::pages && Sharing::is_wanted(region, first + i)) scratch.skipped[i] = true;
    if (!scratch.skipped[i]) continue;
    ++scratch.skipped_count;
    entry.unlock();
  }
}

// Unmaps the windows with pages that others share, so that they stand in the swap cache. False: one
// could not be unmapped now.
bool AddressSpace::keep_for_others(RegionRecord& region, std::uint64_t first,
                                   std::uint32_t pages) noexcept {
  sharing_.make_ready(region, first);
  bool all = true;
  for (std::uint64_t at = first; at < first + pages; ++at) {
    const EntryValue value = region.entry(at).peek();
    if (value.kind() != EntryKind::resident) continue;
    const Page& page = parts_.pool.page(value.frame());
    if (!sharing_.is_linked(page) || page.pins() != 0) continue;
    UnmapResult result = evictor_.unmap_window_of(region, at);
    // Pool windows come free when what stands in them leaves.
    for (int tries = 0; result.what == Unmapped::no_window && tries < kWindowTries; ++tries) {
      const std::uint64_t more = parts_.pool.free_count() + parts_.window_pages;
      if (!parts_.relief->relieve(static_cast<std::uint32_t>(more), page::Priority::normal)) break;
      result = evictor_.unmap_window_of(region, at);
    }
    all = all && result.what == Unmapped::pages;
    at = at / parts_.window_pages * parts_.window_pages + parts_.window_pages - 1;
  }
  return all;
}

// [first, first + pages), of one leaf, is to read as zeros, whatever its base says. False: no frame
// for the leaf's table.
bool AddressSpace::give_up_base(RegionRecord& region, std::uint64_t first,
                                std::uint32_t pages) noexcept {
  (void)pages;
  if (region.base_of(first) == 0) return true;
  sharing_.make_ready(region, first);
  while (!faults_.pay_for_leaf(region, first)) {
    if (!parts_.relief->relieve(1, page::Priority::normal)) return false;
  }
  return true;
}

void AddressSpace::release_bases(RegionRecord& region) noexcept {
  for (std::uint64_t leaf = 0; leaf < region.leaf_count(); ++leaf) {
    const TableId base = region.bases[leaf].load(std::memory_order_acquire);
    if (base == 0) continue;
    region.bases[leaf].store(0, std::memory_order_release);
    sharing_.put_table(base);
  }
}

// Drops the memory of the chunk's pages, in the runs between those that are pinned. errno.
int AddressSpace::drop_unpinned(RegionRecord& region, std::uint64_t first, std::uint32_t pages,
                                const DetachScratch& scratch) noexcept {
  for (std::uint32_t from = 0; from < pages;) {
    std::uint32_t to = from;
    bool any = false;
    for (; to < pages && !scratch.skipped[to]; ++to) {
      any = any || scratch.values[to].kind() == EntryKind::resident;
    }
    if (any) {
      const int error =
          parts_.pmap->drop(region.address_of(first + from), std::uint64_t{to - from} * kPageSize);
      if (error != 0) return error;
    }
    from = to + 1;
  }
  return 0;
}

// The entry refers to nothing any more; what it referred to is put.
void AddressSpace::detach_entry(RegionRecord& region, std::uint64_t index, DetachScratch& scratch,
                                std::uint32_t i, Gone what) noexcept {
  const EntryValue value = scratch.values[i];
  if (value.kind() == EntryKind::swapped) sharing_.put_slot(value.slot());
  if (value.kind() == EntryKind::cached) {
    Page& page = parts_.pool.page(value.frame());
    drop_kept_slot(parts_, page);
    // Once it is handed over others may free it: it stays until we have looked.
    parts_.pool.get(page, Holder::caller);
    if (!sharing_.hand_over(page, index) &&
        (page.try_to(PageState::cached, PageState::orphan) ||
         page.try_to(PageState::writeback, PageState::orphan))) {
      scratch.orphans[scratch.orphan_count++] = value.frame();
    }
    parts_.pool.put(page, Holder::caller);
  } else if (value.kind() == EntryKind::resident) {
    Page& page = parts_.pool.page(value.frame());
    drop_kept_slot(parts_, page);
    page.to(PageState::orphan);
    parts_.pool.put(page, Holder::entry);
    scratch.orphans[scratch.orphan_count++] = value.frame();
  }
  region.entry(index).unlock(what == Gone::changes ? EntryValue() : Sharing::zeros(region, index));
}

void AddressSpace::orphan_chunk(DetachScratch& scratch) noexcept {
  if (scratch.orphan_count == 0) return;
  parts_.lru.deactivate_first(std::span(scratch.orphans, scratch.orphan_count));
  evictor_.note_orphans();
}

std::uint64_t AddressSpace::sweep_zombies() noexcept {
  std::uint64_t freed = 0;
  for (std::uint32_t id = 0; id < parts_.regions.used(); ++id) {
    RegionRecord& region = parts_.regions.record(RegionId(static_cast<std::uint16_t>(id)));
    if (region.state() == RegionRecord::State::zombie) freed += sweep(region);
  }
  return freed;
}

// One thread at a time: whoever turns the zombie back into a dying region.
std::uint64_t AddressSpace::sweep(RegionRecord& region) noexcept {
  if (!region.revive_zombie()) return 0;
  wait_for_users(region);  // who reads what others share with it
  finish_unmap(region);
  return region.state() == RegionRecord::State::empty ? 1 : 0;
}

}  // namespace holdfast::space
