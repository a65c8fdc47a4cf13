// A page's owner has the only reference: Linux 2.4, (a) with its special case for interrupts and
// (b) with an LRU lock that is safe against interrupts. docs/ownership.md tells the story,
// tests/models proves both right.
//
// The count may come to 0 while the page is on the LRU, so who drops the last reference takes it
// off, under the lock; and who scans must look whether a page of the list is anybody's at all.
//
// Pages, free lists and links are the engine's own (page::FramePool, base::IndexList). The count
// stands beside the pool's, which knows no page that is free and on a list: a free pays one atomic
// subtraction more for that, a few nanoseconds in disfavour of these two.
#pragma once

#include <atomic>
#include <span>
#include <vector>

#include "base/base.h"
#include "freeing/guards.h"
#include "page/page.h"

namespace holdfast::bench {

template <class Guard>
class OneReference {
 public:
  explicit OneReference(page::FramePool& pool)
      : pool_(pool), holds_(pool.pages().size()), active_(pool.pages()), inactive_(pool.pages()) {}

  // A page of the owner's, on no list; null: the pool has none left.
  page::Page* allocate() noexcept {
    const sync::EngineScope scope;  // an interrupt may come while the pool's lists are locked
    page::Reservation reservation = pool_.reserve(1, page::Priority::normal);
    if (reservation.size() == 0) return nullptr;
    page::Page& page = reservation.take(page::Holder::caller);
    holds_[index_of(page)].count.store(1, std::memory_order_relaxed);
    return &page;
  }

  // lru_cache_add()
  void add(page::Page& page) noexcept {
    Guard guard(lru_);
    active_.push_back(index_of(page));
    page.set_lru_list(page::LruList::active);
  }

  // __free_pages(): any holder, any context.
  void put(page::Page& page) noexcept {
    if (holds_[index_of(page)].count.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (page.lru_list() != page::LruList::none) {
      if (sync::in_interrupt()) {  // the lock may be the interrupted code's: left for later
        deferred_.push(holds_, index_of(page));
        return;
      }
      unlink(page);
    }
    pool_.put(page, page::Holder::caller);
  }

  // Pages that have been active for a while grow old; those that were freed meanwhile are skipped.
  void age(std::span<const FrameIndex> frames) noexcept {
    Guard guard(lru_);
    for (const FrameIndex frame : frames) {
      page::Page& page = pool_.page(frame);
      if (page.lru_list() != page::LruList::active) continue;
      active_.remove(frame.value);
      inactive_.push_back(frame.value);
      page.set_lru_list(page::LruList::inactive);
    }
  }

  // shrink_cache(): looks at the oldest pages, which become the youngest. Nothing is freed here but
  // what interrupts left behind.
  void scan(std::uint32_t looks) noexcept {
    {
      Guard guard(lru_);
      for (; looks > 0 && !inactive_.empty(); --looks) {
        const std::uint32_t index = inactive_.front();
        inactive_.remove(index);
        inactive_.push_back(index);
        // "Zero page counts can happen because we unlink the pages _after_ decrementing the usage
        // count": the other side of the special case.
        if (holds_[index].count.load(std::memory_order_acquire) == 0) ++skipped_;
      }
    }
    if (!deferred_.empty()) free_deferred();
  }

  // How many pages are on the lists.
  [[nodiscard]] std::uint64_t listed() noexcept {
    Guard guard(lru_);
    return active_.size() + inactive_.size();
  }
  // How many frees interrupts have left for later so far.
  [[nodiscard]] std::uint64_t put_off() const noexcept { return put_off_; }

 private:
  using List = base::IndexList<page::Page, page::Page::Links>;
  struct Hold {
    std::atomic<std::uint32_t> count{0};
    std::atomic<std::uint32_t> next{base::kNoLink};  // of those that interrupts left for later
  };
  struct HoldLinks {
    static std::atomic<std::uint32_t>& next(Hold& hold) noexcept { return hold.next; }
  };

  [[nodiscard]] std::uint32_t index_of(const page::Page& page) const noexcept {
    return pool_.index_of(page).value;
  }

  void unlink(page::Page& page) noexcept {
    Guard guard(lru_);
    List& list = page.lru_list() == page::LruList::active ? active_ : inactive_;
    list.remove(index_of(page));
    page.set_lru_list(page::LruList::none);
  }

  void free_deferred() noexcept {
    std::uint32_t taken = 0;
    for (std::uint32_t i = deferred_.take_all(); i != base::kNoLink; ++taken) {
      const std::uint32_t next = holds_[i].next.exchange(base::kNoLink, std::memory_order_relaxed);
      page::Page& page = pool_.page(FrameIndex(i));
      unlink(page);
      pool_.put(page, page::Holder::caller);
      i = next;
    }
    deferred_.note_taken(taken);
    put_off_ += taken;
  }

  page::FramePool& pool_;
  std::vector<Hold> holds_;  // one a frame
  sync::IndexStack<Hold, HoldLinks> deferred_;
  std::uint64_t skipped_ = 0;
  std::uint64_t put_off_ = 0;
  LruMutex lru_;
  List active_ HF_GUARDED_BY(lru_);
  List inactive_ HF_GUARDED_BY(lru_);
};

using Linux24Lru = OneReference<TaskGuard>;     // (a)
using IrqSafeLru = OneReference<IrqSaveGuard>;  // (b)

}  // namespace holdfast::bench
