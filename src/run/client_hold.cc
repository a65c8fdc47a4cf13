// How a program is held: what it has is write-protected, and writes to it wait.
#include <algorithm>
#include <cerrno>

#include "run/client.h"

namespace holdfast::run {

void Client::hold() {
  const std::lock_guard lock(mutex_);
  if (closing_ || !managing_ || !helper_.connected() || (held_.load() && holds_all_)) return;
  held_.store(true);
  holds_all_ = protect_all(true);
}

void Client::release() {
  if (!held_.load() && !still_protected_.load()) return;
  {
    const std::lock_guard lock(mutex_);
    held_.store(false);
    still_protected_.store(!protect_all(false));
  }
  kick();
}

// All that is managed and the main stack. When it is to be protected, but for the pages where the
// kernel notes that a thread has ended: it waits for nobody there.
std::vector<Range> Client::protectable(bool on) const {
  std::vector<Address> except;
  if (on) {
    except = thread_pages(pid());
    for (const std::uint64_t page : stack_tops_) except.push_back(page << kPageShift);
    std::ranges::sort(except);
  }
  std::vector<Range> parts;
  const auto add = [&](Range range) {
    for (auto at = std::ranges::lower_bound(except, range.start);
         at != except.end() && *at < range.end; ++at) {
      if (range.start < *at) parts.push_back({range.start, *at});
      range.start = std::max(range.start, *at + kPageSize);
    }
    if (range.start < range.end) parts.push_back(range);
  };
  for (const auto& [start, end] : ranges_) add({start, end});
  if (main_stack_.bytes() > 0) add(main_stack_);
  return parts;
}

// False: an event is to be read first, and it is not done. Another time then; meanwhile less is
// held, or writes are let through one by one.
bool Client::protect_all(bool on) {
  bool all = true;
  for (const Range& part : protectable(on)) all = memory_.protect(part, on) != EAGAIN && all;
  return all;
}

void Client::serve_writes() {
  std::size_t left = writes_.size();
  while (left-- > 0) {
    Fault fault = writes_.front();
    writes_.pop_front();
    if (serve_write(fault)) {
      if (fault.since_ns != 0) {
        Counters::add(parts_.counters.wait_ns, parts_.machine.now_ns() - fault.since_ns);
      }
      continue;
    }
    if (fault.since_ns == 0) {
      fault.since_ns = parts_.machine.now_ns();
      Counters::add(parts_.counters.waits);
    }
    writes_.push_back(fault);
  }
}

// False: it has to wait. The helper never does, for it is what makes room.
bool Client::serve_write(const Fault& fault) {
  const std::lock_guard lock(mutex_);
  const bool is_helpers = fault.thread == helper_.thread();
  if ((held_.load() && !is_helpers) || helper_.holds_events()) return false;
  const std::uint64_t window = fault.page >> kHugeShift << kHugeShift;
  Range range{fault.page, fault.page + kPageSize};
  // As much of the window as is one managed range: the next writes are not far.
  const auto next = ranges_.upper_bound(fault.page);
  if (next != ranges_.begin() && std::prev(next)->second > fault.page && !is_helpers) {
    range.start = std::max(window, std::prev(next)->first);
    range.end = std::min(window + kHugeSize, std::prev(next)->second);
  }
  int error = memory_.protect(range, false);
  if (error == ENOENT) error = memory_.protect({fault.page, fault.page + kPageSize}, false);
  if (error == EAGAIN) {
    drain();
    return false;
  }
  if (error != 0) memory_.wake(fault.page);  // the thread looks again, and the kernel tells it
  return true;
}

}  // namespace holdfast::run
