// Serving faults: bringing a page, or a run of pages, to its address.
//
//                      the entry is
//   resident   a load: somebody was faster, run the instruction again
//              a store: fault_write.cc: the page is made writable, and copied first for those who
//              share it
//   cached     fault_rescue.cc: back from the swap cache, for the price of a copy or a remap; a
//              store to one that is shared leaves it to the others, and comes in as if swapped
//   none, filled, swapped; none with a base (shared_tables.h)
//              fault_run.cc: put together in a staging buffer (or in warm frames), entered in one
//              call; swapped ones by one batched load, those that the region's source has by
//              fault_source.cc, with their neighbours; fault_scattered.cc: pages that are asked
//              for at once, not by a fault
//   swapped, and beyond this machine
//              fault_far.cc: fetched to a room with nothing held, and entered from there
//
// Rules that make it safe in a signal handler and free of deadlock:
//   1. What it needs (staging buffer, frames, tables) is taken before an entry is locked.
//   2. The first entry is waited for with nothing locked; further ones of a run are only tried.
//   3. What the leaf owes to clones and snapshots is settled before (Sharing::make_ready), and
//      looked at again with the entry locked.
//   4. Frames that cannot be had: everything is let go, MemoryRelief runs, and it starts anew.
//   5. So it is where a page is far: who waits for that holds up nobody. Neighbours that are far
//      are left out.
//
// Context: task (a fault is taken synchronously). No malloc, no stdio. Thread-safe.
#pragma once

#include <cstdint>
#include <span>

#include "base/base.h"
#include "page/page.h"
#include "space/parts.h"
#include "space/region_record.h"
#include "space/sharing.h"
#include "space/stream_detector.h"

namespace holdfast::space {

// Entries of one fault that are locked, lowest index first, in equal steps; or of what was asked
// for at once, wherever it lies.
struct LockedRun {
  RegionRecord* region = nullptr;
  std::uint64_t first = 0;  // index of the lowest
  std::uint32_t step = 1;   // distance between neighbours, pages; 0: `scattered` says where
  std::uint32_t pages = 0;
  std::uint32_t primary = 0;                               // which of them faulted
  const std::uint64_t* scattered = nullptr;                // `pages` indices, ascending
  sys::Protection protection = sys::Protection::writable;  // with which they enter

  [[nodiscard]] std::uint64_t index(std::uint32_t i) const noexcept {
    return step == 0 ? scattered[i] : first + std::uint64_t{i} * step;
  }
  [[nodiscard]] Entry& entry(std::uint32_t i) const noexcept { return region->entry(index(i)); }
  [[nodiscard]] Address address(std::uint32_t i) const noexcept {
    return region->address_of(index(i));
  }
};

class FaultServer {
 public:
  explicit FaultServer(Parts& parts) noexcept : parts_(parts), sharing_(parts) {}

  // Brings page `index` in, and what the plan names beyond it as far as it is cheap. The region is
  // entered. Access::write: until it is there and may be stored to. Returns how many pages came in
  // or became writable (0: it was there already). Errors: out_of_memory, io_error, corrupted,
  // system; would_block: out of reach. Then the page is as it was.
  [[nodiscard]] Expected<std::uint32_t> bring_in(
      RegionRecord& region, std::uint64_t index, RunPlan plan,
      sys::Access access = sys::Access::read, swap::Reach reach = swap::Reach::anywhere) noexcept;

  // Brings in those of the pages (of ascending index, at most kRunMax) that are absent and that
  // nobody else is at work on, with all reads in flight at once. The region is entered. Returns how
  // many came in: bring_in() brings the others, and finds out what could not be read.
  std::uint32_t bring_in_scattered(RegionRecord& region,
                                   std::span<const std::uint64_t> indices) noexcept;

  // Pays for the leaf's page of the table, once. False: no frame now. Nothing is locked.
  [[nodiscard]] bool pay_for_leaf(RegionRecord& region, std::uint64_t index) noexcept;

  // The plan for a fault at the page: the region's advice, or what its streams say.
  [[nodiscard]] static RunPlan plan_for(RegionRecord& region, std::uint64_t index) noexcept;

 private:
  enum class Step : std::uint8_t { done, again, far, no_frames, no_places, no_memory };
  struct Outcome {
    Step step = Step::done;
    std::uint32_t pages = 0;
    bool failed = false;  // then `error` says why
    Error error = {};

    static Outcome came_in(std::uint32_t n) noexcept { return {.pages = n, .error = {}}; }
    static Outcome retry(Step why) noexcept { return {.step = why, .error = {}}; }
    static Outcome refused(const Error& why) noexcept { return {.failed = true, .error = why}; }
  };

  // What one fault has fetched from beyond this machine, if it had to; given back with it.
  class Fetched {
   public:
    explicit Fetched(FaultServer& server) noexcept : server_(server) {}
    ~Fetched() { drop(); }
    Fetched(const Fetched&) = delete;
    Fetched& operator=(const Fetched&) = delete;

    [[nodiscard]] const swap::LoadItem* find(SlotIndex slot) const noexcept {
      return room_ == nullptr ? nullptr : room_->find(slot);
    }
    // A room for the slot. False: none; see FarRooms::take().
    [[nodiscard]] bool begin(SlotIndex slot) noexcept;
    void add(SlotIndex slot) noexcept;
    void load() noexcept;
    void drop() noexcept;

   private:
    FaultServer& server_;
    FarRoom* room_ = nullptr;
  };

  Outcome attempt(RegionRecord& region, std::uint64_t index, RunPlan plan, sys::Access access,
                  page::Priority priority, const Fetched& fetched) noexcept;
  [[nodiscard]] bool settle_for_less(RunPlan& plan, Step why, page::Priority priority) noexcept;
  static Error out_of_frames(const RegionRecord& region, std::uint64_t index) noexcept;
  static Outcome stopped(int error, const char* doing, Address address) noexcept;

  // fault_rescue.cc
  bool leave_to_others(RegionRecord& region, std::uint64_t index) noexcept;
  Outcome rescue(RegionRecord& region, std::uint64_t index, RunPlan plan,
                 page::Reservation& frames) noexcept;
  bool rescue_by_copy(RegionRecord& region, std::uint64_t index, page::Page& page,
                      page::Reservation& frames, int& error) noexcept;
  std::uint32_t rescue_by_move(RegionRecord& region, std::uint64_t index, page::Page& page,
                               std::uint32_t most, int& error) noexcept;
  void publish_rescued(RegionRecord& region, std::uint64_t index, page::Page& page, FrameIndex left,
                       bool writable) noexcept;

  // fault_far.cc
  void fetch(RegionRecord& region, std::uint64_t index, RunPlan plan, Fetched& fetched) noexcept;
  [[nodiscard]] bool lock_absent(RegionRecord& region, std::uint64_t index) noexcept;
  [[nodiscard]] bool is_far(EntryValue value) const noexcept;

  // fault_run.cc
  static sys::Protection protection_of(const LockedRun& run) noexcept;
  Outcome run(RegionRecord& region, std::uint64_t index, RunPlan plan, page::Reservation& frames,
              StagingBuffer& staging, const Fetched& fetched) noexcept;
  LockedRun lock_run(RegionRecord& region, std::uint64_t index, RunPlan plan,
                     std::uint32_t most) noexcept;
  void shrink_to_primary(LockedRun& run) noexcept;
  static void cut(LockedRun& run, std::byte** pages, std::uint32_t first,
                  std::uint32_t end) noexcept;
  enum class Filled : std::uint8_t { all, failed, busy, far };
  Filled fill(LockedRun& run, std::byte** pages, const Fetched& fetched, Error& error) noexcept;
  [[nodiscard]] EntryValue content(const LockedRun& run, std::uint32_t i) noexcept {
    return sharing_.content_of(*run.region, run.index(i), run.entry(i).peek());
  }
  Outcome enter_copied(LockedRun& run, page::Reservation& frames, StagingBuffer& staging,
                       const Fetched& fetched) noexcept;
  bool enter_carried(LockedRun& run, const Fetched& fetched, Outcome& outcome) noexcept;
  static Outcome give_up(const LockedRun& run, Step why) noexcept;
  Outcome finish(const LockedRun& run, std::uint32_t entered, int error) noexcept;
  void publish(const LockedRun& run, std::uint32_t i, page::Page& page,
               const std::byte* bytes) noexcept;

  // fault_scattered.cc
  std::uint32_t lock_scattered(RegionRecord& region, std::span<const std::uint64_t> indices,
                               std::uint32_t most, std::uint64_t* locked) noexcept;
  std::uint32_t enter_scattered(const LockedRun& run, page::Reservation& frames,
                                std::byte* const* pages) noexcept;

  // fault_write.cc
  struct WriteRun;
  Outcome write(RegionRecord& region, std::uint64_t index) noexcept;
  void lock_write_run(WriteRun& run, std::uint64_t from, std::uint64_t to) noexcept;
  int lift(const WriteRun& run) noexcept;
  bool copy_shared(WriteRun& run, page::Reservation& frames) noexcept;
  void hand_copy(const WriteRun& run, std::uint64_t index, const cache::CopyPlaces& places,
                 std::uint32_t at, page::Reservation& frames) noexcept;
  bool keep_before(RegionRecord& region, std::uint64_t index, Outcome& outcome) noexcept;
  void note_writable(RegionRecord& region, std::uint64_t index, bool writable,
                     bool may_differ = true) noexcept;

  // fault_source.cc
  static RunPlan with_neighbours(RegionRecord& region, std::uint64_t index, RunPlan plan) noexcept;
  static void expect_beyond(RegionRecord& region, std::uint64_t index,
                            const RunPlan& plan) noexcept;
  void lock_before(LockedRun& run, std::uint32_t pages) noexcept;
  std::uint64_t fill_unchanged(const LockedRun& run, std::byte* const* pages) noexcept;
  bool fill_from_source(const LockedRun& run, std::byte* const* pages, Error& error) noexcept;
  [[nodiscard]] bool is_from_source(const LockedRun& run, std::uint32_t i) noexcept {
    return run.region->has_source(run.index(i)) && content(run, i).kind() == EntryKind::none;
  }

  Parts& parts_;
  Sharing sharing_;
};

}  // namespace holdfast::space
