// How pages leave a client: a window at a time, moved out by the helper, read out, compressed.
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "run/client.h"
#include "run/process_files.h"

namespace holdfast::run {

static_assert(kWindowPages == kPagesPerWindow && kHugeSize == kPoolBytes && kPageSize == kShimPage,
              "the shim and the pager mean the same window");

namespace {

constexpr int kAnswerMs = 100;               // a window takes less than 1 ms, or 10 on a busy CPU
constexpr std::uint64_t kUnshareLeast = 32;  // pages of a window that are copied at once

bool is_set(std::span<const std::uint64_t> mask, std::uint32_t bit) noexcept {
  return (mask[bit / 64] >> (bit % 64) & 1) != 0;
}

}  // namespace

void Client::queue_window(std::uint64_t window) {
  if (!in_queue_.insert(window).second) return;
  windows_.push_back(window);
  queued_.store(windows_.size(), std::memory_order_relaxed);
}

void Client::queue_range(Range range) {
  for (std::uint64_t w = range.start >> kHugeShift; w << kHugeShift < range.end; ++w) {
    queue_window(w);
  }
}

bool Client::choose_window(std::uint64_t& window) {
  if (windows_.empty()) return false;
  window = windows_.front();
  windows_.pop_front();
  in_queue_.erase(window);
  queued_.store(windows_.size(), std::memory_order_relaxed);
  return true;
}

// The pages of the window that must stay where they are: barred, or the kernel's to write to when a
// thread ends.
void Client::mark_fixed(Range window, std::span<bool, kWindowPages> stays) const {
  for (const Address page : thread_pages(pid())) {
    if (page < window.start || page >= window.end) continue;
    stays[(page - window.start) >> kPageShift] = true;
  }
  const std::uint64_t first = window.start >> kPageShift;
  for (auto top = stack_tops_.lower_bound(first);
       top != stack_tops_.end() && *top < first + kWindowPages; ++top) {
    stays[*top - first] = true;
  }
  auto barred = std::ranges::upper_bound(barred_, window.start, {}, &Range::end);
  for (; barred != barred_.end() && barred->start < window.end; ++barred) {
    const Range both{std::max(window.start, barred->start), std::min(window.end, barred->end)};
    std::fill_n(stays.begin() + static_cast<std::ptrdiff_t>((both.start >> kPageShift) - first),
                both.bytes() >> kPageShift, true);
  }
}

// The runs of the window that can leave: in memory, not fixed, not doomed. That they are registered
// is for the helper to see, at the moment when they leave.
void Client::find_leaving(std::uint64_t window, bool holes, std::vector<Range>& runs) {
  const Range whole{window << kHugeShift, (window + 1) << kHugeShift};
  std::vector<Range> present;
  auto at = ranges_.upper_bound(whole.start);
  if (at != ranges_.begin()) --at;
  for (; at != ranges_.end() && at->first < whole.end; ++at) {
    const Range part{std::max(whole.start, at->first), std::min(whole.end, at->second)};
    if (part.start < part.end && !memory_.present(part, present)) present.clear();
  }
  std::array<bool, kWindowPages> stays{};
  mark_fixed(whole, stays);
  const std::uint64_t first = window * kWindowPages;
  std::array<bool, kWindowPages> is_present{};
  for (const Range& run : present) {
    for (Address a = run.start; a < run.end; a += kPageSize) {
      is_present[(a - whole.start) >> kPageShift] = true;
    }
  }
  const auto is_there = [&](std::uint64_t page) {
    const Address start = page << kPageShift;
    std::vector<Range> runs_there;
    const bool known =
        memory_.present({start, start + kPageSize}, runs_there, RemoteMemory::Count::all_there_is);
    return !known || !runs_there.empty();
  };
  bool open = false;
  table_.for_each(first, first + kWindowPages, [&](std::uint64_t page, Entry& entry) {
    if (entry.state() != EntryState::doomed) return;
    if (is_present[page - first] || is_there(page)) {
      stays[page - first] = true;
    } else {
      table_.replace(entry, Entry());
    }
  });
  // With holes: one stretch of each mapping from the first page that is there to the last, but for
  // those that must stay. A mapping that is not registered may lie in a hole; the helper then
  // refuses the stretch.
  Address border = mapping_end(whole.start);
  for (std::uint64_t i = 0; i < kWindowPages; ++i) {
    const Address a = whole.start + i * kPageSize;
    if (a >= border) {
      open = false;
      border = mapping_end(a);
    }
    if (stays[i] || (!is_present[i] && !holes)) {
      open = false;
    } else if (is_present[i] && open) {
      runs.back().end = a + kPageSize;
    } else if (is_present[i]) {
      runs.push_back({a, a + kPageSize});
      open = true;
    }
  }
}

bool Client::prepare_command(std::uint64_t window, Command& command) {
  const bool holes = !exact_.contains(window);
  std::vector<Range> runs;
  find_leaving(window, holes, runs);
  command.holes = holes ? 1 : 0;
  command.kind = CommandKind::move_out;
  command.window = window << kHugeShift;
  command.runs = 0;
  for (const Range& run : runs) {
    if (command.runs == kRunsMax) break;
    command.run[command.runs++] = {
        .first = static_cast<std::uint16_t>((run.start - command.window) >> kPageShift),
        .count = static_cast<std::uint16_t>(run.bytes() >> kPageShift)};
  }
  return command.runs > 0;
}

std::uint32_t Client::take_window_out(EvictionBuffer& buffer, bool& tried) {
  const std::lock_guard lock(mutex_);
  tried = false;
  if (life() != Life::running || closing_ || !helper_.connected()) return 0;
  if (helper_.under_way()) finish_command(0);
  // In a program that is stopped the helper is too.
  if (helper_.under_way() || is_stopped(helper_.thread())) return 0;
  std::uint64_t window = 0;
  if (!choose_window(window)) return 0;
  tried = true;
  Command command{};
  if (!prepare_command(window, command)) return 0;
  buffer.client = this;
  buffer.state = EvictionBuffer::State::leaving;
  if (!helper_.send(command)) {
    closing_ = true;
    buffer.release();
    return 0;
  }
  leaving_ = &buffer;
  return finish_command(kAnswerMs);
}

// Waits for the answer to what the helper was asked, and does what follows from it.
std::uint32_t Client::finish_command(int timeout_ms) {
  Answer answer{};
  switch (helper_.await(answer, timeout_ms)) {
    case HelperLink::Outcome::late:
      return 0;  // the pager thread looks again
    case HelperLink::Outcome::gone:
      closing_ = true;
      if (leaving_ != nullptr) leaving_->release();
      leaving_ = nullptr;
      return 0;
    case HelperLink::Outcome::answered:
      break;
  }
  if (leaving_ == nullptr) return 0;
  EvictionBuffer& buffer = *leaving_;
  leaving_ = nullptr;
  return collect(buffer, helper_.command().window >> kHugeShift, answer);
}

// Pages of the window may be shared since a fork: then it is the next again, as soon as some are
// this process's own, and as long as they get fewer.
bool Client::unshares(std::uint64_t window, std::uint32_t busy) {
  if (!shares_pages_ || (unshared_ == window && busy >= unshared_busy_)) {
    unshared_ = kNoWindow;
    return false;
  }
  unshared_ = window;
  unshared_busy_ = busy;
  if (in_queue_.insert(window).second) windows_.push_front(window);
  queued_.store(windows_.size(), std::memory_order_relaxed);
  return true;
}

// What the helper has moved into the pool is read out, and stands in the buffer from now on.
std::uint32_t Client::collect(EvictionBuffer& buffer, std::uint64_t window, const Answer& answer) {
  // What stands in the pool now; a zero page that came along is none, and need not come back.
  const Address pool = helper_.area().pool;
  std::vector<Range> arrived;
  std::array<bool, kWindowPages> moved{};
  std::vector<RemoteMemory::Piece> pieces;
  std::uint32_t count = 0;
  const bool known =
      memory_.present({pool, pool + kPoolBytes}, arrived, RemoteMemory::Count::all_there_is);
  for (const Range& run : arrived) {
    const std::uint64_t place = (run.start - pool) >> kPageShift;
    std::fill_n(moved.begin() + place, run.bytes() >> kPageShift, true);
    count += static_cast<std::uint32_t>(run.bytes() >> kPageShift);
    pieces.push_back({.from = run.start,
                      .to = buffer.content(static_cast<std::uint32_t>(place)),
                      .bytes = run.bytes()});
  }
  std::uint32_t busy = 0;
  for (std::uint32_t i = 0; i < kWindowPages; ++i) busy += is_set(answer.busy, i) ? 1 : 0;
  Counters::add(parts_.counters.busy, busy);
  for (std::uint32_t i = 0; i < kWindowPages; ++i) {
    if (!is_set(answer.strange, i)) continue;
    const Address page = (window << kHugeShift) + i * kPageSize;
    remove_range({page, page + kPageSize});  // the next look at the mappings registers it
  }
  if (answer.error == EINVAL) exact_.insert(window);
  if (answer.error != 0 || (busy > 0 && !unshares(window, busy)))
    queue_window(window);  // another time
  const int error = known ? RemoteMemory::read_out(helper_.thread(), pieces) : EFAULT;
  if (error != 0) {
    buffer.release();
    // The helper ends with the program, and not before: then nobody will miss the pages.
    if (error == ESRCH) closing_ = true;
    if (error != ESRCH && memory_.alive()) fail("what has left a program cannot be read");
    return 0;
  }
  for (std::uint32_t i = 0; i < kWindowPages; ++i) {
    if (!moved[i]) continue;
    const std::uint64_t page = window * kWindowPages + i;
    const Entry old = table_.get(page);
    buffer.slots[i] = old.has_slot() ? old.slot() : SlotIndex();
    buffer.pages[i] = page;
    table_.set(page, Entry::buffered(buffer.index(), i));
  }
  buffer.state = EvictionBuffer::State::full;
  if (count == 0) buffer.release();
  Command drop{};
  drop.kind = CommandKind::drop_pool;
  if (!helper_.send(drop)) closing_ = true;
  finish_command(kAnswerMs);
  parts_.budget.give(count);
  Counters::add(parts_.counters.pages_out, count);
  if (busy > 0 && shares_pages_ && unshared_ == window) {
    busy_ = Busy{.window = window, .pages = {}};
    std::ranges::copy(answer.busy, busy_->pages.begin());
  }
  return count;
}

// Pages that a fork has left shared cannot be moved. Written to, each is this process's own again,
// and until it leaves there is one more: so a few at a time. Not under the lock, for the write may
// itself be a fault that the pager thread serves.
void Client::unshare_busy() {
  int connection = -1;
  {
    const std::lock_guard lock(mutex_);
    if (!busy_ || !helper_.connected() || helper_.under_way()) return;
    Command command{};
    command.kind = CommandKind::unshare;
    command.window = busy_->window << kHugeShift;
    std::uint64_t room = std::max<std::uint64_t>(parts_.budget.total_pages() / 256, kUnshareLeast);
    for (std::uint32_t i = 0; i < kWindowPages && room > 0; ++i) {
      if (!is_set(busy_->pages, i)) continue;
      --room;
      Run* const last = command.runs == 0 ? nullptr : &command.run[command.runs - 1];
      if (last != nullptr && last->first + last->count == static_cast<int>(i)) {
        ++last->count;
      } else if (command.runs < kRunsMax) {
        command.run[command.runs++] = {.first = static_cast<std::uint16_t>(i), .count = 1};
      }
    }
    busy_.reset();
    for (std::uint32_t i = 0; i < command.runs; ++i) {
      const Address start = command.window + command.run[i].first * kPageSize;
      memory_.protect({start, start + command.run[i].count * kPageSize}, false);
    }
    helper_thread_.store(helper_.thread());
    unsharing_.store(true);
    if (!helper_.send(command)) closing_ = true;
    connection = helper_.connection();
  }
  pollfd answered{.fd = connection, .events = POLLIN, .revents = 0};
  ::poll(&answered, 1, kAnswerMs);
  const std::lock_guard lock(mutex_);
  if (helper_.under_way()) finish_command(0);
  unsharing_.store(false);
}

}  // namespace holdfast::run
