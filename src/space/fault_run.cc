// Bringing in what stands nowhere in memory: never-touched pages, same-filled ones, swapped ones,
// in runs along a stream.
//
// The entries of the run stay locked from the load to the publication: a page on its way is busy,
// and whoever else wants it waits on its entry. Nobody below waits: swap.load() and the copy run
// with no ranked lock held but these entries, which belong to the top (space/).
#include <algorithm>
#include <cerrno>

#include "space/fault.h"
#include "space/page_entry.h"

namespace holdfast::space {

using page::Holder;
using page::Page;

FaultServer::Outcome FaultServer::run(RegionRecord& region, std::uint64_t index, RunPlan plan,
                                      page::Reservation& frames, StagingBuffer& staging) noexcept {
  LockedRun locked = lock_run(region, index, plan, std::min(frames.size(), kRunMax));
  Outcome outcome;
  if (locked.step == 1 && enter_carried(locked, outcome)) return outcome;
  return enter_copied(locked, frames, staging);
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
  std::uint64_t at = index;
  while (run.pages < wanted) {
    at += static_cast<std::uint64_t>(plan.stride);  // a backward step below 0 wraps beyond the end
    if (at >= end || !pay_for_leaf(region, at)) break;
    Entry& entry = region.entry(at);
    if (!entry.try_lock()) break;
    if (!entry.peek().is_absent()) {
      entry.unlock();
      break;
    }
    ++run.pages;
  }
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

// Puts the content of each page of the run at pages[i]. False: one could not be read; `error` is
// that of the primary if it was among them (its code is then meaningful).
bool FaultServer::fill(const LockedRun& run, std::byte* const* pages, Error& error) noexcept {
  swap::LoadItem items[kRunMax];
  std::uint32_t owners[kRunMax];
  std::uint32_t loads = 0;
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    const EntryValue value = run.entry(i).peek();
    switch (value.kind()) {
      case EntryKind::filled:
        base::fill_page(pages[i], base::unpack_word(value.packed_word()));
        break;
      case EntryKind::swapped:
        owners[loads] = i;
        items[loads++] = {.slot = value.slot(), .page = pages[i], .error = {}};
        break;
      default:
        HF_DCHECK(value.kind() == EntryKind::none);
        base::fill_page(pages[i], 0);
        break;
    }
  }
  if (loads == 0) return true;
  parts_.swap.load(std::span(items, loads));
  bool good = true;
  for (std::uint32_t i = 0; i < loads; ++i) {
    if (items[i].ok) continue;
    good = false;
    if (owners[i] == run.primary) error = items[i].error;
  }
  return good;
}

FaultServer::Outcome FaultServer::enter_copied(LockedRun& run, page::Reservation& frames,
                                               StagingBuffer& staging) noexcept {
  std::byte* pages[kRunMax];
  for (std::uint32_t i = 0; i < run.pages; ++i) pages[i] = staging.page(i);
  Error error{.doing = nullptr};
  if (!fill(run, pages, error)) {
    if (run.pages > 1) {  // a neighbour must not spoil it: the page alone
      shrink_to_primary(run);
      error.doing = nullptr;
      if (fill(run, pages, error)) error.doing = nullptr;
    }
    if (error.doing != nullptr) {
      run.entry(0).unlock();
      return Outcome::refused(error);
    }
  }
  pmap::Entered entered;
  if (run.step == 1) {
    entered = parts_.pmap->enter_copy(run.address(0), pages[0], run.pages);
  } else {
    while (entered.pages < run.pages && entered.error == 0) {
      const pmap::Entered one =
          parts_.pmap->enter_copy(run.address(entered.pages), pages[entered.pages], 1);
      entered.pages += one.pages;
      entered.error = one.error;
    }
  }
  for (std::uint32_t i = 0; i < entered.pages; ++i) {
    publish(run, i, frames.take(Holder::entry));
  }
  return finish(run, entered.pages, entered.error);
}

// Tries to bring the run in without copying: its content is put into warm frames of a recycled pool
// window, which are then carried to the region. False: nothing was done, copy instead.
bool FaultServer::enter_carried(LockedRun& run, Outcome& outcome) noexcept {
  cache::WarmRun warm;
  if (run.primary != 0 || !parts_.cache->take_run(run.pages, warm)) return false;
  while (run.pages > warm.pages) run.entry(--run.pages).unlock();
  std::byte* pages[kRunMax];
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    pages[i] = parts_.machine.view(warm.address + i * kPageSize);
  }
  Error error;
  if (!fill(run, pages, error)) {
    parts_.cache->end_run(warm, 0);
    return false;
  }
  const pmap::Entered entered = parts_.pmap->enter_move(run.address(0), warm.address, run.pages);
  for (std::uint32_t i = 0; i < entered.pages; ++i) {
    publish(run, i, parts_.pool.take_warm(parts_.cache->frame_at(warm, i), Holder::entry));
  }
  parts_.cache->end_run(warm, entered.pages);
  if (parts_.cache->wants_window() && parts_.reclaimer != nullptr) parts_.reclaimer->wake();
  if (entered.pages == 0) return false;
  parts_.counters.add(Count::runs_moved);
  outcome = finish(run, entered.pages, 0);
  return true;
}

// The page is visible: binds it, and lets go of its entry.
void FaultServer::publish(const LockedRun& run, std::uint32_t i, Page& page) noexcept {
  const EntryValue value = run.entry(i).peek();
  SlotIndex slot;
  switch (value.kind()) {
    case EntryKind::swapped:
      slot = value.slot();  // kept as long as the page does not change
      parts_.counters.add(Count::faults_swap);
      break;
    case EntryKind::filled:
      parts_.counters.add(Count::faults_same_filled);
      break;
    default:
      parts_.counters.add(Count::faults_zero);
      break;
  }
  bind_resident(parts_, *run.region, run.index(i), page, slot);
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
