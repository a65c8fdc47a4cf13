// CpuStacks: a lock-free stack of free single frames for each CPU, in front of the buddy lists.
//
// What it is for: taking and freeing a frame costs an atomic exchange on a line that this CPU owns,
// and a free is legal in any context. Which CPU the caller runs on is only a hint: any thread may
// push to and pop from any stack at any time.
//
// Refilled from the buddy lists in batches, and spilled back into them when long, by the pool in
// task context only.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "page/buddy.h"
#include "page/descriptor.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::page {

class CpuStacks {
 public:
  static constexpr std::uint32_t kCpusMax = 64;  // more CPUs than that share stacks
  // A longer stack is spilled: 4 MiB a CPU, two batches of reclaim's windows of 512.
  static constexpr std::uint32_t kLong = 1024;

  CpuStacks(sys::Machine& machine, std::span<Page> pages) noexcept;

  // --- any context, lock-free ---
  void push(std::uint32_t index) noexcept { mine().push(pages_, index); }
  void push(std::span<const std::uint32_t> frames) noexcept;
  [[nodiscard]] std::uint64_t size() const noexcept;

  // --- task context ---
  // Frames from this CPU's stack, up to out.size(); returns how many.
  [[nodiscard]] std::uint32_t pop(std::span<std::uint32_t> out) noexcept;
  // The same from the other CPUs' stacks.
  [[nodiscard]] std::uint32_t steal(std::span<std::uint32_t> out) noexcept;
  // Moves the stacks that are longer than `longest` into the buddy lists, whole.
  void spill(BuddyLists& buddy, std::uint32_t longest) noexcept HF_EXCLUDES(buddy.mutex);
  [[nodiscard]] bool has_longer_than(std::uint32_t longest) const noexcept;

  // Calls visit(index) for every frame; nothing may be in flight. False: visit said false.
  template <class Visit>
  [[nodiscard]] bool for_each(Visit&& visit) noexcept {
    for (std::uint32_t cpu = 0; cpu < cpus_; ++cpu) {
      std::uint64_t seen = 0;
      for (std::uint32_t i = stacks_[cpu].stack.front(); i != base::kNoLink; ++seen) {
        if (seen >= pages_.size() || !visit(i)) return false;
        i = Page::Links::next(pages_[i]).load(std::memory_order_relaxed);
      }
      if (seen != stacks_[cpu].stack.size()) return false;
    }
    return true;
  }

 private:
  using Stack = sync::IndexStack<Page, Page::Links>;
  struct alignas(64) Line {  // a cache line of its own: CPUs must not disturb each other
    Stack stack;
  };

  [[nodiscard]] std::uint32_t cpu() noexcept { return machine_.current_cpu() % cpus_; }
  [[nodiscard]] Stack& mine() noexcept { return stacks_[cpu()].stack; }
  static std::uint32_t pop_from(Stack& stack, std::span<Page> pages,
                                std::span<std::uint32_t> out) noexcept;

  sys::Machine& machine_;
  std::span<Page> pages_;
  std::uint32_t cpus_;
  std::array<Line, kCpusMax> stacks_;
};

}  // namespace holdfast::page
