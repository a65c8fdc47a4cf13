// Facade of lru/: the active and inactive lists.
//
// What it is for: the order in which pages are looked at by reclaim. A page on a list is known to
// the VM, which holds exactly one reference for that (DESIGN.md section 1): whoever adds a page has
// taken that reference (Holder::vm) before, whoever removes one drops it afterwards. The lists link
// pages and never look at content or mappings.
//
//   active    resident pages, in the order in which they came in (first in, first scanned)
//   inactive  cached and orphaned pages, in the order in which they were unmapped; orphans first
//
// Adding is lock-free (an intake stack, drained under the lock by whoever needs the lists), so that
// a fault pays one atomic exchange. Everything else takes the LRU's lock (rank lru), for a batch.
#pragma once

#include <cstdint>
#include <span>

#include "base/base.h"
#include "page/page.h"
#include "sync/sync.h"

namespace holdfast::lru {

struct LruCounts {
  std::uint64_t active = 0;
  std::uint64_t inactive = 0;
  std::uint64_t pending = 0;  // added, not yet linked
  friend bool operator==(const LruCounts&, const LruCounts&) = default;
};

class Lru {
 public:
  explicit Lru(page::FramePool& pool) noexcept;
  Lru(const Lru&) = delete;
  Lru& operator=(const Lru&) = delete;

  // The page becomes active. It is on no list, and the caller has taken the VM's reference for it.
  // Done before others can find the page (its entry is still locked): who deactivates or removes a
  // page must find it here. Lock-free; task context.
  void add(page::Page& page) noexcept;

  // The same for pages that nobody maps: they become inactive, the youngest. Task context.
  void add_inactive(std::span<const FrameIndex> frames) noexcept;

  // The oldest active page, or none. It stays on the list. Lock-free callers beware: by the time
  // the caller looks, the page may have left; its state and owner tell.
  [[nodiscard]] FrameIndex oldest_active() noexcept;
  // The oldest active page becomes the youngest (it is to be spared).
  void rotate_active(FrameIndex frame) noexcept;
  // Inactive pages become the youngest of the inactive (they could not leave now). Others are
  // skipped.
  void rotate_inactive(std::span<const FrameIndex> frames) noexcept;
  // The oldest inactive pages, up to out.size(), oldest first; they stay on the list, and each of
  // them gets a reference of kind caller, which whoever asked puts. Returns how many.
  [[nodiscard]] std::uint32_t oldest_inactive(std::span<FrameIndex> out) noexcept;

  // Active (or pending) pages become inactive, youngest last. Pages on no list are skipped. A page
  // that was rescued between its unmapping and this call ends up inactive though it is resident:
  // the scan finds it by its state and calls activate().
  void deactivate(std::span<const FrameIndex> frames) noexcept;
  // An inactive page becomes active again (a rescue), the youngest; other pages stay as they are.
  void activate(FrameIndex frame) noexcept;
  // Pages become the next that the inactive scan sees (orphans: nothing but a put is left to do).
  void deactivate_first(std::span<const FrameIndex> frames) noexcept;
  // Takes pages off their lists; the caller then drops the VM's reference of each. A page that is
  // on no list has no such reference: that aborts.
  void remove(std::span<const FrameIndex> frames) noexcept;

  [[nodiscard]] LruCounts counts() noexcept;
  // Proves links, flags and counts consistent, and that every linked page has count >= 1.
  [[nodiscard]] bool check() noexcept;

 private:
  using List = base::IndexList<page::Page, page::Page::Links>;
  using Intake = sync::IndexStack<page::Page, page::Page::Links>;

  // Links what is pending, oldest first, as the youngest of the active list.
  void absorb() noexcept HF_REQUIRES(mutex_);
  // Takes a linked page off its list. False: it is on none.
  bool unlink(std::uint32_t index) noexcept HF_REQUIRES(mutex_);
  [[nodiscard]] std::uint64_t check_list(const List& list, page::LruList flag) noexcept
      HF_REQUIRES(mutex_);

  page::FramePool& pool_;  // constant
  Intake intake_;          // lock-free; pages whose flag is pending
  sync::Mutex<sync::Rank::lru> mutex_;
  List active_ HF_GUARDED_BY(mutex_);    // front: the oldest
  List inactive_ HF_GUARDED_BY(mutex_);  // front: the next to be scanned
};

}  // namespace holdfast::lru
