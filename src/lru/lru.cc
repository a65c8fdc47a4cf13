#include "lru/lru.h"

#include <ranges>

namespace holdfast::lru {

using page::Holder;
using page::LruList;
using page::Page;

Lru::Lru(page::FramePool& pool) noexcept
    : pool_(pool), active_(pool.pages()), inactive_(pool.pages()) {}

void Lru::add(Page& page) noexcept {
  HF_DCHECK2(page.lru_list() == LruList::none, pool_.index_of(page).value, page.lru_list());
  HF_DCHECK2(page.count() >= 1, pool_.index_of(page).value, page.count());
  page.set_lru_list(LruList::pending);
  intake_.push(pool_.pages(), pool_.index_of(page).value);
}

void Lru::add_inactive(std::span<const FrameIndex> frames) noexcept {
  sync::MutexGuard guard(mutex_);
  for (const FrameIndex frame : frames) {
    Page& page = pool_.page(frame);
    HF_DCHECK2(page.lru_list() == LruList::none, frame.value, page.lru_list());
    inactive_.push_back(frame.value);
    page.set_lru_list(LruList::inactive);
  }
}

FrameIndex Lru::oldest_active() noexcept {
  sync::MutexGuard guard(mutex_);
  absorb();
  return active_.empty() ? FrameIndex::none() : FrameIndex(active_.front());
}

void Lru::rotate_active(FrameIndex frame) noexcept {
  sync::MutexGuard guard(mutex_);
  // Pending pages are the youngest already; an inactive one is not ours to touch.
  if (pool_.page(frame).lru_list() != LruList::active) return;
  absorb();
  active_.remove(frame.value);
  active_.push_back(frame.value);
}

void Lru::rotate_inactive(std::span<const FrameIndex> frames) noexcept {
  sync::MutexGuard guard(mutex_);
  for (const FrameIndex frame : frames) {
    if (pool_.page(frame).lru_list() != LruList::inactive) continue;
    inactive_.remove(frame.value);
    inactive_.push_back(frame.value);
  }
}

std::uint32_t Lru::oldest_inactive(std::span<FrameIndex> out) noexcept {
  sync::MutexGuard guard(mutex_);
  std::uint32_t found = 0;
  for (std::uint32_t i = inactive_.front(); i != base::kNoLink && found < out.size();
       i = inactive_.after(i)) {
    // The law: what is on a list has the VM's reference, so it cannot be free.
    pool_.get(pool_.page(FrameIndex(i)), Holder::caller);
    out[found++] = FrameIndex(i);
  }
  return found;
}

void Lru::deactivate(std::span<const FrameIndex> frames) noexcept {
  sync::MutexGuard guard(mutex_);
  absorb();
  for (const FrameIndex frame : frames) {
    Page& page = pool_.page(frame);
    if (page.lru_list() != LruList::active) continue;
    active_.remove(frame.value);
    inactive_.push_back(frame.value);
    page.set_lru_list(LruList::inactive);
  }
}

void Lru::activate(FrameIndex frame) noexcept {
  sync::MutexGuard guard(mutex_);
  Page& page = pool_.page(frame);
  if (page.lru_list() != LruList::inactive) return;
  absorb();
  inactive_.remove(frame.value);
  active_.push_back(frame.value);
  page.set_lru_list(LruList::active);
}

void Lru::deactivate_first(std::span<const FrameIndex> frames) noexcept {
  sync::MutexGuard guard(mutex_);
  absorb();
  // Backwards, so that they are scanned in the order in which they were given.
  for (const FrameIndex frame : std::views::reverse(frames)) {
    if (!unlink(frame.value)) continue;
    inactive_.push_front(frame.value);
    pool_.page(frame).set_lru_list(LruList::inactive);
  }
}

void Lru::remove(std::span<const FrameIndex> frames) noexcept {
  sync::MutexGuard guard(mutex_);
  absorb();
  for (const FrameIndex frame : frames) {
    const bool was_linked = unlink(frame.value);
    HF_CHECK2(was_linked, frame.value, pool_.page(frame).lru_list());
    pool_.page(frame).set_lru_list(LruList::none);
  }
}

LruCounts Lru::counts() noexcept {
  sync::MutexGuard guard(mutex_);
  return {.active = active_.size(), .inactive = inactive_.size(), .pending = intake_.size()};
}

bool Lru::unlink(std::uint32_t index) noexcept {
  switch (pool_.page(FrameIndex(index)).lru_list()) {
    case LruList::active:
      active_.remove(index);
      return true;
    case LruList::inactive:
      inactive_.remove(index);
      return true;
    case LruList::pending:  // pushed by somebody after absorb(): nobody knows the page but him
    case LruList::none:
      return false;
  }
  return false;
}

void Lru::absorb() noexcept {
  const std::span<Page> pages = pool_.pages();
  // The stack gives the youngest first; turn the chain round before linking it. The chain is ours
  // alone: links are loaded and stored, as exchanges would cost more than all the rest.
  std::uint32_t oldest = base::kNoLink;
  std::uint32_t count = 0;
  for (std::uint32_t i = intake_.take_all(); i != base::kNoLink; ++count) {
    std::atomic<std::uint32_t>& link = Page::Links::next(pages[i]);
    const std::uint32_t next = link.load(std::memory_order_relaxed);
    link.store(oldest, std::memory_order_relaxed);
    oldest = i;
    i = next;
  }
  for (std::uint32_t i = oldest; i != base::kNoLink;) {
    std::atomic<std::uint32_t>& link = Page::Links::next(pages[i]);
    const std::uint32_t next = link.load(std::memory_order_relaxed);
    link.store(base::kNoLink, std::memory_order_relaxed);
    HF_DCHECK2(pages[i].lru_list() == LruList::pending, i, pages[i].lru_list());
    active_.push_back(i);
    pages[i].set_lru_list(LruList::active);
    i = next;
  }
  intake_.note_taken(count);
}

// How many pages carry the flag and are on the list; ~0 if the two disagree.
std::uint64_t Lru::check_list(const List& list, LruList flag) noexcept {
  constexpr std::uint64_t kDamaged = ~std::uint64_t{0};
  if (!list.is_valid()) return kDamaged;
  for (std::uint32_t i = list.front(); i != base::kNoLink; i = list.after(i)) {
    const Page& page = pool_.page(FrameIndex(i));
    if (page.lru_list() != flag || page.count() == 0) return kDamaged;
  }
  return list.size();
}

bool Lru::check() noexcept {
  sync::MutexGuard guard(mutex_);
  absorb();
  const std::uint64_t active = check_list(active_, LruList::active);
  const std::uint64_t inactive = check_list(inactive_, LruList::inactive);
  std::uint64_t flagged_active = 0;
  std::uint64_t flagged_inactive = 0;
  for (const Page& page : pool_.pages()) {
    if (page.lru_list() == LruList::pending) return false;
    flagged_active += page.lru_list() == LruList::active ? 1 : 0;
    flagged_inactive += page.lru_list() == LruList::inactive ? 1 : 0;
  }
  return active == flagged_active && inactive == flagged_inactive && intake_.size() == 0;
}

}  // namespace holdfast::lru
