// Blocks: frames whose memory stands at the pool's own address. Their allocation, and what drain()
// does with their memory after they were freed.
#include <cstring>

#include "page/frame_pool.h"

namespace holdfast::page {
namespace {

constexpr std::uint32_t frames_of(unsigned order) noexcept { return 1U << order; }

}  // namespace

Expected<Page*> FramePool::allocate_block(unsigned order, Priority priority,
                                          Holder holder) noexcept {
  if (order > kMaxOrder) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "allocate pages",
                 .what = "order",
                 .value = order,
                 .limit = kMaxOrder});
  }
  const bool allowed = allowance_or_drain(frames_of(order), priority) == frames_of(order);
  const std::uint32_t index = allowed ? take_block(order) : base::kNoLink;
  if (index == base::kNoLink) {
    raise_pressure();
    return fail({.code = Errc::out_of_memory,
                 .doing = "allocate pages",
                 .what = "free frames",
                 .value = free_count(),
                 .limit = frames_of(order)});
  }
  clear_home_memory(index, order);
  Page& head = pages_[index];
  head.set_order(order);
  head.set_home_memory(true);
  head.start_held();
  holders_.take(FrameIndex(index), holder);
  return &head;
}

std::uint32_t FramePool::take_block(unsigned order) noexcept {
  {
    sync::MutexGuard guard(buddy_.mutex);
    const std::uint32_t index = buddy_.take(order);
    if (index != base::kNoLink) return index;
  }
  // What is missing may lie in pieces on the stacks, or wait to be drained: give the merge a
  // chance.
  drain();
  stacks_.spill(buddy_, 0);
  sync::MutexGuard guard(buddy_.mutex);
  return buddy_.take(order);
}

Address FramePool::address_of(const Page& head) const noexcept {
  return home_ + PageCount(index_of(head).value).bytes();
}

std::uint64_t FramePool::drain() noexcept {
  std::uint64_t freed = 0;
  const std::uint32_t chain = drop_memory(deferred_.take_all());
  if (chain != base::kNoLink) {
    sync::MutexGuard guard(buddy_.mutex);
    for (std::uint32_t i = chain; i != base::kNoLink;) {
      const unsigned order = pages_[i].order();
      const std::uint32_t next =
          Page::Links::next(pages_[i]).exchange(base::kNoLink, std::memory_order_relaxed);
      pages_[i].set_order(0);
      buddy_.give(i, order);
      freed += frames_of(order);
      i = next;
    }
  }
  deferred_frames_.fetch_sub(freed, std::memory_order_relaxed);
  if (stacks_.has_longer_than(CpuStacks::kLong)) stacks_.spill(buddy_, CpuStacks::kLong);
  return freed;
}

std::uint32_t FramePool::drop_memory(std::uint32_t chain) noexcept {
  std::uint32_t dropped = base::kNoLink;
  std::uint32_t taken = 0;
  while (chain != base::kNoLink) {
    const std::uint32_t index = chain;
    Page& head = pages_[index];
    chain = Page::Links::next(head).exchange(base::kNoLink, std::memory_order_relaxed);
    ++taken;
    if (drop_home_memory(index, head.order())) {
      head.set_home_memory(false);
      Page::Links::next(head).store(dropped, std::memory_order_relaxed);
      dropped = index;
    } else {
      deferred_.push(pages_, index);
    }
  }
  deferred_.note_taken(taken);
  return dropped;
}

#if defined(HOLDFAST_DEBUG)

// What the memory of a freed block reads as until it is allocated again.
// Debug builds keep it and poison it, so that a store through a stale pointer is found out.
constexpr std::uint64_t kPoison = 0xa5a5a5a5a5a5a5a5U;

bool FramePool::drop_home_memory(std::uint32_t index, unsigned order) noexcept {
  for (std::uint32_t i = index; i < index + frames_of(order); ++i) {
    base::fill_page(machine_.view(address_of(pages_[i])), kPoison);
  }
  return true;
}

void FramePool::clear_home_memory(std::uint32_t index, unsigned order) noexcept {
  for (std::uint32_t i = index; i < index + frames_of(order); ++i) {
    std::byte* const memory = machine_.view(address_of(pages_[i]));
    const auto word = base::repeated_word(memory);
    // Never used as a block, or poisoned when it was freed; anything else was stored afterwards.
    HF_CHECK2(word == std::uint64_t{0} || word == kPoison, address_of(pages_[i]), i);
    if (word != std::uint64_t{0}) std::memset(memory, 0, kPageSize);
  }
}

#else

bool FramePool::drop_home_memory(std::uint32_t index, unsigned order) noexcept {
  return machine_.discard(address_of(pages_[index]), PageCount(frames_of(order)).bytes()) == 0;
}

// Memory that was dropped reads as zeros.
void FramePool::clear_home_memory(std::uint32_t, unsigned) noexcept {}

#endif

}  // namespace holdfast::page
