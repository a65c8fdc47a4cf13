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
  // Lock-free; task context.
  void add(page::Page& page) noexcept;

  // The oldest active page, or none. It stays on the list. Lock-free callers beware: by the time
  // the caller looks, the page may have left; its state and owner tell.
  [[nodiscard]] FrameIndex oldest_active() noexcept;
  // The oldest active page becomes the youngest (it is to be spared).
  void rotate_active(FrameIndex frame) noexcept;
  // The oldest inactive pages, up to out.size(), oldest first; they stay on the list, and each of
  // them gets a reference of kind caller, which whoever asked puts. Returns how many.
  [[nodiscard]] std::uint32_t oldest_inactive(std::span<FrameIndex> out) noexcept;

  // Active (or pending) pages become inactive, youngest last. Pages on no list are skipped.
  void deactivate(std::span<const FrameIndex> frames) noexcept;
  // An inactive page becomes active again (a rescue).
  void activate(FrameIndex frame) noexcept;
  // Pages become the next that the inactive scan sees (orphans: nothing but a put is left to do).
  void deactivate_first(std::span<const FrameIndex> frames) noexcept;
  // Takes pages off their lists; the caller then drops the VM's reference of each.
  void remove(std::span<const FrameIndex> frames) noexcept;

  [[nodiscard]] LruCounts counts() noexcept;
  // Proves links, flags and counts consistent, and that every linked page has count >= 1.
  [[nodiscard]] bool check() noexcept;
};

}  // namespace holdfast::lru
