// What the children of a fork get, and when they get it.
//
// A fork's event comes in any order with those of other threads. What they had moved or unmapped
// before the fork may be told after it, and the other way round. So what has left its place is
// remembered while events may still be to come, and given back to a child that shows that it was
// forked before; and a child that shows that it was forked after is told of it as well. Nothing
// enters or leaves the parent's memory in that time, and none is served to the child.
#include <algorithm>
#include <map>

#include "run/client.h"
#include "run/process_files.h"
#include "run/registry.h"

namespace holdfast::run {
namespace {

Range common(Range a, Range b) noexcept {
  const Range both{std::max(a.start, b.start), std::min(a.end, b.end)};
  return both.start < both.end ? both : Range{};
}

}  // namespace

// Content that stands in a buffer cannot be shared, nor kept apart; a slot can. False: swap is
// full, and some of it is still there.
bool Client::store_buffered(Range range) {
  std::vector<Known> buffered;
  table_.for_each(range.start >> kPageShift, range.end >> kPageShift,
                  [&](std::uint64_t page, Entry& entry) {
                    if (entry.state() == EntryState::buffered) buffered.emplace_back(page, entry);
                  });
  for (const auto& [page, entry] : buffered) {
    EvictionBuffer& buffer = parts_.buffers[entry.buffer()];
    const std::byte* const content = buffer.content(entry.place());
    swap::StoreItem item{.page = content, .hash = base::hash_page(content)};
    parts_.swap.store(std::span(&item, 1), page::Priority::reclaim);
    if (item.slot.is_none()) return false;
    drop_slot(buffer.slots[entry.place()]);
    buffer.slots[entry.place()] = SlotIndex();
    buffer.pages[entry.place()] = EvictionBuffer::kNoPage;
    table_.set(page, Entry::swapped(item.slot));
  }
  return true;
}

// The helper is one.
bool Client::another_may_fork() const { return threads_of(pid()).size() > 2; }

// Remembers what is out of a range that leaves now, for `to` or, where that is empty, for good.
void Client::remember(Range from, Range to) {
  if (!has_out(from) || !another_may_fork()) return;
  if (!store_buffered(from)) {
    forgetful_ = true;
    return;
  }
  Departure departure{.from = from, .to = to, .known = {}};
  table_.for_each(from.start >> kPageShift, from.end >> kPageShift,
                  [&](std::uint64_t page, const Entry& entry) {
                    if (!entry.is_out()) return;
                    if (entry.has_slot()) parts_.swap.get(entry.slot());
                    departure.known.emplace_back(page, entry);
                  });
  departures_.push_back(std::move(departure));
}

// No event is to come: what has left has done so for good, and children have what they should.
void Client::settle_departures() {
  for (const Departure& departure : departures_) {
    for (const Known& known : departure.known) {
      if (known.second.has_slot()) drop_slot(known.second.slot());
    }
  }
  departures_.clear();
  forgetful_ = false;
  for (const Registry::Use& heir : heirs_) {
    heir->waits_for_parent_.store(false);
    heir->kick();
  }
  heirs_.clear();
}

// Whether the child, which has a mapping where that departure was from, was forked before it; or
// has what came there afterwards.
bool Client::came_after_fork(const Departure& departure, std::span<const Range> arrivals,
                             const Client& child) const {
  const Range& from = departure.from;
  const auto is_there = [&](const Range& arrival) { return common(arrival, from).bytes() > 0; };
  if (!child.memory_.has(from.start) || std::ranges::any_of(arrivals, is_there)) return false;
  if (departure.to.bytes() == 0 || !child.memory_.has(departure.to.start)) return true;
  // It has both: the one was left mapped (MREMAP_DONTUNMAP), or there was something at the other.
  return !is_registered(from);
}

// Gives back to the child what left the parent after the fork, and before its event was read.
void Client::undo_departures(Client& child) {
  std::vector<Range> arrivals = arrivals_;
  for (auto last = departures_.rbegin(); last != departures_.rend(); ++last) {
    if (!came_after_fork(*last, arrivals, child)) continue;
    std::erase_if(arrivals,
                  [&](const Range& arrival) { return common(arrival, last->to).bytes() > 0; });
    child.forget_range(last->to);
    child.remove_range(last->to);
    child.forget_range(last->from);
    for (const Known& known : last->known) {
      if (known.second.has_slot()) parts_.swap.get(known.second.slot());
      child.table_.set(known.first, known.second);
    }
    child.add_range(last->from);
    child.queue_range(last->from);
  }
}

bool Client::has_out(Range range) {
  bool any = false;
  table_.for_each(range.start >> kPageShift, range.end >> kPageShift,
                  [&](std::uint64_t, const Entry& entry) { any |= entry.is_out(); });
  return any;
}

// The parent has read that something was moved. A child that was forked after it has it there. One
// that was forked before has it where it was, or knows of nothing there, for it has moved often.
void Client::inherit_move(Range from, Range to) {
  const std::lock_guard lock(mutex_);
  if (!inherits_ || !has_out(from) || !memory_.has(to.start)) return;
  const Range first{to.start, to.start + kPageSize};
  if (memory_.has(from.start) && is_managed(first)) return;  // both were there at the fork
  forget_range(to);
  for (const Known& known : take_entries(from)) {
    table_.set(known.first + (to.start >> kPageShift) - (from.start >> kPageShift), known.second);
  }
  remove_range(from);
  add_range(to);
  queue_range(to);
}

void Client::copy_state_to(Client& child) {
  table_.for_each(0, ~std::uint64_t{0} >> kPageShift, [&](std::uint64_t page, Entry& entry) {
    // Thrown away by another thread of the parent while this one forked: the child may have it.
    if (entry.state() == EntryState::doomed) return;
    if (entry.has_slot()) parts_.swap.get(entry.slot());
    child.table_.set(page, entry);
  });
  child.ranges_ = ranges_;
  child.borders_ = borders_;
  child.barred_ = barred_;
  child.windows_ = windows_;
  child.in_queue_ = in_queue_;
  child.queued_.store(windows_.size(), std::memory_order_relaxed);
  child.protected_ = protected_;
  child.beacon_ = beacon_;
  child.managing_ = managing_;
  child.inherits_ = managing_;  // before that there is nothing
  child.stack_tops_ = stack_tops_;
  child.main_stack_ = main_stack_;
  child.held_.store(held_.load());
  child.still_protected_.store(held_.load() || still_protected_.load());
  child.shares_pages_ = true;
}

// Some of what the parent's table says is not the child's: the program had the kernel not give it
// to its children (MADV_WIPEONFORK, MADV_DONTFORK), or another thread had unmapped it before the
// fork and told of it after. The parent may have been killed since, or have changed its mind. So
// the child itself is looked at, as it stands at its first fault: it cannot have changed anything
// yet.
//
// False: it cannot be looked at just now, or its parent may still learn what it has; and nothing
// may be served.
bool Client::settle_inheritance() {
  if (lost_ || waits_for_parent_.load()) return false;
  if (!inherits_) return true;
  if (pid() == 0) return false;
  const auto mappings = registered_mappings(pid());
  if (!mappings) return false;
  std::map<Address, Address> contents;  // start to end: what is as it was in the parent
  std::map<Address, Address> ranges;
  ranges.swap(ranges_);
  for (const RegisteredMapping& mapping : *mappings) {
    if (!mapping.is_wiped) contents[mapping.range.start] = mapping.range.end;
    for (const auto& [start, end] : ranges) {
      const Range both = common(mapping.range, {start, end});
      if (both.bytes() > 0) add_range(both);
    }
  }
  table_.for_each(0, ~std::uint64_t{0} >> kPageShift, [&](std::uint64_t page, Entry& entry) {
    const auto next = contents.upper_bound(page << kPageShift);
    const bool has = next != contents.begin() && std::prev(next)->second > page << kPageShift;
    if (!has) forget(page, entry, Entry());
  });
  inherits_ = false;
  return true;
}

// The child's memory is as this one's at the moment of the fork, which is now: nothing has entered
// or left in between. The child does not run yet.
void Client::on_fork(int userfault) {
  Counters::add(parts_.counters.forks);
  shares_pages_ = true;
  auto child = std::make_unique<Client>(parts_, userfault);
  child->lost_ = lost_ || forgetful_ || !store_buffered({0, ~Address{0}});
  if (child->lost_) fail("swap is full, and a fork shares what must leave");
  if (!child->lost_) copy_state_to(*child);
  if (!child->lost_) undo_departures(*child);
  child->runs(working_set_.program());
  const bool waits = child->inherits_ && another_may_fork();
  child->waits_for_parent_.store(waits);
  Registry::Use started = parts_.registry.add(std::move(child));
  if (!started->start()) fail("no thread for the pager of a fork's child");
  if (waits) heirs_.push_back(std::move(started));
}

}  // namespace holdfast::run
