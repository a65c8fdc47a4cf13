// Which mappings of a client are managed.
//
// The lock is held from reading the mappings to registering them, and so no event is read between:
// what was registered and has gone is still told. A mapping that was not may have gone and come: a
// part of it may then be thought to be registered that is not. The helper finds that, and the part
// is looked at again.
#include <algorithm>
#include <utility>

#include "run/client.h"

namespace holdfast::run {
namespace {

constexpr std::uint64_t kStackTopPages = 2;  // libc's structure for a thread, and what is in front

// What is left of the range without those others.
std::vector<Range> without(Range range, std::span<const Range> others) {
  std::vector<Range> left{range};
  for (const Range& other : others) {
    std::vector<Range> rest;
    for (const Range& part : left) {
      const Range below{part.start, std::min(part.end, other.start)};
      const Range above{std::max(part.start, other.end), part.end};
      if (below.start < below.end) rest.push_back(below);
      if (above.start < above.end) rest.push_back(above);
    }
    left = std::move(rest);
  }
  return left;
}

}  // namespace

void Client::add_range(Range range) {
  auto next = ranges_.lower_bound(range.start);
  if (next != ranges_.begin()) {
    const auto before = std::prev(next);
    if (before->second >= range.start) {
      range.start = before->first;
      range.end = std::max(range.end, before->second);
      ranges_.erase(before);
    }
  }
  while (next != ranges_.end() && next->first <= range.end) {
    range.end = std::max(range.end, next->second);
    next = ranges_.erase(next);
  }
  ranges_[range.start] = range.end;
}

void Client::remove_range(Range range) {
  auto at = ranges_.upper_bound(range.start);
  if (at != ranges_.begin()) --at;
  while (at != ranges_.end() && at->first < range.end) {
    const Range old{at->first, at->second};
    if (old.end <= range.start) {
      ++at;
      continue;
    }
    at = ranges_.erase(at);
    if (old.start < range.start) ranges_[old.start] = range.start;
    if (old.end > range.end) ranges_[range.end] = old.end;
  }
  stack_tops_.erase(stack_tops_.lower_bound(range.start >> kPageShift),
                    stack_tops_.lower_bound(range.end >> kPageShift));
}

bool Client::is_managed(Range range) const {
  const auto next = ranges_.upper_bound(range.start);
  return next != ranges_.begin() && std::prev(next)->second >= range.end;
}

Address Client::mapping_end(Address at) const noexcept {
  const auto next = std::ranges::upper_bound(borders_, at);
  return next == borders_.end() ? ~Address{0} : *next;
}

// Whether any of it is, now. What is mapped anew where something was is not.
bool Client::is_registered(Range range) const {
  if (!is_mapped(pid(), range)) return false;
  const auto mappings = registered_mappings(pid());
  return mappings && std::ranges::any_of(*mappings, [&](const RegisteredMapping& mapping) {
           return mapping.range.start < range.end && mapping.range.end > range.start;
         });
}

// What is moved with MREMAP_DONTUNMAP leaves its place mapped, and empty: nothing comes in there
// before its event has been read. Where something else had been before it, of which no event has
// told, that is what has left, late to tell.
bool Client::left_it_mapped(Range range) const {
  for (const Known& known : displaced_) {
    const Address address = known.first << kPageShift;
    if (address >= range.start && address < range.end) return false;
  }
  std::vector<Range> present;
  return memory_.present(range, present, RemoteMemory::Count::all_there_is) && present.empty();
}

// The range without what has come there after that which has left it now. `moved`: it has been
// moved, not unmapped.
std::vector<Range> Client::without_arrivals(Range range, bool moved) const {
  std::vector<Range> stay;
  for (const Range& arrival : arrivals_) {
    const Range both{std::max(range.start, arrival.start), std::min(range.end, arrival.end)};
    if (both.start >= both.end || !is_registered(both)) continue;
    if (!moved || !left_it_mapped(both)) stay.push_back(both);
  }
  return without(range, stay);
}

// What has left is an arrival no more, or they would pile up for as long as threads move something
// at any moment.
void Client::forget_arrivals(std::span<const Range> left) {
  std::vector<Range> stay;
  for (const Range& arrival : arrivals_) {
    for (const Range& part : without(arrival, left)) stay.push_back(part);
  }
  arrivals_ = std::move(stay);
}

void Client::manage_mappings() {
  const std::lock_guard lock(mutex_);
  if (!settle_inheritance()) return;
  // An event that is still to come asks what of the range is registered.
  if (is_unsettled() && !try_settle()) return;
  look_at_mappings();
}

void Client::look_at_mappings() {
  managing_ = true;
  const ManageableMappings mappings = manageable_mappings(pid());
  borders_.clear();
  for (const ManageableMapping& mapping : mappings.all) borders_.push_back(mapping.range.end);
  const std::vector<Range> barred = std::exchange(barred_, mappings.barred);
  queue_opened(barred);
  for (const ManageableMapping& mapping : mappings.all) manage(mapping);
  const Range stack = mappings.main_stack;
  if (stack.start != main_stack_.start || stack.end != main_stack_.end) {
    main_stack_ = memory_.register_for_protection(stack) == 0 ? stack : Range{};
  }
}

void Client::manage(const ManageableMapping& mapping) {
  for (const Range& part : without(mapping.range, protected_)) {
    if (!is_managed(part)) manage_part(part);
  }
  if (!mapping.follows_guard) return;
  const std::uint64_t end = mapping.range.end >> kPageShift;
  for (std::uint64_t i = 1; i <= kStackTopPages; ++i) stack_tops_.insert(end - i);
}

// The whole mapping, though a part of it may be registered: so that it is never cut in two, which a
// program that moves it would see.
void Client::manage_part(Range part) {
  // Refused: not of a kind that can be managed, or gone by now. It stays as it is.
  if (memory_.register_range(part) != 0) return;
  add_range(part);
  exact_.erase(part.start >> kHugeShift);
  exact_.erase((part.end - 1) >> kHugeShift);
  queue_present(part);
}

// What is missing as yet comes by a fault. Most of what is reserved never will.
void Client::queue_present(Range range) {
  std::vector<Range> present;
  if (!memory_.present(range, present)) present.assign(1, range);
  for (const Range& run : present) queue_range(run);
}

// Nothing of a barred mapping is tried, and its windows are in the queue no longer: what was barred
// before and is not now goes back in. Both are in address order.
void Client::queue_opened(std::span<const Range> before) {
  auto first = barred_.begin();
  for (Range rest : before) {
    while (first != barred_.end() && first->end <= rest.start) ++first;
    for (auto at = first; at != barred_.end() && at->start < rest.end; ++at) {
      if (rest.start < at->start) queue_present({rest.start, at->start});
      rest.start = std::min(at->end, rest.end);
    }
    if (rest.start < rest.end) queue_present(rest);
  }
}

}  // namespace holdfast::run
