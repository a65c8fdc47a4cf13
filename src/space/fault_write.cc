// Write faults at pages that are there but write-protected: the copy-on-write of a page that is
// shared, or no more than lifting the protection of one that is not.
//
// The count decides: 2 (the VM and the page's entry) is exclusive, and the page becomes writable.
// More: its version goes on with a copy, and the writer keeps its frame at its address. A copy is
// never mapped; it stands in a pool window, is inactive from the start, and is written out like any
// cached page.
//
// Where write faults follow one another the run is widened, up to 64 KiB: taking a translation away
// or changing one costs a call, and an interrupt of the other CPUs, however many pages it is for.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "space/fault.h"
#include "space/page_entry.h"

namespace holdfast::space {

using page::Holder;
using page::Page;
using page::PageState;

namespace {
constexpr std::uint32_t kWriteRunMax = 16;  // 64 KiB
}  // namespace

// Pages in a row, their entries locked, all of them resident and protected.
struct FaultServer::WriteRun {
  RegionRecord* region = nullptr;
  std::uint64_t first = 0;  // that faulted
  std::uint32_t wanted = 1;
  std::uint32_t pages = 0;
  std::uint32_t shared[kWriteRunMax];  // which of them have to be copied
  std::uint32_t shared_count = 0;

  [[nodiscard]] Entry& entry(std::uint32_t i) const noexcept { return region->entry(first + i); }
};

void FaultServer::note_writable(RegionRecord& region, std::uint64_t index, bool writable) noexcept {
  LeafRecord& leaf = region.leaf_of(index);
  if (leaf.guarded.load(std::memory_order_seq_cst) == 0) return;
  leaf.set_open(index % kLeafEntries, writable);
}

FaultServer::Outcome FaultServer::write(RegionRecord& region, std::uint64_t index) noexcept {
  if (!sharing_.is_ready(region, index)) sharing_.make_ready(region, index);
  const bool alone = region.advice.load(std::memory_order_relaxed) == Advice::random;
  const RunPlan plan = alone ? RunPlan{} : region.write_streams.plan(index);
  WriteRun run;
  run.region = &region;
  run.first = index;
  // The second fault in a row takes all that is left of its 64 KiB.
  const bool in_a_row = plan.stride == 1 && plan.pages > 1;
  run.wanted = in_a_row ? kWriteRunMax - static_cast<std::uint32_t>(index % kWriteRunMax) : 1;
  page::Reservation frames = parts_.pool.reserve(run.wanted, page::Priority::normal);
  Entry& entry = region.entry(index);
  if (entry.lock()) parts_.counters.add(Count::faults_waited);
  if (entry.peek().kind() != EntryKind::resident || !sharing_.is_ready(region, index)) {
    entry.unlock();
    return Outcome::retry(Step::again);
  }
  lock_write_run(run);
  const bool copied = copy_shared(run, frames);
  int error = 0;
  if (run.pages > 0) {
    // Counted before anybody who waits for the page can go on.
    parts_.counters.add(Count::cow_faults);
    parts_.counters.add(Count::cow_copied, run.shared_count);
    parts_.counters.add(Count::cow_lifted, run.pages - run.shared_count);
    error = parts_.pmap->protect(region.address_of(index), std::uint64_t{run.pages} * kPageSize,
                                 sys::Protection::writable);
    for (std::uint32_t i = 0; i < run.pages; ++i) {
      if (error == 0) note_writable(region, index + i, true);
      run.entry(i).unlock();
    }
  }
  if (!copied && run.pages == 0) {
    entry.unlock();
    return Outcome::retry(frames.size() == 0 ? Step::no_frames : Step::no_places);
  }
  if (error != 0) return stopped(error, "make a page writable", region.address_of(index));
  if (run.pages > 1) region.write_streams.brought(index, plan, run.pages);
  return Outcome::came_in(run.pages);
}

// The first entry is locked. Further ones are tried, as far as they are protected and of the same
// leaf; a pinned page is writable already.
void FaultServer::lock_write_run(WriteRun& run) noexcept {
  const LeafRecord& leaf = run.region->leaf_of(run.first);
  const std::uint64_t end =
      std::min((run.first / kLeafEntries + 1) * kLeafEntries, run.region->page_count());
  for (run.pages = 0; run.pages < run.wanted; ++run.pages) {
    const std::uint64_t index = run.first + run.pages;
    if (run.pages > 0) {
      if (index >= end || leaf.is_writable(index % kLeafEntries)) return;
      if (!run.entry(run.pages).try_lock()) return;
      if (run.entry(run.pages).peek().kind() != EntryKind::resident) {
        run.entry(run.pages).unlock();
        return;
      }
    }
    const Page& page = parts_.pool.page(run.entry(run.pages).peek().frame());
    if (sharing_.is_shared(page)) run.shared[run.shared_count++] = run.pages;
  }
}

// Makes the copies for those who share pages of the run. Where frames or places do not suffice the
// run is cut short, down to no page at all: then false.
bool FaultServer::copy_shared(WriteRun& run, page::Reservation& frames) noexcept {
  std::uint32_t done = 0;
  while (done < run.shared_count && frames.size() > 0) {
    const cache::CopyPlaces places =
        parts_.cache->take_places(std::min(run.shared_count - done, frames.size()));
    if (places.pages == 0) break;
    for (std::uint32_t at = 0; at < places.pages; ++at, ++done) {
      hand_copy(run, run.shared[done], places, at, frames);
    }
    parts_.cache->release(places.window);
  }
  if (done < run.shared_count) {  // what comes after stays as it is
    const std::uint32_t kept = run.shared[done];
    for (std::uint32_t i = std::max(kept, 1U); i < run.pages; ++i) run.entry(i).unlock();
    run.pages = kept;
    run.shared_count = done;
  }
  return run.pages > 0;
}

// The copy takes the page's place in its version, if there still is one: its last holder may drop
// it at any moment.
void FaultServer::hand_copy(const WriteRun& run, std::uint32_t i, const cache::CopyPlaces& places,
                            std::uint32_t at, page::Reservation& frames) noexcept {
  const FrameIndex frame = run.entry(i).peek().frame();
  Page& page = parts_.pool.page(frame);
  const SlotIndex version = page.version();
  if (version.is_none()) return;
  const std::uint32_t place = places.place + at;
  // It is there, and nobody writes to it: it is protected, and its entry is locked.
  std::memcpy(parts_.machine.view(places.address + std::uint64_t{at} * kPageSize),
              parts_.machine.view(run.region->address_of(run.first + i)), kPageSize);
  Page& copy = frames.take(Holder::entry);
  const FrameIndex copy_frame = parts_.pool.index_of(copy);
  copy.set_owner({kVersionOwner, version_index(version, place)});
  copy.set_pool_window(places.window.value);
  copy.to(PageState::cached);
  parts_.pool.get(copy, Holder::vm);
  parts_.cache->place_page(places.window, place, copy_frame);
  parts_.lru.add_inactive(std::span(&copy_frame, 1));
  if (parts_.swap.relocate(version, frame, copy_frame)) {
    page.clear_version(version);
    parts_.pool.put(page, Holder::entry);
  } else {
    sharing_.release_frame(copy_frame);  // its last holder has just gone: nobody needs the copy
  }
}

}  // namespace holdfast::space
