// Sharing copy-on-write: who has which content in common, and how it is kept when one of them
// changes it.
//
// Three things, from the page up:
//   page     is shared as long as its count, pins left out, is more than 2 (the VM's and its
//            entry's): the third is its version's
//   version  a slot whose page stands in a frame (swap.h). All who share the page but its owner
//            hold the slot. It goes on with a copy when the owner writes, and gets an image when
//            the page is evicted; those who hold it do not notice
//   table    512 slots, fillings and nones: the content of a leaf at a moment (shared_tables.h).
//            Snapshots, and what clones have not touched, refer to tables
//
// So a write fault makes one copy and changes one slot, however many share the page; a snapshot of
// a region of which there are a thousand adds one reference to each table that has not changed; and
// a clone of a clone refers to the same table as its parent, not to its parent.
//
// Context: task, async-signal-safe. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/base.h"
#include "cache/cache.h"
#include "page/page.h"
#include "space/before_images.h"
#include "space/parts.h"
#include "space/region_record.h"

namespace holdfast::space {

// Owner::region of a page that only a version refers to; Owner::index is then version_index().
inline constexpr RegionId kVersionOwner{0xfffe};

// The version, and the page's place in its pool window.
[[nodiscard]] constexpr PageIndex version_index(SlotIndex version, std::uint32_t place) noexcept {
  return PageIndex(std::uint64_t{place} << 32 | version.value);
}
[[nodiscard]] constexpr SlotIndex version_of(page::Owner owner) noexcept {
  return SlotIndex(static_cast<std::uint32_t>(owner.index.value));
}
// The place of a cached or orphaned page in its pool window.
[[nodiscard]] constexpr std::uint32_t place_of(page::Owner owner,
                                               std::uint32_t window_pages) noexcept {
  return static_cast<std::uint32_t>(
      owner.region == kVersionOwner ? owner.index.value >> 32 : owner.index.value % window_pages);
}

class Sharing {
 public:
  explicit Sharing(Parts& parts) noexcept : parts_(parts) {}

  // --- pages ---
  // True if others than its owner's entry have the page: a write has to copy it. Its entry is
  // locked.
  [[nodiscard]] bool is_shared(const page::Page& page) const noexcept {
    return page.count() - page.pins() > 2 && is_linked(page);
  }
  // True if a version stands in the page. Its entry is locked.
  [[nodiscard]] bool is_linked(const page::Page& page) const noexcept {
    const SlotIndex version = page.version();
    return !version.is_none() && parts_.swap.frame_of(version) == parts_.pool.index_of(page);
  }
  // True if the page was only its version's, and that stands in it no more: nobody needs the page.
  [[nodiscard]] bool is_left(const page::Page& page) const noexcept {
    const page::Owner owner = page.owner();
    return owner.region == kVersionOwner &&
           parts_.swap.frame_of(version_of(owner)) != parts_.pool.index_of(page);
  }
  // A holder's count of the page's content, as a slot: its version, made now if it has none. The
  // page's entry is locked; a slot was promised. `made`: one of those was used.
  [[nodiscard]] SlotIndex share(page::Page& page, bool& made) noexcept;
  // The protection with which the page, which is not mapped now, may enter its region.
  [[nodiscard]] sys::Protection protection_of(const RegionRecord& region, std::uint64_t index,
                                              const page::Page& page) const noexcept {
    const bool read_only = region.read_only || is_linked(page) || is_wanted(region, index);
    return read_only ? sys::Protection::read_only : sys::Protection::writable;
  }
  // True if a copy of the region needs the page as it is: it has to be kept before a store.
  [[nodiscard]] static bool is_wanted(const RegionRecord& region, std::uint64_t index) noexcept {
    return region.before != nullptr && region.before->wants(index);
  }
  // Where the content of a page that stands in a frame can be read; null: it stands in none. The
  // entry is locked.
  [[nodiscard]] const std::byte* content_in_memory(const RegionRecord& region, std::uint64_t index,
                                                   EntryValue value) const noexcept;

  // --- versions ---
  enum class Read : std::uint8_t {
    done,
    image,  // it has an image, which has to be loaded
    busy,   // its owner is at work on it: let go of everything, and try again
  };
  // Copies the version's page to `to`. The caller holds a count, and may have entries locked: it
  // never waits for others for long.
  [[nodiscard]] Read read_version(SlotIndex version, std::byte* to) noexcept;
  // Copies to `to` a page of which the moment has no before-image, if it stands in the memory of
  // the file's own region and nobody is at work on it: what is there has not changed since, and
  // need not be read from the file. The caller may have entries of other regions locked.
  [[nodiscard]] bool read_unchanged(const Moment& moment, std::uint64_t index,
                                    std::byte* to) noexcept;
  // One holder of a slot less; the last frees what it had.
  void put_slot(SlotIndex slot) noexcept;
  // A copy that has been written to its place becomes a cached page that only its version refers
  // to: never mapped, and inactive from the start. The caller has the version's reference of it.
  void add_copy(page::Page& copy, SlotIndex version, cache::WindowIndex window,
                std::uint32_t place) noexcept;
  // A version does not stand in the frame any more: puts its reference.
  void release_frame(FrameIndex frame) noexcept;
  // The page, which is cached for region page `index`, goes to its version, if one still stands in
  // it. Its entry is locked, and gets another value. False: nobody has the page any more; of this
  // and the version's last put, which may run now, one makes an orphan of it.
  [[nodiscard]] bool hand_over(page::Page& page, std::uint64_t index) noexcept;
  // Nobody needs the page, which stands in a pool window. Of those who come to that conclusion, one
  // makes it an orphan.
  void make_orphan(page::Page& page) noexcept;

  // --- tables and leaves ---
  // True if pages of the leaf may be changed. Tells the truth while an entry of it is locked.
  [[nodiscard]] bool is_ready(const RegionRecord& region, std::uint64_t index) noexcept {
    if (region.leaf_of(index).pending.load(std::memory_order_seq_cst) != 0) return false;
    const TableId base = region.base_of(index);
    return base == 0 || parts_.regions.tables().is_settled(base);
  }
  // Makes it so. Nothing is locked; waits for entries of the leaf, and while the region is being
  // cloned.
  void make_ready(RegionRecord& region, std::uint64_t index) noexcept;
  // Settles a table of which the caller has a reference. Nothing is locked.
  void settle(TableId table) noexcept;
  // Drops a reference, and with the last one all that the table refers to.
  void put_table(TableId table) noexcept;

  // What an entry's value stands for: none may mean "as in the base", or "as the source had it at
  // the moment". What is none then is the region's source's, or zeros; where the source changes,
  // this is asked again after it has been read. The entry is locked and the leaf is ready.
  [[nodiscard]] EntryValue content_of(const RegionRecord& region, std::uint64_t index,
                                      EntryValue value) noexcept {
    if (value.kind() != EntryKind::none) return value;
    const TableId base = region.base_of(index);
    if (base != 0) value = parts_.regions.tables().value(base, index % kLeafEntries);
    if (value.kind() == EntryKind::none && region.moment) return region.moment->find(index);
    return value;
  }
  // The value of an entry whose page reads as zeros.
  [[nodiscard]] static EntryValue zeros(const RegionRecord& region, std::uint64_t index) noexcept {
    const bool none_is_zeros = region.base_of(index) == 0 && !region.source;
    return none_is_zeros ? EntryValue() : EntryValue::filled(*base::pack_word(0));
  }

 private:
  bool read_from_owner(SlotIndex version, FrameIndex frame, page::Owner owner,
                       std::byte* to) noexcept;
  bool read_from_window(SlotIndex version, FrameIndex frame, std::byte* to) noexcept;
  void settle_pending(RegionRecord& region, LeafRecord& leaf, TableId table) noexcept;
  bool cancel(LeafRecord& leaf, TableId table) noexcept;
  void capture_all(TableId table) noexcept;
  EntryValue capture(RegionRecord& region, std::uint64_t index, EntryValue value,
                     std::uint32_t& promised) noexcept;
  void wait_until_thawed(RegionRecord& region, const LeafRecord& leaf) noexcept;
  void wait_for_source(const SharedTables::Header& header) noexcept;

  Parts& parts_;
};

}  // namespace holdfast::space
