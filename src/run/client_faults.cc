// How a client's faults are served.
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "run/client.h"

namespace holdfast::run {
namespace {

constexpr std::uint32_t kFreshRunMax = 64;
constexpr std::uint32_t kNoItem = ~0U;
alignas(kPageSize) constinit const std::array<std::byte, kFreshRunMax * kPageSize> g_zeros{};

// Lets others have a lock that is held.
class Unlocked {
 public:
  explicit Unlocked(SpinningMutex& mutex) : mutex_(mutex) { mutex_.unlock(); }
  ~Unlocked() { mutex_.lock(); }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  SpinningMutex& mutex_;
};

}  // namespace

void Client::serve_pending() {
  take_arrived();
  std::size_t left = pending_.size();
  while (left-- > 0) {
    Fault fault = pending_.front();
    follow(fault.thread);
    std::uint32_t room = parts_.budget.take(wanted_by(fault));
    const bool is_helpers = unsharing_.load() && fault.thread == helper_thread_.load();
    if (room == 0 && (is_helpers || parts_.stuck.load(std::memory_order_relaxed))) {
      parts_.budget.take_regardless(1);
      room = 1;
    }
    if (room == 0) {
      if (fault.since_ns == 0) {
        pending_.front().since_ns = parts_.machine.now_ns();
        Counters::add(parts_.counters.waits);
      }
      starved_.store(true, std::memory_order_relaxed);
      return;
    }
    pending_.pop_front();
    if (fault.since_ns != 0) {
      Counters::add(parts_.counters.wait_ns, parts_.machine.now_ns() - fault.since_ns);
      fault.since_ns = 0;
    }
    Served served = Served::again;
    {
      const std::lock_guard lock(mutex_);
      if (!helper_.holds_events()) served = serve(fault, room);
    }
    parts_.budget.give(room);  // what was not used
    if (served == Served::done) leave_load(fault);
    if (served == Served::again) pending_.push_back(fault);
    if (served == Served::far) far_faults_.push_back(fault);
  }
  starved_.store(false, std::memory_order_relaxed);
}

std::uint32_t Client::wanted_by(const Fault& fault) noexcept {
  const std::uint64_t page = fault.page >> kPageShift;
  if (fault.load == nullptr) return streams_.width(page, kRunMax);
  streams_.resume(page);
  return fault.load->wanted;
}

// The pager thread and the helper run where the faults are: a wake-up on another CPU costs more
// than serving one, and taking a page's translation away interrupts every other CPU of the program.
void Client::follow(int thread) {
  follower_.follow(thread);
  const int cpu = follower_.cpu();
  if (cpu < 0 || cpu == helper_cpu_) return;
  const std::lock_guard lock(mutex_);
  if (helper_.thread() == 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  ::sched_setaffinity(helper_.thread(), sizeof set, &set);
  helper_cpu_ = cpu;
}

// Called under the lock, with room for that many pages; what is used of it is taken off.
Client::Served Client::serve(Fault& fault, std::uint32_t& room) {
  if (!settle_inheritance()) return Served::again;
  if (fault.load == nullptr) Counters::add(parts_.counters.faults);
  note_thread(fault);
  // The shim asks that the mappings be looked at.
  if (fault.page == beacon_ && managing_ && memory_.pid() != 0) look_at_mappings();
  return table_.get(fault.page >> kPageShift).is_out() ? bring_content(fault, room)
                                                       : bring_fresh(fault, room);
}

// The fault that `error` stopped: what becomes of it.
Client::Served Client::settle_fault(const Fault& fault, int error) {
  switch (error) {
    case EAGAIN:  // an event is under way: it is read, and the fault served after it
      drain();
      return Served::again;
    case ENOMEM:
      return Served::again;
    default:
      // EEXIST: it is there. ENOENT: the mapping is gone, or is a new one that is not managed. The
      // thread looks again, and the kernel tells it.
      memory_.wake(fault.page);
      return Served::done;
  }
}

// A run that begins with this page stays in its window and in its mapping.
std::uint64_t Client::run_end(std::uint64_t page) const noexcept {
  const std::uint64_t window_end = (page / kWindowPages + 1) * kWindowPages;
  return std::min(window_end, mapping_end(page << kPageShift) >> kPageShift);
}

Client::Served Client::bring_fresh(const Fault& fault, std::uint32_t& room) {
  const std::uint64_t first = fault.page >> kPageShift;
  const std::uint64_t end = run_end(first);
  const auto most =
      static_cast<std::uint32_t>(std::min<std::uint64_t>({room, end - first, kFreshRunMax}));
  std::uint32_t count = 1;
  while (count < most && table_.get(first + count).state() == EntryState::none) ++count;
  Entered in;
  for (;;) {
    const std::uint64_t bytes = count * kPageSize;
    const sys::WokenHere here(woken_here(fault), follower_.cpu());
    in = fault.write ? memory_.copy(fault.page, g_zeros.data(), bytes)
                     : memory_.zero(fault.page, bytes);
    if (in.error != ENOENT || count == 1) break;
    count = 1;  // the run may have left its mapping
  }
  const auto pages = static_cast<std::uint32_t>(in.bytes >> kPageShift);
  for (std::uint32_t i = 0; i < pages; ++i) {
    // It was doomed, and is new now; or it was kept, and has been thrown away.
    const Entry old = table_.get(first + i);
    if (old.has_slot()) drop_slot(old.slot());
    table_.set(first + i, Entry());
  }
  if (pages == 0) return settle_fault(fault, in.error);
  if (is_unsettled()) settle();
  room -= pages;
  Counters::add(parts_.counters.fresh_pages, pages);
  streams_.reached(first + pages);
  queue_window(first / kWindowPages);
  return Served::done;
}

// Items for the run of pages that are out, from `page` on; how many.
std::uint32_t Client::gather(std::uint64_t page, std::uint32_t most) {
  most = static_cast<std::uint32_t>(std::min<std::uint64_t>({most, run_end(page) - page, kRunMax}));
  std::uint32_t count = 0;
  while (count < most) {
    const Entry entry = table_.get(page + count);
    if (!entry.is_out()) break;
    sources_[count] = {.page = page + count, .entry = entry};
    ++count;
  }
  return count;
}

// Adds what a recording says comes next to the `count` pages that the fault is served with, as far
// as there is room that nobody waits for: how many are gathered then, and that room.
std::uint32_t Client::gather_ahead(const Fault& fault, std::uint32_t count, std::uint32_t& room) {
  if (fault.load != nullptr) return gather_arrived(*fault.load, count, room);
  // What the helper touches is no work of the program's.
  if (fault.thread == helper_.thread()) return count;
  ReplayCursor& replay = working_set_.replay();
  std::uint32_t most = replay.reached(fault.page >> kPageShift);
  Counters::add(parts_.counters.ahead_passed, replay.take_passed());
  room = most == 0 ? 0 : parts_.budget.take_spare(most);
  std::uint32_t total = count;
  for (; most > 0 && total - count < room; --most) {
    const std::uint64_t page = replay.next();
    if (page - sources_[0].page < count) continue;
    const Entry entry = table_.get(page);
    if (entry.is_out()) sources_[total++] = {.page = page, .entry = entry};
  }
  return total;
}

// Puts the contents together in the staging pages, and says of each source what it has. What only a
// device has is waited for without the lock: meanwhile others leave, which that wait is long enough
// for. Nobody waits here for what is beyond this machine. False: what was gathered is to be looked
// at anew. Without `waits`, what is on a device is left there as well.
bool Client::load_gathered(std::uint32_t count, bool waits) {
  const std::uint32_t items = stage_gathered(count);
  if (items == 0) return true;
  parts_.swap.load(std::span(items_).first(items), swap::Reach::memory);
  const std::uint32_t beyond = take_loaded(count);
  if (beyond == 0 || !waits) return true;
  const auto reach = parts_.has_far_tier ? swap::Reach::here : swap::Reach::anywhere;
  const std::span<swap::LoadItem> slow = std::span(items_).first(beyond);
  for (const swap::LoadItem& item : slow) parts_.swap.get(item.slot);
  {
    const Unlocked unlocked(mutex_);
    parts_.swap.load(slow, reach);
  }
  for (const swap::LoadItem& item : slow) drop_slot(item.slot);
  take_loaded(count);
  for (Source& source : std::span(sources_).first(count)) {
    if (!is_still_out(source)) source.has = Source::Has::none;
  }
  return !helper_.holds_events();
}

// Whether several threads fault in turns.
void Client::note_thread(const Fault& fault) noexcept {
  constexpr std::uint32_t kMixedFor = 16;
  if (fault.thread == helper_.thread()) return;
  const bool is_same = std::exchange(last_thread_, fault.thread) == fault.thread;
  mixed_ = is_same ? mixed_ - std::min(mixed_, 1U) : kMixedFor;
}

// Threads that fault at the same time wait at the same time, where there are several: one after the
// other, each would wait for all. A single one is served sooner without a change of threads. Not
// beside a tier that is beyond this machine: what comes with one load would wait for that.
bool Client::waits_aside(const Fault& fault) const noexcept {
  if (parts_.far_loads == nullptr || parts_.has_far_tier) return false;
  return mixed_ > 0 && fault.thread != helper_.thread();
}

// The thread to wake where this one runs; 0: none. Threads that take turns need a CPU each, and one
// that could run before it has its own CPUs back would be seen with one.
int Client::woken_here(const Fault& fault) const noexcept {
  return is_first_ && mixed_ == 0 && fault.thread != helper_.thread() ? fault.thread : 0;
}

// What stands in memory as it is, is staged; the rest becomes items. How many.
std::uint32_t Client::stage_gathered(std::uint32_t count) {
  std::uint32_t items = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    Source& source = sources_[i];
    const Entry entry = source.entry;
    std::byte* const place = staging_ + i * kPageSize;
    source.has = Source::Has::content;
    source.from_memory = false;
    source.item = kNoItem;
    if (entry.state() == EntryState::filled) {
      base::fill_page(place, base::unpack_word(entry.packed()));
    } else if (entry.state() == EntryState::buffered) {
      std::memcpy(place, parts_.buffers[entry.buffer()].content(entry.place()), kPageSize);
    } else if (const swap::LoadItem* const item = arrived(entry.slot()); item != nullptr) {
      if (item->ok) std::memcpy(place, item->page, kPageSize);
      if (!item->ok) source.has = Source::Has::failed;
      if (!item->ok && i == 0) why_failed_ = item->error;
    } else if (on_its_way(entry) != nullptr) {
      source.has = Source::Has::far;
    } else {
      source.item = items;
      items_[items++] = {.slot = entry.slot(), .page = place};
    }
  }
  return items;
}

// What the items have become. Those that were out of reach stay, in front: how many.
std::uint32_t Client::take_loaded(std::uint32_t count) {
  std::uint32_t beyond = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    Source& source = sources_[i];
    if (source.item == kNoItem) continue;
    const swap::LoadItem item = items_[source.item];
    source.item = kNoItem;
    source.from_memory = item.from_memory;
    source.has = item.ok ? Source::Has::content : Source::Has::failed;
    if (!item.ok && i == 0) why_failed_ = item.error;
    if (!item.is_beyond) continue;
    source.has = Source::Has::far;
    source.item = beyond;
    items_[beyond++] = item;
  }
  return beyond;
}

// Without the lock, the evictor may have stored what stood in its buffer, or put it back. All else
// that is out stays as it is, for only this thread reads events and lets pages in.
bool Client::is_still_out(const Source& source) const noexcept {
  const Entry now = table_.get(source.page);
  return source.entry.state() == EntryState::buffered ? now.is_out() : now == source.entry;
}

// The page is in the program again.
void Client::entered(std::uint64_t page, bool image_takes_memory) {
  const Entry entry = table_.get(page);
  Entry now;
  if (entry.state() == EntryState::swapped) {
    now = Entry::kept(entry.slot());
  } else if (entry.state() == EntryState::buffered) {
    EvictionBuffer& buffer = parts_.buffers[entry.buffer()];
    now = Entry::kept(buffer.slots[entry.place()]);
    buffer.slots[entry.place()] = SlotIndex();
    buffer.pages[entry.place()] = EvictionBuffer::kNoPage;
    Counters::add(parts_.counters.rescued);
  }
  const bool dear = image_takes_memory && parts_.swap.compressed_bytes() > parts_.keep_images_below;
  if (now.has_slot() && (dear || parts_.swap.nearly_full())) {
    drop_slot(now.slot());
    now = Entry();
  }
  table_.set(page, now);
}

// Enters pages that were gathered and lie side by side.
Entered Client::enter_gathered(std::uint32_t first, std::uint32_t count, int thread) {
  const std::uint64_t page = sources_[first].page;
  const Entered in = [&] {
    const sys::WokenHere here(thread, follower_.cpu());
    return memory_.copy(page << kPageShift, staging_ + first * kPageSize, count * kPageSize);
  }();
  const auto pages = static_cast<std::uint32_t>(in.bytes >> kPageShift);
  for (std::uint32_t i = 0; i < pages; ++i) {
    entered(sources_[first + i].page, sources_[first + i].from_memory);
  }
  if (pages == 0) return in;
  if (is_unsettled()) settle();
  Counters::add(parts_.counters.pages_in, pages);
  working_set_.came_in(page, pages);
  queue_window(page / kWindowPages);
  return in;
}

// Enters what was gathered ahead of the fault; how much of it. A page that cannot come now may be
// left out: nobody waits for it.
std::uint32_t Client::enter_ahead(std::uint32_t first, std::uint32_t end) {
  std::uint32_t all = 0;
  for (std::uint32_t i = first; i < end;) {
    if (sources_[i].has != Source::Has::content) {
      ++i;
      continue;
    }
    const std::uint64_t page = sources_[i].page;
    const std::uint64_t most = std::min<std::uint64_t>(run_end(page) - page, end - i);
    std::uint32_t count = 1;
    while (count < most && sources_[i + count].page == page + count &&
           sources_[i + count].has == Source::Has::content) {
      ++count;
    }
    const Entered in = enter_gathered(i, count, 0);
    const auto pages = static_cast<std::uint32_t>(in.bytes >> kPageShift);
    all += pages;
    // EEXIST: the recording has it twice. ENOENT: a mapping has ended.
    if (in.error != 0 && in.error != EEXIST && in.error != ENOENT) break;
    i += in.error == 0 ? count : pages + 1;
  }
  working_set_.replay().brought(all);
  Counters::add(parts_.counters.ahead_pages, all);
  return all;
}

// What comes ahead enters first: the thread, once it runs, would wait for it page by page.
Client::Served Client::bring_content(Fault& fault, std::uint32_t& room) {
  const std::uint64_t first = fault.page >> kPageShift;
  const std::uint32_t most = gather(first, room);
  std::uint32_t room_ahead = 0;
  const std::uint32_t total = gather_ahead(fault, most, room_ahead);
  const bool aside = waits_aside(fault);
  bool may_enter = load_gathered(total, !aside);
  if (aside && sources_[0].has == Source::Has::far) {
    if (wait_for_far(fault, most, total) == Served::far) {
      parts_.budget.give(room_ahead);
      return Served::far;
    }
    may_enter = load_gathered(total, true);  // all who could wait for it are busy
  }
  if (may_enter) room_ahead -= enter_ahead(most, total);
  parts_.budget.give(room_ahead);
  if (!may_enter) return Served::again;
  if (sources_[0].has == Source::Has::far) return wait_for_far(fault, most, total);
  // The one that is wanted must come, if need be by itself; the others may yet.
  if (sources_[0].has == Source::Has::failed && !load_gathered(1, true)) return Served::again;
  if (sources_[0].has == Source::Has::none) return Served::again;
  if (sources_[0].has == Source::Has::failed) {
    parts_.machine.print_line(("holdfast: " + why_failed_.message()).c_str());
    fail("a page cannot be read back from swap");
    return Served::done;
  }
  std::uint32_t count = 1;
  while (count < most && sources_[count].has == Source::Has::content) ++count;
  Entered in = enter_gathered(0, count, woken_here(fault));
  if (in.error == ENOENT && in.bytes == 0 && count > 1) {
    in = enter_gathered(0, 1, woken_here(fault));  // the run left its mapping
  }
  const auto pages = static_cast<std::uint32_t>(in.bytes >> kPageShift);
  if (pages == 0) return settle_fault(fault, in.error);
  room -= pages;
  streams_.reached(first + pages);
  leave_load(fault);
  end_ahead(first, first + pages);
  if (streams_.goes_on()) read_ahead(first + pages);
  return Served::done;
}

}  // namespace holdfast::run
