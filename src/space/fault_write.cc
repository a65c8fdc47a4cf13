// Write faults at pages that are there but write-protected: the copy-on-write of a page that is
// shared, or no more than lifting the protection of one that is not.
//
// The count decides: 2 (the VM and the page's entry) is exclusive, and the page becomes writable.
// More: its version goes on with a copy, and the writer keeps its frame at its address. A copy is
// never mapped; it stands in a pool window, is inactive from the start, and is written out like any
// cached page.
//
// Where write faults follow one another the run is widened to 64 KiB, and where a leaf has had many
// of them to 256 KiB: taking a translation away or changing one costs a call, and an interrupt of
// the other CPUs, however many pages it is for.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "space/fault.h"
#include "space/page_entry.h"

namespace holdfast::space {

using page::Holder;
using page::Page;

namespace {
constexpr std::uint64_t kRowPages = 16;    // 64 KiB
constexpr std::uint64_t kBlockPages = 64;  // 256 KiB
// A fault of its own costs about what copying eight pages does. So when an eighth of a leaf has
// been written to page by page, that has cost what all of it would have: from there on faults take
// blocks. Whatever is written next, twice the least possible is never exceeded by much.
constexpr std::uint32_t kManyWritten = kLeafEntries / 8;

struct Span {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

Span block_of(std::uint64_t index, std::uint64_t pages) noexcept {
  const std::uint64_t begin = index / pages * pages;
  return {begin, begin + pages};
}
}  // namespace

// Pages in a row, their entries locked, all of them resident and protected.
struct FaultServer::WriteRun {
  RegionRecord* region = nullptr;
  std::uint64_t faulted = 0;
  std::uint64_t begin = 0;  // [begin, end), with the one that faulted
  std::uint64_t end = 0;
  // Which of them have to be copied: from the one that faulted on, then those before it, backwards.
  std::uint64_t shared[kBlockPages];
  std::uint32_t shared_count = 0;

  [[nodiscard]] Entry& entry(std::uint64_t index) const noexcept { return region->entry(index); }
  [[nodiscard]] std::uint32_t pages() const noexcept {
    return static_cast<std::uint32_t>(end - begin);
  }
  void unlock(std::uint64_t from, std::uint64_t to) const noexcept {
    for (std::uint64_t index = from; index < to; ++index) entry(index).unlock();
  }
};

// The page, whose entry is locked, is at its address now. may_differ: from what the source has.
void FaultServer::note_writable(RegionRecord& region, std::uint64_t index, bool writable,
                                bool may_differ) noexcept {
  LeafRecord& leaf = region.leaf_of(index);
  if (!leaf.is_guarded()) return;
  if (region.from_file && !writable) leaf.set_unsaved(index % kLeafEntries, may_differ);
  leaf.set_open(index % kLeafEntries, writable);
}

// What a copy of the region needs of the page, which is about to be stored to. False: it could not
// be kept; `outcome` says what becomes of the fault.
bool FaultServer::keep_before(RegionRecord& region, std::uint64_t index,
                              Outcome& outcome) noexcept {
  if (region.before == nullptr) return true;
  Page& page = parts_.pool.page(region.entry(index).peek().frame());
  switch (region.before->keep(page, index)) {
    case BeforeImages::Kept::done:
      return true;
    case BeforeImages::Kept::no_frame:
      outcome = Outcome::retry(Step::no_frames);
      return false;
    case BeforeImages::Kept::no_slot:
      break;
  }
  outcome = Outcome::refused({.code = Errc::swap_full,
                              .doing = "store to a page that a snapshot has",
                              .what = "no slot for what it held before; address",
                              .value = region.address_of(index),
                              .remedy = "drop snapshots or clones, or unmap regions"});
  return false;
}

FaultServer::Outcome FaultServer::write(RegionRecord& region, std::uint64_t index) noexcept {
  if (!sharing_.is_ready(region, index)) sharing_.make_ready(region, index);
  const bool alone = region.advice.load(std::memory_order_relaxed) == Advice::random;
  const RunPlan plan = alone ? RunPlan{} : region.write_streams.plan(index);
  // The second fault in a row takes all that is left of its 64 KiB.
  Span span{index, index + 1};
  if (!alone && region.leaf_of(index).open_count() >= kManyWritten) {
    span = block_of(index, kBlockPages);
  } else if (plan.stride == 1 && plan.pages > 1) {
    span.end = block_of(index, kRowPages).end;
  }
  span.end = std::min(span.end, region.page_count());
  page::Reservation frames = parts_.pool.reserve(static_cast<std::uint32_t>(span.end - span.begin),
                                                 page::Priority::normal);
  Entry& entry = region.entry(index);
  if (entry.lock()) parts_.counters.add(Count::faults_waited);
  if (entry.peek().kind() != EntryKind::resident || !sharing_.is_ready(region, index)) {
    entry.unlock();
    return Outcome::retry(Step::again);
  }
  WriteRun run;
  run.region = &region;
  run.begin = run.faulted = index;
  run.end = index + 1;
  if (Outcome refused; !keep_before(region, index, refused)) {
    entry.unlock();
    return refused;
  }
  lock_write_run(run, span.begin, span.end);
  if (!copy_shared(run, frames)) {
    entry.unlock();
    return Outcome::retry(frames.size() == 0 ? Step::no_frames : Step::no_places);
  }
  const std::uint32_t pages = run.pages();
  if (const int error = lift(run); error != 0) {
    return stopped(error, "make a page writable", region.address_of(index));
  }
  if (pages > 1)
    region.write_streams.brought(index, plan, static_cast<std::uint32_t>(run.end - index));
  return Outcome::came_in(pages);
}

// Makes the run's pages writable, of which none is shared any more, and unlocks them.
int FaultServer::lift(const WriteRun& run) noexcept {
  // Counted before anybody who waits for the page can go on.
  parts_.counters.add(Count::cow_faults);
  parts_.counters.add(Count::cow_copied, run.shared_count);
  parts_.counters.add(Count::cow_lifted, run.pages() - run.shared_count);
  run.region->leaf_of(run.begin).expect_change();
  const int error =
      parts_.pmap->protect(run.region->address_of(run.begin),
                           std::uint64_t{run.pages()} * kPageSize, sys::Protection::writable);
  HF_INTERLEAVE();  // a store may have gone on
  for (std::uint64_t index = run.begin; index < run.end; ++index) {
    if (error == 0) note_writable(*run.region, index, true);
    run.entry(index).unlock();
  }
  return error;
}

// The entry of the page that faulted is locked. Others of [from, to), which is of one leaf, are
// tried, on both sides of it as far as they are protected; a pinned page is writable already.
void FaultServer::lock_write_run(WriteRun& run, std::uint64_t from, std::uint64_t to) noexcept {
  const LeafRecord& leaf = run.region->leaf_of(run.faulted);
  const auto note_shared = [&](std::uint64_t index) {
    const Page& page = parts_.pool.page(run.entry(index).peek().frame());
    if (sharing_.is_shared(page)) run.shared[run.shared_count++] = index;
  };
  const auto try_lock = [&](std::uint64_t index) {
    if (leaf.is_writable(index % kLeafEntries) || !run.entry(index).try_lock()) return false;
    Outcome refused;
    const bool resident = run.entry(index).peek().kind() == EntryKind::resident;
    if (resident && keep_before(*run.region, index, refused)) return true;
    run.entry(index).unlock();
    return false;
  };
  note_shared(run.faulted);
  for (; run.end < to && try_lock(run.end); ++run.end) note_shared(run.end);
  for (; run.begin > from && try_lock(run.begin - 1); --run.begin) note_shared(run.begin - 1);
}

// Makes the copies for those who share pages of the run. Where frames or places do not suffice the
// run is cut short, down to no page at all: then false, and what faulted is still locked.
bool FaultServer::copy_shared(WriteRun& run, page::Reservation& frames) noexcept {
  std::uint32_t done = 0;
  while (done < run.shared_count && frames.size() > 0) {
    const cache::CopyPlaces places =
        parts_.cache->take_places(std::min(run.shared_count - done, frames.size()));
    if (places.pages == 0) break;
    if (places.pages > 1) {
      parts_.machine.populate(places.address, std::uint64_t{places.pages} * kPageSize);
    }
    for (std::uint32_t at = 0; at < places.pages; ++at, ++done) {
      hand_copy(run, run.shared[done], places, at, frames);
    }
    parts_.cache->release(places.window);
  }
  if (done == run.shared_count) return true;
  const std::uint64_t missing = run.shared[done];
  run.shared_count = done;
  if (missing < run.faulted) {  // what comes before stays as it is
    run.unlock(run.begin, missing + 1);
    run.begin = missing + 1;
  } else {  // and what comes after
    run.unlock(run.begin, run.faulted);
    run.unlock(std::max(missing, run.faulted + 1), run.end);
    run.begin = run.faulted;
    run.end = missing;
  }
  return run.end > run.begin;
}

// The copy takes the page's place in its version, if there still is one: its last holder may drop
// it at any moment.
void FaultServer::hand_copy(const WriteRun& run, std::uint64_t index,
                            const cache::CopyPlaces& places, std::uint32_t at,
                            page::Reservation& frames) noexcept {
  const FrameIndex frame = run.entry(index).peek().frame();
  Page& page = parts_.pool.page(frame);
  const SlotIndex version = page.version();
  if (version.is_none()) return;
  const std::uint32_t place = places.place + at;
  // It is there, and nobody writes to it: it is protected, and its entry is locked.
  std::memcpy(parts_.machine.view(places.address + std::uint64_t{at} * kPageSize),
              parts_.machine.view(run.region->address_of(index)), kPageSize);
  Page& copy = frames.take(Holder::entry);
  const FrameIndex copy_frame = parts_.pool.index_of(copy);
  sharing_.add_copy(copy, version, places.window, place);
  if (parts_.swap.relocate(version, frame, copy_frame)) {
    page.clear_version(version);
    parts_.pool.put(page, Holder::entry);
  } else {
    sharing_.release_frame(copy_frame);  // its last holder has just gone: nobody needs the copy
  }
}

}  // namespace holdfast::space
