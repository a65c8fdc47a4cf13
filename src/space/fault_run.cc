// Bringing in what stands nowhere in memory: never-touched pages, same-filled ones, swapped ones,
// in runs along a stream.
//
// The entries of the run stay locked from the load to the publication: a page on its way is busy,
// and whoever else wants it waits on its entry. Nobody below waits: swap.load() and the copy run
// with no ranked lock held but these entries, which belong to the top (space/). What is beyond this
// machine has been fetched before (fault_far.cc).
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "space/fault.h"
#include "space/page_entry.h"

namespace holdfast::space {

using page::Holder;
using page::Page;

FaultServer::Outcome FaultServer::run(RegionRecord& region, std::uint64_t index, RunPlan plan,
                                      page::Reservation& frames, StagingBuffer& staging,
                                      const Fetched& fetched) noexcept {
  LockedRun locked = lock_run(region, index, plan, std::min(frames.size(), kRunMax));
  Outcome outcome;
  if (locked.step == 1 && enter_carried(locked, fetched, outcome)) return outcome;
  return enter_copied(locked, frames, staging, fetched);
}

// The entry at `index` is locked and absent. Locks what the plan names beyond it, as long as each
// is absent, free, inside the region and paid for.
LockedRun FaultServer::lock_run(RegionRecord& region, std::uint64_t index, RunPlan plan,
                                std::uint32_t most) noexcept {
  LockedRun run{.region = &region, .first = index, .step = 1, .pages = 1, .primary = 0};
  const std::uint32_t wanted = std::min(plan.pages, most);
  if (wanted <= 1 || plan.stride == 0) return run;
  run.step = static_cast<std::uint32_t>(std::abs(plan.stride));
  const std::uint64_t end = region.page_count();
  const std::uint32_t before = std::min(plan.before, wanted - 1);
  std::uint64_t at = index;
  while (run.pages < wanted - before) {
    at += static_cast<std::uint64_t>(plan.stride);  // a backward step below 0 wraps beyond the end
    if (at >= end || region.leaves[at / kLeafEntries].load(std::memory_order_acquire) == 0) break;
    Entry& entry = region.entry(at);
    if (!entry.try_lock()) break;
    if (!entry.peek().is_absent() || !sharing_.is_ready(region, at)) {
      entry.unlock();
      break;
    }
    ++run.pages;
  }
  if (before > 0) lock_before(run, before);
  if (plan.stride < 0) {
    run.first = index - std::uint64_t{run.pages - 1} * run.step;
    run.primary = run.pages - 1;
  }
  return run;
}

// Gives up all entries but the one that faulted.
void FaultServer::shrink_to_primary(LockedRun& run) noexcept {
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    if (i != run.primary) run.entry(i).unlock();
  }
  run.first = run.index(run.primary);
  run.pages = 1;
  run.primary = 0;
}

// Gives up all entries but those from `first` to `end`, the one that faulted among them.
void FaultServer::cut(LockedRun& run, std::byte** pages, std::uint32_t first,
                      std::uint32_t end) noexcept {
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    if (i < first || i >= end) run.entry(i).unlock();
  }
  if (first > 0) std::copy(pages + first, pages + end, pages);
  run.first = run.index(first);
  run.pages = end - first;
  run.primary -= first;
}

// Puts the content of each page of the run at pages[i]. Failed: one could not be read; `error` is
// that of the primary if it was among them (its code is then meaningful). Busy: one is shared, and
// who has it is at work on it. Far: the primary is, and has not been fetched; others that are, and
// what lies behind them, are left out of the run.
FaultServer::Filled FaultServer::fill(LockedRun& run, std::byte** pages, const Fetched& fetched,
                                      Error& error) noexcept {
  if (!fill_from_source(run, pages, error)) return Filled::failed;
  swap::LoadItem items[kRunMax];
  std::uint32_t owners[kRunMax];
  std::uint32_t loads = 0;
  bool good = true;
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    const EntryValue value = content(run, i);
    switch (value.kind()) {
      case EntryKind::filled:
        base::fill_page(pages[i], base::unpack_word(value.packed_word()));
        break;
      case EntryKind::swapped:
        if (const auto read = sharing_.read_version(value.slot(), pages[i]);
            read != Sharing::Read::image) {
          if (read == Sharing::Read::busy) return Filled::busy;
          break;
        }
        if (const swap::LoadItem* const item = fetched.find(value.slot()); item != nullptr) {
          if (item->ok) std::memcpy(pages[i], item->page, kPageSize);
          if (!item->ok && i == run.primary) error = item->error;
          good = good && item->ok;
          break;
        }
        owners[loads] = i;
        items[loads++] = {.slot = value.slot(), .page = pages[i], .error = {}};
        break;
      default:
        HF_DCHECK(value.kind() == EntryKind::none);
        // The source's has been read above, and was none then, too.
        if (!run.region->has_source(run.index(i))) base::fill_page(pages[i], 0);
        break;
    }
  }
  if (loads == 0) return good ? Filled::all : Filled::failed;
  parts_.swap.load(std::span(items, loads),
                   parts_.far_rooms != nullptr ? swap::Reach::here : swap::Reach::anywhere);
  std::uint32_t first = 0;
  std::uint32_t end = run.pages;
  for (std::uint32_t i = 0; i < loads; ++i) {
    if (items[i].ok) continue;
    if (items[i].is_beyond && owners[i] == run.primary) return Filled::far;
    if (items[i].is_beyond && owners[i] < run.primary) first = std::max(first, owners[i] + 1);
    if (items[i].is_beyond && owners[i] > run.primary) end = std::min(end, owners[i]);
    if (items[i].is_beyond) continue;
    good = false;
    if (owners[i] == run.primary) error = items[i].error;
  }
  if (!good) return Filled::failed;
  if (first > 0 || end < run.pages) cut(run, pages, first, end);
  return Filled::all;
}

// Lets go of all of the run; the fault is to be served anew.
FaultServer::Outcome FaultServer::give_up(const LockedRun& run, Step why) noexcept {
  for (std::uint32_t i = 0; i < run.pages; ++i) run.entry(i).unlock();
  return Outcome::retry(why);
}

// One call enters them all: where a copy needs one of them as it is, all are protected.
sys::Protection FaultServer::protection_of(const LockedRun& run) noexcept {
  bool closed = run.region->read_only;
  for (std::uint32_t i = 0; i < run.pages && !closed && run.region->before != nullptr; ++i) {
    closed = Sharing::is_wanted(*run.region, run.index(i));
  }
  return closed ? sys::Protection::read_only : sys::Protection::writable;
}

FaultServer::Outcome FaultServer::enter_copied(LockedRun& run, page::Reservation& frames,
                                               StagingBuffer& staging,
                                               const Fetched& fetched) noexcept {
  std::byte* pages[kRunMax];
  for (std::uint32_t i = 0; i < run.pages; ++i) pages[i] = staging.page(i);
  Error error{.doing = nullptr};
  Filled filled = fill(run, pages, fetched, error);
  if (filled == Filled::far) return give_up(run, Step::far);
  if (filled != Filled::all) {
    if (run.pages > 1) {  // a neighbour must not spoil it: the page alone
      shrink_to_primary(run);
      error.doing = nullptr;
      filled = fill(run, pages, fetched, error);
      if (filled != Filled::failed) error.doing = nullptr;
    }
    if (filled == Filled::far) return give_up(run, Step::far);
    if (filled == Filled::busy) return give_up(run, Step::again);
    if (error.doing != nullptr) {
      run.entry(0).unlock();
      return Outcome::refused(error);
    }
  }
  run.protection = protection_of(run);
  for (std::uint32_t i = 0; i < run.pages; ++i) run.region->leaf_of(run.index(i)).expect_change();
  pmap::Entered entered;
  if (run.step == 1) {
    entered = parts_.pmap->enter_copy(run.address(0), pages[0], run.pages, run.protection);
  } else {
    while (entered.pages < run.pages && entered.error == 0) {
      const pmap::Entered one = parts_.pmap->enter_copy(run.address(entered.pages),
                                                        pages[entered.pages], 1, run.protection);
      entered.pages += one.pages;
      entered.error = one.error;
    }
  }
  for (std::uint32_t i = 0; i < entered.pages; ++i) {
    publish(run, i, frames.take(Holder::entry), pages[i]);
  }
  return finish(run, entered.pages, entered.error);
}

// Tries to bring the run in without copying: its content is put into warm frames of a recycled pool
// window, which are then carried to the region. False: nothing was done, copy instead.
bool FaultServer::enter_carried(LockedRun& run, const Fetched& fetched, Outcome& outcome) noexcept {
  cache::WarmRun warm;
  // A file's pages are copied in: what was read is hashed, and nobody can have written to it yet.
  if (run.primary != 0 || run.region->read_only || run.region->from_file) return false;
  if (!parts_.cache->take_run(run.pages, warm)) return false;
  while (run.pages > warm.pages) run.entry(--run.pages).unlock();
  std::byte* pages[kRunMax];
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    pages[i] = parts_.machine.view(warm.address + i * kPageSize);
  }
  Error error;
  if (const Filled filled = fill(run, pages, fetched, error); filled != Filled::all) {
    parts_.cache->end_run(warm, 0);
    if (filled == Filled::far) outcome = give_up(run, Step::far);
    return filled == Filled::far;
  }
  const pmap::Entered entered = parts_.pmap->enter_move(run.address(0), warm.address, run.pages);
  for (std::uint32_t i = 0; i < entered.pages; ++i) {
    publish(run, i, parts_.pool.take_warm(parts_.cache->frame_at(warm, i), Holder::entry), nullptr);
  }
  parts_.cache->end_run(warm, entered.pages);
  if (parts_.cache->wants_window() && parts_.reclaimer != nullptr) parts_.reclaimer->wake();
  if (entered.pages == 0) return false;
  parts_.counters.add(Count::runs_moved);
  outcome = finish(run, entered.pages, 0);
  return true;
}

// The page is visible: binds it, and lets go of its entry. bytes: what was copied in.
void FaultServer::publish(const LockedRun& run, std::uint32_t i, Page& page,
                          const std::byte* bytes) noexcept {
  const EntryValue value = content(run, i);
  SlotIndex slot;
  switch (value.kind()) {
    case EntryKind::swapped:
      // Kept as long as the page does not change. What comes from a base is that table's; a page of
      // a snapshot, which cannot change, will find it there.
      if (run.entry(i).peek().kind() == EntryKind::swapped) {
        slot = value.slot();
      } else if (!run.region->read_only) {
        slot = value.slot();
        parts_.swap.get(slot);
      }
      parts_.counters.add(Count::faults_swap);
      break;
    case EntryKind::filled:
      parts_.counters.add(Count::faults_same_filled);
      break;
    default:
      parts_.counters.add(run.region->has_source(run.index(i)) ? Count::faults_source
                                                               : Count::faults_zero);
      break;
  }
  const bool clean = run.region->from_file && is_from_source(run, i);
  if (run.region->from_file) {
    const FrameIndex frame = parts_.pool.index_of(page);
    parts_.clean.set(frame, clean ? base::hash_page(bytes) : base::Hash128{});
  }
  bind_resident(parts_, *run.region, run.index(i), page, slot);
  note_writable(*run.region, run.index(i), run.protection == sys::Protection::writable, !clean);
  run.entry(i).unlock(EntryValue::resident(parts_.pool.index_of(page)));
}

// Lets go of what did not come in, and tells what became of the page that faulted.
FaultServer::Outcome FaultServer::finish(const LockedRun& run, std::uint32_t entered,
                                         int error) noexcept {
  for (std::uint32_t i = entered; i < run.pages; ++i) run.entry(i).unlock();
  if (entered > 1) {
    parts_.counters.add(Count::runs);
    parts_.counters.add(Count::run_pages, entered - 1);
  }
  if (run.primary < entered) return Outcome::came_in(entered);
  return stopped(error, "enter a page", run.address(run.primary));
}

}  // namespace holdfast::space
