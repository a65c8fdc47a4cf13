// Detaching pages from their entries: unmap, shrink, Advice::free.
//
// The owner never waits for the VM: an entry drops its reference and that is that. The page, if the
// VM knows it, becomes an orphan (count 1) that the VM frees later; a page that somebody still pins
// keeps its entry, its memory and its address until the last pin goes (the region is a zombie
// then).
//
// A chunk at a time: its entries are locked, its memory is dropped, then the entries are published.
#include <algorithm>
#include <cerrno>

#include "space/address_space.h"
#include "space/page_entry.h"

namespace holdfast::space {

using page::Holder;
using page::Page;
using page::PageState;

struct AddressSpace::DetachScratch {
  static constexpr std::uint32_t kPages = 512;
  bool skipped[kPages];       // pinned: stays as it is
  EntryValue values[kPages];  // what the entry was
  FrameIndex orphans[kPages];
  std::uint32_t orphan_count;
  std::uint32_t skipped_count;
  int error;  // the kernel would not drop the memory (it is mlocked)
};

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
    StagingBuffer scratch(parts_.staging);
    pinned += detach_chunk(region, first, pages, Gone::region, scratch.as<DetachScratch>());
  }
  if (pinned > 0) {
    region.set_state(RegionRecord::State::zombie);
  } else {
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
  for (std::uint64_t at = first; at < end && !pinned && error == 0;) {
    const std::uint64_t leaf_end = (at / kLeafEntries + 1) * kLeafEntries;
    const std::uint64_t stop = std::min(end, leaf_end);
    if (region.leaves[at / kLeafEntries].load(std::memory_order_acquire) != 0) {
      StagingBuffer buffer(parts_.staging);
      auto& scratch = buffer.as<DetachScratch>();
      pinned =
          detach_chunk(region, at, static_cast<std::uint32_t>(stop - at), Gone::pages, scratch) > 0;
      error = scratch.error;
      where = at;
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
  if (!pinned) return {};
  return fail({.code = Errc::busy,
               .doing = "free memory of a region",
               .what = "range with a pinned page, at address",
               .value = region.address_of(where),
               .remedy = "unpin it first"});
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
  scratch.orphan_count = scratch.skipped_count = 0;
  for (std::uint32_t i = 0; i < pages; ++i) {
    // Waiting with entries held, in ascending order: those who hold several only try for the rest,
    // and those who wait hold none below.
    Entry& entry = region.entry(first + i);
    (void)entry.lock();
    scratch.values[i] = entry.peek();
    scratch.skipped[i] = scratch.values[i].kind() == EntryKind::resident &&
                         parts_.pool.page(scratch.values[i].frame()).pins() != 0;
    if (!scratch.skipped[i]) continue;
    ++scratch.skipped_count;
    entry.unlock();
  }
  // Where the region itself goes, what cannot be dropped now goes with its address space.
  scratch.error = drop_unpinned(region, first, pages, scratch);
  const bool refused = scratch.error != 0 && what == Gone::pages;
  for (std::uint32_t i = 0; i < pages; ++i) {
    if (scratch.skipped[i]) continue;
    if (refused) {
      region.entry(first + i).unlock();
    } else {
      detach_entry(region.entry(first + i), scratch, i);
    }
  }
  orphan_chunk(scratch);
  return scratch.skipped_count;
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
void AddressSpace::detach_entry(Entry& entry, DetachScratch& scratch, std::uint32_t i) noexcept {
  const EntryValue value = scratch.values[i];
  if (value.kind() == EntryKind::swapped) parts_.swap.put(value.slot());
  if (value.kind() == EntryKind::resident || value.kind() == EntryKind::cached) {
    Page& page = parts_.pool.page(value.frame());
    drop_kept_slot(parts_, page);
    page.to(PageState::orphan);
    if (value.kind() == EntryKind::resident) parts_.pool.put(page, Holder::entry);
    scratch.orphans[scratch.orphan_count++] = value.frame();
  }
  entry.unlock(EntryValue());
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
  finish_unmap(region);
  return region.state() == RegionRecord::State::empty ? 1 : 0;
}

}  // namespace holdfast::space
