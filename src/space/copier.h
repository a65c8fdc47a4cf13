// Making copies of regions, all as they are at one moment: clones and snapshots.
//
// Nothing is copied. For each leaf of a source that holds something the copy refers to a table
// (shared_tables.h): the one that is pending there, if nobody has changed the leaf since the last
// copy; the source's own base, if nobody has touched the leaf; else a new one. The leaf is
// write-protected, as far as it is not yet, in as few calls as it takes.
//
// The moment. Leaf after leaf is *frozen*: whoever takes a write fault there, or brings a page in,
// waits until all is done; then all are thawed at once. So a store that lands after its page was
// protected lands after the whole copy, and so does all that is done because of it. Stores to pages
// that are not protected yet are in the copy: before the moment.
//
//   1. claim regions, charge frames for tables, promise slots: what can fail for want of memory
//   2. wait for first touches of leaves that are under way; later ones wait for the end
//   3. for each leaf: freeze, wait for entries that are locked, table, copy what is pinned, protect
//   4. of files: begin the moment from which on stores keep what they overwrite (before_images.h)
//   5. publish the copies, thaw
// Whatever fails is undone: thaw, and the tables that nobody got are cancelled.
//
// Context: task, nothing held. One at a time in an engine (AddressSpace::copying_).
#pragma once

#include <cstdint>
#include <span>

#include "space/address_space.h"

namespace holdfast::space {

class Copier {
 public:
  Copier(AddressSpace& space, Parts& parts) noexcept
      : space_(space), parts_(parts), sharing_(parts) {}
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  // See AddressSpace::copy.
  Expected<void> copy(std::span<RegionRecord* const> sources, AddressSpace::CopyKind kind,
                      std::span<RegionRecord*> made);
  Expected<void> arm(RegionRecord& region);

 private:
  Expected<void> claim(RegionRecord& source, AddressSpace::CopyKind kind, RegionRecord*& made);
  void give_back(RegionRecord* made) noexcept;
  Expected<void> provide(std::span<RegionRecord* const> sources);
  Expected<void> attempt(std::span<RegionRecord* const> sources, std::span<RegionRecord*> made);
  static void make_moments(std::span<RegionRecord* const> sources, std::span<RegionRecord*> made);
  static void begin_moments(std::span<RegionRecord* const> sources,
                            std::span<RegionRecord*> made) noexcept;
  Expected<void> copy_region(RegionRecord& source, RegionRecord& made);
  Expected<TableId> new_table(RegionRecord& source, std::uint64_t leaf);

  void settle_if_pinned(RegionRecord& source, std::uint64_t leaf) noexcept;
  static void wait_for_marks(const RegionRecord& source) noexcept;
  bool freeze(RegionRecord& source, std::uint64_t leaf) noexcept;
  static void thaw(RegionRecord& source) noexcept;
  static void thaw_leaf(LeafRecord& leaf) noexcept;
  void cancel_unwanted(RegionRecord& source) noexcept;
  Expected<void> copy_pinned(RegionRecord& source, std::uint64_t leaf, TableId table);
  [[nodiscard]] bool is_pinned(const RegionRecord& source, std::uint64_t index) const noexcept;
  Expected<void> keep_pinned(RegionRecord& source, std::uint64_t index, TableId table);
  Expected<void> copy_page(RegionRecord& source, std::uint64_t index, TableId table,
                           page::Reservation& frames);
  static std::unexpected<Error> short_of_frames(std::uint64_t wanted, std::uint64_t free) noexcept;
  static void close_untouched(LeafRecord& leaf) noexcept;
  Expected<void> protect_leaf(RegionRecord& source, std::uint64_t leaf);
  Expected<void> protect_pages(RegionRecord& source, std::uint64_t first, std::uint64_t end);
  Expected<void> flush() noexcept;

  AddressSpace& space_;
  Parts& parts_;
  Sharing sharing_;

  Moment* moment_ = nullptr;    // of the copy that is being made, of a file's region; null: no such
  std::uint32_t charged_ = 0;   // frames, for tables to come
  std::uint64_t promised_ = 0;  // slots, for them
  std::array<std::uint64_t, kLeafEntries / 64> pinned_{};  // of the leaf: stays writable
  // What is to be protected in one call.
  RegionRecord* range_region_ = nullptr;
  std::uint64_t range_first_ = 0, range_end_ = 0;  // pages
};

}  // namespace holdfast::space
