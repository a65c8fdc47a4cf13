#include "page/descriptor.h"

#include "base/base.h"

namespace holdfast::page {
namespace {

[[noreturn]] void fail_transition(PageState from, PageState to, std::uint64_t references) noexcept {
  char buffer[96];
  base::Text text(buffer, sizeof buffer);
  text.add("page state: ").add(name(from)).add(" -> ").add(name(to));
  base::check_failed(__FILE__, __LINE__, buffer, references & 0xffffffffU, references >> 32);
}

}  // namespace

void Page::to(PageState next) noexcept {
  std::uint32_t old = word_.load(std::memory_order_relaxed);
  std::uint32_t changed;
  do {
    const auto from = static_cast<PageState>(old & kStateMask);
    if (!is_legal(from, next)) {
      fail_transition(from, next, references_.load(std::memory_order_relaxed));
    }
    changed = (old & ~kStateMask) | static_cast<std::uint32_t>(next);
  } while (!word_.compare_exchange_weak(old, changed, std::memory_order_acq_rel,
                                        std::memory_order_relaxed));
}

bool Page::try_to(PageState from, PageState next) noexcept {
  HF_DCHECK2(is_legal(from, next), from, next);
  std::uint32_t old = word_.load(std::memory_order_relaxed);
  do {
    if (static_cast<PageState>(old & kStateMask) != from) return false;
  } while (!word_.compare_exchange_weak(old, (old & ~kStateMask) | static_cast<std::uint32_t>(next),
                                        std::memory_order_acq_rel, std::memory_order_relaxed));
  return true;
}

void Page::forget_content() noexcept {
  owner_.store(~std::uint64_t{0}, std::memory_order_relaxed);
  slot_.store(SlotIndex::kNoneValue, std::memory_order_relaxed);
}

void Page::become_free() noexcept {
  const std::uint32_t old = word_.load(std::memory_order_relaxed);
  const auto from = static_cast<PageState>(old & kStateMask);
  if (!is_legal(from, PageState::free)) {
    fail_transition(from, PageState::free, references_.load(std::memory_order_relaxed));
  }
  forget_content();
  const std::uint32_t kept = old & (15U << kOrderShift | kHomeBit);
  word_.store(kept | kNoPoolWindow << kWindowShift | static_cast<std::uint32_t>(PageState::free),
              std::memory_order_release);
}

}  // namespace holdfast::page
