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

constexpr int kMessagesMost = 64;  // threads that never stop moving things are not waited for

}  // namespace

// Reads what there is. Events are applied at once; faults wait their turn, for an event that was
// read after them may be what resolves them. Called under the lock.
//
// One by one: whoever waits for an event to be read goes on as soon as it is, and what a second one
// has done must not be taken for what the first one left.
void Client::drain() noexcept {
  uffd_msg message;
  for (int left = kMessagesMost; left > 0 && memory_.read(std::span(&message, 1)) == 1; --left) {
    message.event == UFFD_EVENT_PAGEFAULT ? note(message) : apply(message);
  }
  if (is_unsettled()) try_settle();
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

void Client::forget_range(Range range) {
  table_.for_each(range.start >> kPageShift, range.end >> kPageShift,
                  [&](std::uint64_t page, Entry& entry) { forget(page, entry, Entry()); });
}

// A thread that is slow to tell of it may be overtaken by one that has moved something to the same
// place meanwhile, and what is there now stays.
void Client::on_unmap(Range range) {
  const std::vector<Range> parts = without_arrivals(range, false);
  forget_arrivals(parts);
  for (const Range& part : parts) {
    remember(part, Range{});
    forget_range(part);
    remove_range(part);
  }
}

// The kernel throws the pages of the range away after this has been read. What is out is forgotten;
// what is in is doomed, for if it left before the kernel comes to it, it would survive.
void Client::on_remove(Range range) {
  forget_range(range);
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
bool Client::try_settle() {
  const Range beacon{beacon_, beacon_ + kPageSize};
  if (memory_.protect(beacon, false) == EAGAIN) return false;
  settle();
  return true;
}

// No event is to come: what was moved stays, and nothing else was where it is.
void Client::settle() {
  settle_departures();
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
    fail("swap is full, and what was moved has displaced what must leave");
    forget_range(range);  // nobody will miss it
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
  forget_arrivals(parts);
  std::vector<Known> moved = take_displaced(from, parts);
  for (const Range& part : parts) {
    const Address target = to + (part.start - from.start);
    remember(part, {target, target + part.bytes()});
    for (const Known& known : take_entries(part)) moved.push_back(known);
    remove_range(part);
  }
  for (const Registry::Use& heir : heirs_) heir->inherit_move(from, {to, to + from.bytes()});
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

}  // namespace holdfast::run
