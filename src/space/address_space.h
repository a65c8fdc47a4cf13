// The address space of one engine: its regions, their page tables, and everything that happens to
// them in task context. Implements what the layers below call back: faults (sys::FaultSink), and
// what pins call in any context (detail::PinOwner).
//
//   map        address space and tables are reserved and registered; nothing is resident
//   fault      fault.h
//   pin        pinning.cc: resident pages are pinned with a few atomics, others are brought in
//   first eviction   eviction.h, called by reclaim/ detach     detach.cc: unmap, shrink and
//   Advice::free: pages leave their entries and become
//              orphans, which the VM frees lazily; pinned ones stay until their last pin goes
//
// Context: task, unless a function says "any context". Thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/base.h"
#include "holdfast/pin.h"
#include "holdfast/region.h"
#include "holdfast/snapshot.h"
#include "space/eviction.h"
#include "space/fault.h"
#include "space/parts.h"
#include "space/pin_accounts.h"
#include "space/region_record.h"
#include "space/save.h"
#include "sys/sys.h"

namespace holdfast::space {

// Sums over all entries, for reports and for check().
struct SpaceCounts {
  std::uint64_t resident = 0, cached = 0, swapped = 0, filled = 0;
  std::uint64_t slots_held = 0;  // by entries and by pages
  std::uint64_t leaves_charged = 0;
  std::uint64_t mapped_bytes = 0;  // of live regions
  std::uint64_t regions = 0;       // live and zombie
};

// Pages that somebody waits for, without a thread: bring_in_together().
struct WantedPages {
  std::uint64_t first = 0;  // the first that has not had its turn
  std::uint64_t end = 0;
  std::uint64_t came = 0;  // so many were not in memory, and have come
  bool failed = false;     // the page `first` could not be had: `error` says why
  Error error = {};

  [[nodiscard]] bool is_over() const noexcept { return failed || first >= end; }
};

// How a range is to be pinned.
struct PinTerms {
  Access access = Access::write;
  PinAccountId account = PinAccountId::general;
  bool may_fault = true;  // false: only what is resident; would_block for the rest
};

class AddressSpace final : public sys::FaultSink, public detail::PinOwner {
 public:
  explicit AddressSpace(Parts& parts) noexcept
      : parts_(parts), sharing_(parts), faults_(parts), evictor_(parts) {}
  AddressSpace(const AddressSpace&) = delete;
  AddressSpace& operator=(const AddressSpace&) = delete;

  // --- regions ---
  // bytes, capacity: as Engine::map_anonymous, checked and rounded by the caller to pages.
  // source: where its pages come from until they are written to; null: they are zeros.
  [[nodiscard]] Expected<RegionRecord*> map(PageCount pages, PageCount capacity,
                                            object::SourceRef source = {});
  // A region of a file: all pages that it has, and will have, are the source's. read_only: stores
  // are refused.
  [[nodiscard]] Expected<RegionRecord*> map_file(PageCount pages, PageCount capacity,
                                                 object::SourceRef source, bool read_only);
  [[nodiscard]] Expected<void> unmap(RegionRecord& region);
  [[nodiscard]] Expected<void> resize(RegionRecord& region, PageCount pages);
  [[nodiscard]] Expected<void> advise(RegionRecord& region, std::uint64_t offset,
                                      std::uint64_t bytes, Advice advice);
  [[nodiscard]] Expected<std::uint64_t> prefetch(RegionRecord& region, std::uint64_t offset,
                                                 std::uint64_t bytes);
  // The most pages that one range is brought in for: the rest would push out what has just come.
  [[nodiscard]] std::uint64_t most_at_once() const noexcept {
    return parts_.pool.pages().size() / 2;
  }
  // Brings in the next pages of the ranges, up to kRunMax of all of them, with all reads in flight
  // at once. Each range goes on, or is over, by itself; the first one goes on in any case. Errors:
  // not_mapped.
  [[nodiscard]] Expected<void> bring_in_together(RegionRecord& region,
                                                 std::span<WantedPages> ranges);
  // True if no page of the range was absent when it was looked at.
  [[nodiscard]] bool is_resident(RegionRecord& region, std::uint64_t first,
                                 std::uint64_t end) const noexcept;
  // Pages that outlived their region under pins and are pinned no more are given back. Returns how
  // many. Called by the reclaimer's thread, and before the engine ends.
  std::uint64_t sweep_zombies() noexcept;

  // --- pages that go back to their source: save.cc ---
  // Hands every page of [first, end) that is not as the source has it to the sink, in ascending
  // order, and notes in `saved` what has been handed. The caller has the source's turn. `all`:
  // looks at pages, too, that nobody can have written to since the last time; after a failure.
  // Errors: the sink's; io_error, corrupted (a page that is in swap). What was handed until then
  // is in `saved`.
  [[nodiscard]] Expected<void> save(RegionRecord& region, std::uint64_t first, std::uint64_t end,
                                    bool all, SaveSink& sink, std::vector<SavedPage>& saved);
  // Looks for pages of [first, end) that save() would look at, until it has found `most`, or has
  // looked at some 65,536: no more than 0.3 ms. Takes no entry. `all`: as in save().
  [[nodiscard]] ChangedSpan look_for_changes(RegionRecord& region, std::uint64_t first,
                                             std::uint64_t end, std::uint64_t most,
                                             bool all) noexcept;
  // The source has those pages now. Pages that have changed meanwhile stay changed.
  void mark_saved(RegionRecord& region, std::span<const SavedPage> saved) noexcept;
  // Makes every page what the source has. The caller has its turn. Errors: busy (a changed page is
  // pinned; nothing was done), system. `all`: as in save().
  [[nodiscard]] Expected<void> roll_back(RegionRecord& region, bool all);

  // --- clones and snapshots: cloning.cc ---
  // New regions with the content that the sources have at one moment; `read_only`: snapshots. All
  // or none. Errors: out_of_memory, swap_full, not_mapped, unsupported.
  enum class CopyKind : std::uint8_t { clone, snapshot };
  [[nodiscard]] Expected<void> copy(std::span<RegionRecord* const> sources, CopyKind kind,
                                    std::span<RegionRecord*> made);
  // Write-protects a region, a leaf at a time, so that the next copy of it has less to do.
  [[nodiscard]] Expected<void> arm(RegionRecord& region);

  // --- snapshots as data: snapshot_read.cc ---
  // Pages [first, first + pages) of a snapshot, without mapping them. to: aligned to kPageSize.
  [[nodiscard]] Expected<void> read_pages(RegionRecord& snapshot, std::uint64_t first,
                                          std::uint32_t pages, std::byte* to);
  // The run of equal kind that begins at page `first`. since: null, or a snapshot; compare: pages
  // that may differ are read and compared. buffer: two pages, aligned to kPageSize.
  [[nodiscard]] Expected<Run> next_run(RegionRecord& snapshot, RegionRecord* since, bool compare,
                                       std::uint64_t first, std::byte* buffer);

  // --- pins ---
  // Pins every page of the range, or none. What it returns spares the unpin of a single page its
  // way through the tables: hand it to unpin() as `page` (0: more than one page). Without faults:
  // any context.
  [[nodiscard]] Expected<std::uintptr_t> pin(Address address, std::uint64_t length,
                                             const PinTerms& terms = {});
  // Any context, lock-free.
  void unpin(const detail::PinnedRange& range) noexcept override;
  void unpin(Address first_page, std::uint64_t pages, std::uintptr_t page = 0) noexcept;
  [[nodiscard]] PinAccounts& accounts() noexcept { return accounts_; }
  // Pages with pins now, each once: a scan of all frames.
  [[nodiscard]] std::uint64_t pinned_pages() noexcept;

  // --- faults ---
  [[nodiscard]] bool owns(Address address) const noexcept override;
  sys::FaultOutcome on_fault(Address address, sys::Access access) noexcept override;
  sys::FaultOutcome on_near_fault(Address address, sys::Access access) noexcept override;

  [[nodiscard]] Evictor& evictor() noexcept { return evictor_; }
  // Waits until nobody works on a live region: a handler thread lets go of the rest of a run only
  // after it has woken whoever took the fault.
  void come_to_rest() noexcept;
  [[nodiscard]] SpaceCounts counts() noexcept;
  // Proves every entry consistent with its page, its slot and the lists; nothing may be in flight.
  [[nodiscard]] bool check() noexcept;
  // The page at the address, if it is resident: for dump_holders.
  [[nodiscard]] page::Page* resident_page(Address address) noexcept;

  // The most pages that may be pinned at once, so that faults have room to work: the rest is kept.
  [[nodiscard]] std::uint64_t pins_limit() noexcept;

 private:
  // together.cc
  void bring_in_rest(RegionRecord& region, WantedPages& range, std::uint64_t end,
                     std::span<const std::uint64_t> pages, std::uint32_t width) noexcept;

  // detach.cc
  struct DetachScratch;
  Expected<void> detach(RegionRecord& region, std::uint64_t first, std::uint64_t end);
  Expected<void> keep_before(RegionRecord& region, std::uint64_t first, std::uint64_t end);
  Expected<void> keep_from_source(RegionRecord& region, std::uint64_t first, std::uint64_t end);
  bool any_pinned(RegionRecord& region, std::uint64_t first, std::uint64_t end,
                  std::uint64_t& where) noexcept;
  // What a detach takes away; changes: so that the pages are again as the source has them.
  enum class Gone : std::uint8_t { pages, changes, region };
  std::uint64_t detach_chunk(RegionRecord& region, std::uint64_t first, std::uint32_t pages,
                             Gone what, DetachScratch& scratch) noexcept;
  void lock_chunk(RegionRecord& region, std::uint64_t first, std::uint32_t pages, Gone what,
                  DetachScratch& scratch) noexcept;
  bool keep_for_others(RegionRecord& region, std::uint64_t first, std::uint32_t pages) noexcept;
  bool give_up_base(RegionRecord& region, std::uint64_t first, std::uint32_t pages) noexcept;
  void release_bases(RegionRecord& region) noexcept;
  int drop_unpinned(RegionRecord& region, std::uint64_t first, std::uint32_t pages,
                    const DetachScratch& scratch) noexcept;
  void detach_entry(RegionRecord& region, std::uint64_t index, DetachScratch& scratch,
                    std::uint32_t i, Gone what) noexcept;
  void orphan_chunk(DetachScratch& scratch) noexcept;
  void wait_for_users(RegionRecord& region) noexcept;
  void finish_unmap(RegionRecord& region) noexcept;
  std::uint64_t sweep(RegionRecord& region) noexcept;

  // save.cc
  Expected<std::vector<std::uint64_t>> find_changes(RegionRecord& region, bool all);
  static Error pinned_change(const RegionRecord& region, std::uint64_t index) noexcept;
  Expected<void> drop_changed_run(RegionRecord& region, std::uint64_t first, std::uint32_t pages);
  Expected<void> drop_changes(RegionRecord& region, const std::vector<std::uint64_t>& changes);

  // pinning.cc
  [[nodiscard]] page::Page* try_pin_page(RegionRecord& region, std::uint64_t index) noexcept;
  void unpin_page(page::Page& page) noexcept;
  Expected<page::Page*> pin_slowly(RegionRecord& region, std::uint64_t index, std::uint64_t left,
                                   const PinTerms& terms);
  [[nodiscard]] Expected<std::uintptr_t> pin_pages(RegionRecord& region, std::uint64_t first,
                                                   std::uint64_t end, const PinTerms& terms);
  [[nodiscard]] Expected<void> charge(std::uint64_t pages, const PinTerms& terms) noexcept;
  [[nodiscard]] Error too_many_pins(std::uint64_t wanted) noexcept;
  [[nodiscard]] std::uint64_t all_pins() noexcept;

  // faults
  sys::FaultOutcome serve_fault(Address address, sys::Access access, swap::Reach reach) noexcept;
  sys::FaultOutcome refuse(const Error& error, Address address) noexcept;
  bool is_stuck(RegionRecord& region, std::uint64_t index, std::uint32_t came_in) noexcept;

  // cloning.cc
  friend class Copier;

  // check.cc
  struct Census;
  bool check_slots(Census& census) noexcept;
  void count_tables(Census& census) noexcept;
  bool check_copies(Census& census) noexcept;

  // snapshot_read.cc
  struct SnapshotPage {
    EntryValue value = {};                 // none: zeros, or the source's
    object::PageSource* source = nullptr;  // whose page it is; null: nobody's
    std::uint64_t index = 0;               // and which
    const Moment* moment = nullptr;        // as it was then; null: it does not change

    [[nodiscard]] bool is_zero() const noexcept {
      return source == nullptr && value.kind() == EntryKind::none;
    }
    // Moments do not count: a page for which there is no before-image has not changed since.
    friend bool operator==(const SnapshotPage& a, const SnapshotPage& b) noexcept {
      return a.value == b.value && a.source == b.source && a.index == b.index;
    }
  };
  SnapshotPage snapshot_page(RegionRecord& snapshot, std::uint64_t index) noexcept;
  EntryValue table_value(RegionRecord& snapshot, std::uint64_t index) noexcept;
  Expected<std::uint32_t> read_from_source(SnapshotPage* pages, std::uint32_t most, std::byte* to);
  Expected<void> read_values(SnapshotPage* values, std::uint32_t pages, std::byte* to);
  Expected<RunKind> kind_of(RegionRecord& snapshot, RegionRecord* since, bool compare,
                            std::uint64_t index, std::byte* buffer);

  bool check_region(RegionRecord& region, Census& census) noexcept;
  bool check_entry(RegionRecord& region, std::uint64_t index, Census& census) noexcept;
  bool complain(const RegionRecord& region, std::uint64_t index, const char* what) noexcept;

  Parts& parts_;
  Sharing sharing_;
  FaultServer faults_;
  Evictor evictor_;
  PinAccounts accounts_;
  std::atomic<std::uint64_t> stuck_address_{0};  // the last fault that found its page resident ...
  std::atomic<std::uint32_t> stuck_count_{0};    // ... and how many such followed one another
  sync::Turn copying_;                           // of a copy or arming
};

}  // namespace holdfast::space
