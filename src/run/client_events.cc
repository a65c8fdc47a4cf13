// What a client's process does to its own mappings: fork, mremap, madvise, munmap.
#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include "run/client.h"
#include "run/process_files.h"
#include "run/registry.h"

namespace holdfast::run {
namespace {

constexpr std::size_t kMessagesAtOnce = 16;

// What is no longer where it was, once the event has been sent.
Range vacated(const uffd_msg& event) noexcept {
  if (event.event == UFFD_EVENT_UNMAP) return {event.arg.remove.start, event.arg.remove.end};
  if (event.event != UFFD_EVENT_REMAP) return {};
  return {event.arg.remap.from, event.arg.remap.from + event.arg.remap.len};
}
// Where it is now.
Range occupied(const uffd_msg& event) noexcept {
  if (event.event != UFFD_EVENT_REMAP) return {};
  return {event.arg.remap.to, event.arg.remap.to + event.arg.remap.len};
}
Range common(Range a, Range b) noexcept {
  const Range both{std::max(a.start, b.start), std::min(a.end, b.end)};
  return both.start < both.end ? both : Range{};
}

}  // namespace

// Reads all there is. Events are applied at once; faults wait their turn, for an event that was
// read after them may be what resolves them. Called under the lock.
void Client::drain() noexcept {
  std::array<uffd_msg, kMessagesAtOnce> messages;
  std::vector<uffd_msg> events;
  for (std::size_t count = messages.size(); count == messages.size();) {
    count = memory_.read(messages);
    for (const uffd_msg& message : std::span(messages).first(count)) {
      message.event == UFFD_EVENT_PAGEFAULT ? note(message) : events.push_back(message);
    }
  }
  if (events.size() > 1) put_in_order(events);
  for (const uffd_msg& event : events) apply(event);
  if (!arrivals_.empty()) have_arrivals_settled();
}

// Events of several threads, the newest first, for so the kernel hands them out.
//
// What is moved to where something else has left came after it; unless nothing is there any more,
// for then it was the one that left. And a fork's child shows what came before the fork.
void Client::put_in_order(std::vector<uffd_msg>& events) const {
  std::size_t swaps = events.size() * events.size();
  for (std::size_t i = 0; i < events.size(); ++i) {
    for (std::size_t j = i + 1; j < events.size() && swaps > 0; ++j) {
      const Range both = common(occupied(events[i]), vacated(events[j]));
      if (both.bytes() == 0 || !is_registered(both)) continue;
      const auto at = events.begin();
      std::rotate(at + static_cast<std::ptrdiff_t>(i), at + static_cast<std::ptrdiff_t>(j),
                  at + static_cast<std::ptrdiff_t>(j) + 1);
      j = i;
      --swaps;
    }
  }
  const auto is_fork = [](const uffd_msg& event) { return event.event == UFFD_EVENT_FORK; };
  const auto fork = std::ranges::find_if(events, is_fork);
  if (fork == events.end()) return;
  const RemoteMemory::Other child{static_cast<int>(fork->arg.fork.ufd)};
  std::vector<uffd_msg> before;
  std::vector<uffd_msg> after{*fork};
  for (auto event = events.begin(); event != events.end(); ++event) {
    if (event == fork) continue;
    const bool came_before = event->event == UFFD_EVENT_REMAP   ? child.has(occupied(*event).start)
                             : event->event == UFFD_EVENT_UNMAP ? !child.has(vacated(*event).start)
                                                                : false;
    (came_before ? before : after).push_back(*event);
  }
  before.insert(before.end(), after.begin(), after.end());
  events = std::move(before);
}

void Client::note(const uffd_msg& message) {
  const auto thread = static_cast<int>(message.arg.pagefault.feat.ptid);
  const auto flags = message.arg.pagefault.flags;
  const Fault fault{.page = message.arg.pagefault.address & ~(kPageSize - 1),
                    .thread = thread,
                    .write = (flags & UFFD_PAGEFAULT_FLAG_WRITE) != 0,
                    .is_protected = (flags & UFFD_PAGEFAULT_FLAG_WP) != 0,
                    .since_ns = 0};
  if (fault.is_protected) {
    writes_.push_back(fault);
  } else if (thread == helper_.thread()) {
    pending_.push_front(fault);  // it is what makes room for the others
  } else {
    pending_.push_back(fault);
  }
  // The first fault of a fork's child, on its beacon, is by its only thread.
  if (pid() == 0) pid_.store(thread, std::memory_order_release);
}

void Client::apply(const uffd_msg& message) {
  switch (message.event) {
    case UFFD_EVENT_FORK:
      on_fork(static_cast<int>(message.arg.fork.ufd));
      break;
    case UFFD_EVENT_REMAP:
      on_remap({message.arg.remap.from, message.arg.remap.from + message.arg.remap.len},
               message.arg.remap.to);
      break;
    case UFFD_EVENT_REMOVE:
      on_remove({message.arg.remove.start, message.arg.remove.end});
      break;
    case UFFD_EVENT_UNMAP:
      on_unmap({message.arg.remove.start, message.arg.remove.end});
      break;
    default:
      break;
  }
}

void Client::drop_slot(SlotIndex slot) noexcept {
  if (slot.is_none()) return;
  const FrameIndex frame = parts_.swap.put(slot);
  HF_CHECK(frame.is_none());  // versions are the engine's; here every slot has an image
}

// What the entry stood for is given up; it becomes `instead`.
void Client::forget(std::uint64_t page, Entry& entry, Entry instead) {
  if (entry.has_slot()) drop_slot(entry.slot());
  if (entry.state() == EntryState::buffered) {
    EvictionBuffer& buffer = parts_.buffers[entry.buffer()];
    const std::uint32_t place = entry.place();
    HF_CHECK2(buffer.client == this && buffer.pages[place] == page, page, place);
    drop_slot(buffer.slots[place]);
    buffer.slots[place] = SlotIndex();
    buffer.pages[place] = EvictionBuffer::kNoPage;
  }
  table_.replace(entry, instead);
}

// A thread that is slow to tell of it may be overtaken by one that has moved something to the same
// place meanwhile, and what is there now stays.
void Client::on_unmap(Range range) {
  for (const Range& part : without_arrivals(range, false)) {
    table_.for_each(part.start >> kPageShift, part.end >> kPageShift,
                    [&](std::uint64_t page, Entry& entry) { forget(page, entry, Entry()); });
    remove_range(part);
  }
}

// The kernel throws the pages of the range away after this has been read. What is out is forgotten;
// what is in is doomed, for if it left before the kernel comes to it, it would survive.
void Client::on_remove(Range range) {
  table_.for_each(range.start >> kPageShift, range.end >> kPageShift,
                  [&](std::uint64_t page, Entry& entry) { forget(page, entry, Entry()); });
  std::vector<Range> present;
  if (pid() == 0 || !memory_.present(range, present, RemoteMemory::Count::all_there_is)) {
    present.assign(1, range);
  }
  for (const Range& run : present) {
    for (Address at = run.start; at < run.end; at += kPageSize) {
      table_.set(at >> kPageShift, Entry::doomed());
    }
  }
}

// False: an event is still to come. The kernel refuses this call meanwhile.
bool Client::have_arrivals_settled() {
  const Range beacon{beacon_, beacon_ + kPageSize};
  if (memory_.protect(beacon, false) == EAGAIN) return false;
  settle_arrivals();
  return true;
}

// No event is to come: what was moved stays, and nothing else was where it is.
void Client::settle_arrivals() {
  arrivals_.clear();
  for (const auto& [page, entry] : displaced_) {
    if (entry.has_slot()) drop_slot(entry.slot());
  }
  displaced_.clear();
}

std::vector<Client::Known> Client::take_entries(Range range) {
  std::vector<Known> taken;
  table_.for_each(range.start >> kPageShift, range.end >> kPageShift,
                  [&](std::uint64_t page, Entry& entry) {
                    taken.emplace_back(page, entry);
                    table_.replace(entry, Entry());
                  });
  return taken;
}

// Of the range, but for those parts of it.
std::vector<Client::Known> Client::take_displaced(Range range, std::span<const Range> but) {
  const auto holds = [](const Range& part, Address address) {
    return address >= part.start && address < part.end;
  };
  std::vector<Known> taken;
  std::erase_if(displaced_, [&](const Known& known) {
    const Address address = known.first << kPageShift;
    if (!holds(range, address)) return false;
    for (const Range& part : but) {
      if (holds(part, address)) return false;
    }
    taken.push_back(known);
    return true;
  });
  return taken;
}

// What is known of pages whose place something else has taken: they have left it, or are gone, and
// the event that tells which is still to come.
void Client::displace(Range range) {
  if (!store_buffered(range)) {
    // Nobody will miss it.
    table_.for_each(range.start >> kPageShift, range.end >> kPageShift,
                    [&](std::uint64_t page, Entry& entry) { forget(page, entry, Entry()); });
    lost_ = true;
    return;
  }
  for (const Known& known : take_entries(range)) {
    if (known.second.is_out() || known.second.has_slot()) displaced_.push_back(known);
  }
}

// The pages have moved, and so does what is known of them. Where they were is unmapped, and told as
// such, or stands there empty (MREMAP_DONTUNMAP) and is found again by the next scan.
void Client::on_remap(Range from, Address to) {
  bool was_managed = false;
  for (const auto& [begin, end] : ranges_) was_managed |= begin < from.end && end > from.start;
  // A thread that is slow to tell may have been overtaken by what has moved there since.
  const std::vector<Range> parts = without_arrivals(from, true);
  std::vector<Known> moved = take_displaced(from, parts);
  for (const Range& part : parts) {
    for (const Known& known : take_entries(part)) moved.push_back(known);
    remove_range(part);
  }
  displace({to, to + from.bytes()});
  arrivals_.push_back({to, to + from.bytes()});
  const std::uint64_t first = from.start >> kPageShift;
  const std::uint64_t start = to >> kPageShift;
  for (const auto& [page, entry] : moved) {
    table_.set(start + (page - first), entry);
    if (entry.state() == EntryState::buffered) {
      parts_.buffers[entry.buffer()].pages[entry.place()] = start + (page - first);
    }
  }
  if (!was_managed) return;
  add_range({to, to + from.bytes()});
  queue_range({to, to + from.bytes()});
}

// --- fork ---

// Content that stands in a buffer cannot be shared, nor kept apart; a slot can. False: swap is
// full, and some of it is still there; the programs are being ended.
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
    if (item.slot.is_none()) {
      fail("swap is full, and a fork shares what must leave");
      return false;
    }
    drop_slot(buffer.slots[entry.place()]);
    buffer.slots[entry.place()] = SlotIndex();
    buffer.pages[entry.place()] = EvictionBuffer::kNoPage;
    table_.set(page, Entry::swapped(item.slot));
  }
  return true;
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
// False: it cannot be looked at just now, and nothing may be served.
bool Client::settle_inheritance() {
  if (lost_) return false;
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
  child->lost_ = lost_ || !store_buffered({0, ~Address{0}});
  if (!child->lost_) copy_state_to(*child);
  child->runs(working_set_.program());
  Client& started = *child;
  parts_.registry.add(std::move(child));
  if (!started.start()) fail("no thread for the pager of a fork's child");
}

}  // namespace holdfast::run
