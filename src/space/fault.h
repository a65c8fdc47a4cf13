// Serving faults: bringing a page, or a run of pages, to its address.
//
//                      the entry is
//   resident   somebody was faster: run the instruction again
//   cached     fault_rescue.cc: back from the swap cache, for the price of a copy or a remap
//   none, filled, swapped
//              fault_run.cc: put together in a staging buffer (or in warm frames), entered in one
//              call; zero pages by fault_zero, swapped ones by one batched load
//
// Rules that make it safe in a signal handler and free of deadlock:
//   1. What it needs (staging buffer, frames, tables) is taken before an entry is locked.
//   2. The first entry is waited for with nothing locked; further ones of a run are only tried.
//   3. Frames that cannot be had: everything is let go, MemoryRelief runs, and it starts anew.
//
// Context: task (a fault is taken synchronously). No malloc, no stdio. Thread-safe.
#pragma once

#include <cstdint>

#include "base/base.h"
#include "page/page.h"
#include "space/parts.h"
#include "space/region_record.h"
#include "space/stream_detector.h"

namespace holdfast::space {

// Entries of one fault that are locked, lowest index first, in equal steps.
struct LockedRun {
  RegionRecord* region = nullptr;
  std::uint64_t first = 0;  // index of the lowest
  std::uint32_t step = 1;   // distance between neighbours, pages
  std::uint32_t pages = 0;
  std::uint32_t primary = 0;  // which of them faulted

  [[nodiscard]] std::uint64_t index(std::uint32_t i) const noexcept {
    return first + std::uint64_t{i} * step;
  }
  [[nodiscard]] Entry& entry(std::uint32_t i) const noexcept { return region->entry(index(i)); }
  [[nodiscard]] Address address(std::uint32_t i) const noexcept {
    return region->address_of(index(i));
  }
};

class FaultServer {
 public:
  explicit FaultServer(Parts& parts) noexcept : parts_(parts) {}

  // Brings page `index` in, and what the plan names beyond it as far as it is cheap. The region is
  // entered. Returns how many pages came in (0: it was there already). Errors: out_of_memory,
  // io_error, corrupted, system; then the page is as it was.
  [[nodiscard]] Expected<std::uint32_t> bring_in(RegionRecord& region, std::uint64_t index,
                                                 RunPlan plan) noexcept;

  // The plan for a fault at the page: the region's advice, or what its streams say.
  [[nodiscard]] static RunPlan plan_for(RegionRecord& region, std::uint64_t index) noexcept;

 private:
  enum class Step : std::uint8_t { done, again, no_frames, no_memory };
  struct Outcome {
    Step step = Step::done;
    std::uint32_t pages = 0;
    bool failed = false;  // then `error` says why
    Error error = {};

    static Outcome came_in(std::uint32_t n) noexcept { return {.pages = n, .error = {}}; }
    static Outcome retry(Step why) noexcept { return {.step = why, .error = {}}; }
    static Outcome refused(const Error& why) noexcept { return {.failed = true, .error = why}; }
  };

  Outcome attempt(RegionRecord& region, std::uint64_t index, RunPlan plan,
                  page::Priority priority) noexcept;
  static Error out_of_frames(const RegionRecord& region, std::uint64_t index) noexcept;
  static Outcome stopped(int error, const char* doing, Address address) noexcept;

  // fault_rescue.cc
  Outcome rescue(RegionRecord& region, std::uint64_t index, RunPlan plan,
                 page::Reservation& frames) noexcept;
  bool rescue_by_copy(RegionRecord& region, std::uint64_t index, page::Page& page,
                      page::Reservation& frames, int& error) noexcept;
  std::uint32_t rescue_by_move(RegionRecord& region, std::uint64_t index, page::Page& page,
                               std::uint32_t most, int& error) noexcept;
  void publish_rescued(RegionRecord& region, std::uint64_t index, page::Page& page,
                       FrameIndex left) noexcept;

  // fault_run.cc
  Outcome run(RegionRecord& region, std::uint64_t index, RunPlan plan, page::Reservation& frames,
              StagingBuffer& staging) noexcept;
  LockedRun lock_run(RegionRecord& region, std::uint64_t index, RunPlan plan,
                     std::uint32_t most) noexcept;
  void shrink_to_primary(LockedRun& run) noexcept;
  bool fill(const LockedRun& run, std::byte* const* pages, Error& error) noexcept;
  Outcome enter_copied(LockedRun& run, page::Reservation& frames, StagingBuffer& staging) noexcept;
  bool enter_carried(LockedRun& run, Outcome& outcome) noexcept;
  Outcome finish(const LockedRun& run, std::uint32_t entered, int error) noexcept;
  void publish(const LockedRun& run, std::uint32_t i, page::Page& page) noexcept;

  bool pay_for_leaf(RegionRecord& region, std::uint64_t index) noexcept;

  Parts& parts_;
};

}  // namespace holdfast::space
