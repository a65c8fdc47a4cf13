// BuddyLists: free blocks of 2^0 to 2^9 frames, naturally aligned, merged with their buddies.
//
// Who owns what: a frame on these lists belongs to the pool; the lists link the heads of blocks
// through their descriptors. Frames that nobody has had yet are on no list and have no descriptor:
// their part of the table is untouched memory, all zeroes, which reads as free and unlisted. It is
// made when the lists run out, a largest block at a time, so that a budget that is not used costs
// no memory and no time. A head on a list carries its block's order and the buddy bit; the
// other frames of the block carry neither, which is how a merge knows a free buddy from a frame
// that is free elsewhere (on a CPU's stack, deferred, reserved).
//
// Locking: everything but free_frames() needs `mutex` (rank buddy). Task context.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "page/descriptor.h"
#include "sync/sync.h"

namespace holdfast::page {

inline constexpr unsigned kMaxOrder = 9;  // 2 MiB: what one page-table page of the CPU maps

class BuddyLists {
 public:
  explicit BuddyLists(std::span<Page> pages) noexcept;

  // Makes the descriptors of all frames, for whoever wants to look at each.
  void describe_all() noexcept HF_REQUIRES(mutex);

  // The first frame of a block of 2^order, split off a larger one where needed; kNoLink: none.
  [[nodiscard]] std::uint32_t take(unsigned order) noexcept HF_REQUIRES(mutex);
  // Single frames, as many as there are up to out.size(), smallest blocks first; returns how many.
  [[nodiscard]] std::uint32_t take_singles(std::span<std::uint32_t> out) noexcept
      HF_REQUIRES(mutex);
  // Gives a block back: its frames are free, on no list, with count 0. Merges as far as it can.
  void give(std::uint32_t index, unsigned order) noexcept HF_REQUIRES(mutex);

  // Frames on the lists, or with no descriptor yet. Any context; approximate while others work.
  [[nodiscard]] std::uint64_t free_frames() const noexcept {
    return free_frames_.load(std::memory_order_relaxed);
  }

  // Calls visit(index, order) for every block on a list; false: a list is damaged or visit said
  // false.
  template <class Visit>
  [[nodiscard]] bool for_each(Visit&& visit) noexcept HF_REQUIRES(mutex) {
    for (unsigned order = 0; order <= kMaxOrder; ++order) {
      if (!lists_[order].is_valid()) return false;
      for (std::uint32_t i = lists_[order].front(); i != base::kNoLink;
           i = lists_[order].after(i)) {
        if (!pages_[i].on_buddy_list() || pages_[i].order() != order || !visit(i, order)) {
          return false;
        }
      }
    }
    return true;
  }

  sync::Mutex<sync::Rank::buddy> mutex;

 private:
  using List = base::IndexList<Page, Page::Links>;

  // Makes the descriptors of the next frames that have none, and lists those. False: all have.
  bool describe_more() noexcept HF_REQUIRES(mutex);
  // Lists a run of frames that are counted already, in the largest blocks that are aligned there.
  void give_run(std::uint32_t index, std::uint32_t end) noexcept HF_REQUIRES(mutex);
  void insert(std::uint32_t index, unsigned order) noexcept HF_REQUIRES(mutex);
  void link(std::uint32_t index, unsigned order) noexcept HF_REQUIRES(mutex);
  void extract(std::uint32_t index, unsigned order) noexcept HF_REQUIRES(mutex);
  [[nodiscard]] bool is_free_block(std::uint64_t index, unsigned order) const noexcept
      HF_REQUIRES(mutex);
  // Puts what is left of a block of 2^order at `index` back after its first `taken` frames went.
  void give_rest(std::uint32_t index, unsigned order, std::uint32_t taken) noexcept
      HF_REQUIRES(mutex);
  void add_free(std::int64_t frames) noexcept HF_REQUIRES(mutex) {
    // A plain store: only the lock's holder writes.
    free_frames_.store(free_frames() + static_cast<std::uint64_t>(frames),
                       std::memory_order_relaxed);
  }

  std::span<Page> pages_;  // constant
  std::array<List, kMaxOrder + 1> lists_ HF_GUARDED_BY(mutex);
  std::uint32_t described_ HF_GUARDED_BY(mutex) = 0;  // frames below have a descriptor
  std::atomic<std::uint64_t> free_frames_;            // written under mutex, read by anyone
};

}  // namespace holdfast::page
