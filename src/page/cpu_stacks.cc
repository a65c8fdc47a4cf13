#include "page/cpu_stacks.h"

#include <algorithm>

namespace holdfast::page {

CpuStacks::CpuStacks(sys::Machine& machine, std::span<Page> pages) noexcept
    : machine_(machine), pages_(pages), cpus_(std::clamp(machine.cpu_count(), 1U, kCpusMax)) {}

void CpuStacks::push(std::span<const std::uint32_t> frames) noexcept {
  if (frames.empty()) return;
  for (std::size_t i = 0; i + 1 < frames.size(); ++i) {
    Page::Links::next(pages_[frames[i]]).store(frames[i + 1], std::memory_order_relaxed);
  }
  mine().push_chain(pages_, frames.front(), frames.back(),
                    static_cast<std::uint32_t>(frames.size()));
}

std::uint64_t CpuStacks::size() const noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t i = 0; i < cpus_; ++i) sum += stacks_[i].stack.size();
  return sum;
}

std::uint32_t CpuStacks::pop(std::span<std::uint32_t> out) noexcept {
  return pop_from(mine(), pages_, out);
}

std::uint32_t CpuStacks::steal(std::span<std::uint32_t> out) noexcept {
  const std::uint32_t own = cpu();
  std::uint32_t got = 0;
  // Own last: it was empty a moment ago, but a signal handler may have freed into it since.
  for (std::uint32_t i = 1; i <= cpus_ && got < out.size(); ++i) {
    got += pop_from(stacks_[(own + i) % cpus_].stack, pages_, out.subspan(got));
  }
  return got;
}

std::uint32_t CpuStacks::pop_from(Stack& stack, std::span<Page> pages,
                                  std::span<std::uint32_t> out) noexcept {
  std::uint32_t got = 0;
  while (got < out.size()) {
    const std::uint32_t index = stack.pop(pages);
    if (index == base::kNoLink) break;
    out[got++] = index;
  }
  return got;
}

bool CpuStacks::has_longer_than(std::uint32_t longest) const noexcept {
  return std::any_of(stacks_.begin(), stacks_.begin() + cpus_,
                     [&](const Line& line) { return line.stack.size() > longest; });
}

void CpuStacks::spill(BuddyLists& buddy, std::uint32_t longest) noexcept {
  for (std::uint32_t cpu = 0; cpu < cpus_; ++cpu) {
    Stack& stack = stacks_[cpu].stack;
    if (longest == 0 ? stack.empty() : stack.size() <= longest) continue;
    // Taken under the lock: who finds the stack empty meanwhile asks the buddy lists next, and gets
    // there only when the frames have arrived.
    sync::MutexGuard guard(buddy.mutex);
    std::uint32_t moved = 0;
    for (std::uint32_t i = stack.take_all(); i != base::kNoLink; ++moved) {
      const std::uint32_t next =
          Page::Links::next(pages_[i]).exchange(base::kNoLink, std::memory_order_relaxed);
      buddy.give(i, 0);
      i = next;
    }
    stack.note_taken(moved);
  }
}

}  // namespace holdfast::page
