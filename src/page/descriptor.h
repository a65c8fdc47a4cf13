// The page frame's descriptor: 32 bytes a frame.
//
// The ownership rule (DESIGN.md section 1): whoever holds a page holds a reference of its own, the
// VM included. count 0 means free, and only free: a page on an LRU list or in a cache has count
// >= 1.
//
// Which word who may touch:
//   references_  anyone, atomically. Low 32 bits: count. High 32 bits: pins, each of them counted
//                in count too. One word, so that "who holds it" is one load.
//   next_, prev_ the list that the page is on: the free stacks while count is 0 (next_ only), the
//                LRU under its lock afterwards.
//   owner_       which entry maps or caches it: RegionId << 48 | PageIndex; ~0: none. Written under
//                that entry's lock; read by reclaim, which then locks the entry and looks again.
//   slot_        the swap slot that holds the same content as of the last write-out, of which the
//                page holds a count; or the version (swap.h) that is its content for others as
//                well, which holds a reference of the page; none: neither. Under the entry's lock;
//                the version is taken away by whoever drops its last holder, without it.
//   word_        state, order, flags and pool window; see the masks. State changes are checked
//                against page_state.h.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "page/page_state.h"

namespace holdfast::page {

// Which LRU list a page is on. The flag is written under the LRU's lock, except `pending`, set by
// whoever pushes it on the LRU's lock-free intake.
enum class LruList : std::uint8_t { none, pending, active, inactive };

struct Owner {
  RegionId region;
  PageIndex index;
  [[nodiscard]] bool is_none() const noexcept { return region.is_none(); }
  friend bool operator==(const Owner&, const Owner&) = default;
};

class Page {
 public:
  static constexpr std::uint32_t kNoPoolWindow = (1U << 20) - 1;

  [[nodiscard]] std::uint32_t count() const noexcept {
    return static_cast<std::uint32_t>(references_.load(std::memory_order_acquire));
  }
  [[nodiscard]] std::uint32_t pins() const noexcept {
    // seq_cst: pairs with try_pin(); whoever locks an entry and then looks at pins sees the pin, or
    // the pinner sees the lock.
    return static_cast<std::uint32_t>(references_.load(std::memory_order_seq_cst) >> 32);
  }
  // Adds a reference; the caller already has one, or a lock under which one is held. Any context.
  // Callers use the pool's get, try_get and try_pin: they record the holder as well.
  void get() noexcept {
    const std::uint64_t old = references_.fetch_add(1, std::memory_order_relaxed);
    HF_DCHECK2(static_cast<std::uint32_t>(old) != 0, old, 0);
  }
  // Adds a reference and a pin unless the page is free (the caller may have found it without a
  // lock and must look again afterwards). False: it is free. Any context.
  [[nodiscard]] bool try_pin() noexcept { return try_add(kOnePin + 1); }
  [[nodiscard]] bool try_get() noexcept { return try_add(1); }

  [[nodiscard]] PageState state() const noexcept {
    return static_cast<PageState>(word_.load(std::memory_order_acquire) & kStateMask);
  }
  // Changes the state; a transition that page_state.h does not draw aborts in every build.
  void to(PageState next) noexcept;
  // Changes the state if it is `from`; of several who try, one succeeds.
  [[nodiscard]] bool try_to(PageState from, PageState next) noexcept;

  [[nodiscard]] LruList lru_list() const noexcept {
    return static_cast<LruList>((word_.load(std::memory_order_relaxed) >> kLruShift) & 3U);
  }
  void set_lru_list(LruList list) noexcept {
    replace(3U << kLruShift, static_cast<std::uint32_t>(list) << kLruShift);
  }
  // Order of the block that this page heads (allocate_block), 0 to 9.
  [[nodiscard]] unsigned order() const noexcept {
    return (word_.load(std::memory_order_relaxed) >> kOrderShift) & 15U;
  }
  void set_order(unsigned order) noexcept { replace(15U << kOrderShift, order << kOrderShift); }
  // Pool window where its memory stands while cached, written back or warm.
  [[nodiscard]] std::uint32_t pool_window() const noexcept {
    return word_.load(std::memory_order_relaxed) >> kWindowShift;
  }
  void set_pool_window(std::uint32_t window) noexcept {
    replace(~0U << kWindowShift, window << kWindowShift);
  }
  // True while memory stands at the frame's home address (allocate_block): the frame cannot be
  // reused before that memory is dropped.
  [[nodiscard]] bool has_home_memory() const noexcept {
    return (word_.load(std::memory_order_relaxed) & kHomeBit) != 0;
  }
  void set_home_memory(bool on) noexcept { replace(kHomeBit, on ? kHomeBit : 0); }

  [[nodiscard]] Owner owner() const noexcept {
    return unpack(owner_.load(std::memory_order_acquire));
  }
  // Takes the owner away; whoever gets it (not none) is the one who frees the page. Any context.
  [[nodiscard]] Owner take_owner() noexcept {
    return unpack(owner_.exchange(~std::uint64_t{0}, std::memory_order_acq_rel));
  }
  void set_owner(Owner owner) noexcept {
    owner_.store(owner.is_none() ? ~std::uint64_t{0}
                                 : std::uint64_t{owner.region.value} << 48 | owner.index.value,
                 std::memory_order_release);
  }
  // The slot that the page keeps, counted; none: it keeps none.
  [[nodiscard]] SlotIndex slot() const noexcept {
    const std::uint32_t raw = slot_.load(std::memory_order_acquire);
    return (raw & kVersionBit) != 0 ? SlotIndex::none() : SlotIndex(raw);
  }
  void set_slot(SlotIndex slot) noexcept { slot_.store(slot.value, std::memory_order_release); }
  // The version whose content stands in this frame: it is shared copy-on-write as long as the
  // version agrees (Swap::frame_of). Not counted: the version holds the page, not the reverse.
  [[nodiscard]] SlotIndex version() const noexcept {
    const std::uint32_t raw = slot_.load(std::memory_order_acquire);
    if ((raw & kVersionBit) == 0 || raw == SlotIndex::kNoneValue) return SlotIndex::none();
    return SlotIndex(raw & ~kVersionBit);
  }
  void set_version(SlotIndex version) noexcept {
    HF_DCHECK((version.value & kVersionBit) == 0);
    slot_.store(version.value | kVersionBit, std::memory_order_release);
  }
  // Forgets the version, if it is still this one. Any context.
  void clear_version(SlotIndex version) noexcept {
    std::uint32_t expected = version.value | kVersionBit;
    (void)slot_.compare_exchange_strong(expected, SlotIndex::kNoneValue, std::memory_order_acq_rel);
  }

  // Links of the lists that go through descriptors.
  struct Links {
    static std::atomic<std::uint32_t>& next(Page& page) noexcept { return page.next_; }
    static std::atomic<std::uint32_t>& prev(Page& page) noexcept { return page.prev_; }
  };

 private:
  friend class FramePool;
  friend class BuddyLists;
  friend class Reservation;
  static constexpr std::uint64_t kOnePin = std::uint64_t{1} << 32;
  static constexpr std::uint64_t kIndexMask = (std::uint64_t{1} << 48) - 1;
  static constexpr std::uint32_t kStateMask = 15U;
  static constexpr unsigned kLruShift = 4;
  static constexpr unsigned kOrderShift = 6;
  static constexpr std::uint32_t kHomeBit = 1U << 10;
  static constexpr std::uint32_t kBuddyBit = 1U << 11;  // heads a block on the buddy lists
  static constexpr unsigned kWindowShift = 12;
  static constexpr std::uint32_t kVersionBit = 1U << 31;  // of slot_; slots are fewer than that

  // Memory that was never touched becomes the descriptor of a free frame. Whoever looks at every
  // frame may be reading it.
  void start_free() noexcept {
    HF_DCHECK2(references_.load(std::memory_order_relaxed) == 0, references_, word_);
    HF_DCHECK2(word_.load(std::memory_order_relaxed) == 0, references_, word_);
    next_.store(base::kNoLink, std::memory_order_relaxed);
    prev_.store(base::kNoLink, std::memory_order_relaxed);
    owner_.store(~std::uint64_t{0}, std::memory_order_relaxed);
    slot_.store(SlotIndex::kNoneValue, std::memory_order_relaxed);
    word_.store(kNoPoolWindow << kWindowShift, std::memory_order_relaxed);
  }
  // The pool gives the frame out: one reference, its taker's.
  void start_held() noexcept {
    HF_DCHECK2(references_.load(std::memory_order_relaxed) == 0, references_, word_);
    to(PageState::held);
    references_.store(1, std::memory_order_release);
  }
  // count has come to 0, so that the frame is the freeing context's alone: forgets what it was.
  void forget_content() noexcept;
  // The same, and its state becomes free. Order and home memory stay until they are dealt with.
  void become_free() noexcept;

  [[nodiscard]] bool on_buddy_list() const noexcept {
    return (word_.load(std::memory_order_relaxed) & kBuddyBit) != 0;
  }
  void set_on_buddy_list(bool on) noexcept { replace(kBuddyBit, on ? kBuddyBit : 0); }

  static Owner unpack(std::uint64_t raw) noexcept {
    if (raw == ~std::uint64_t{0}) return {};
    return {RegionId(static_cast<std::uint16_t>(raw >> 48)), PageIndex(raw & kIndexMask)};
  }
  bool try_add(std::uint64_t amount) noexcept {
    std::uint64_t old = references_.load(std::memory_order_relaxed);
    do {
      if (static_cast<std::uint32_t>(old) == 0) return false;
      HF_DCHECK(static_cast<std::uint32_t>(old) != 0xffffffffU);
    } while (!references_.compare_exchange_weak(old, old + amount, std::memory_order_seq_cst,
                                                std::memory_order_relaxed));
    return true;
  }
  void replace(std::uint32_t mask, std::uint32_t bits) noexcept {
    std::uint32_t old = word_.load(std::memory_order_relaxed);
    while (!word_.compare_exchange_weak(old, (old & ~mask) | bits, std::memory_order_acq_rel,
                                        std::memory_order_relaxed)) {
    }
  }

  std::atomic<std::uint64_t> references_{0};
  std::atomic<std::uint32_t> next_{base::kNoLink};
  std::atomic<std::uint32_t> prev_{base::kNoLink};
  std::atomic<std::uint64_t> owner_{~std::uint64_t{0}};
  std::atomic<std::uint32_t> slot_{SlotIndex::kNoneValue};
  std::atomic<std::uint32_t> word_{kNoPoolWindow << kWindowShift};
};
static_assert(sizeof(Page) == 32, "metadata budget: 32 bytes a frame (DESIGN.md section 1)");
static_assert(kPageStates <= 16, "the state fits its four bits");

}  // namespace holdfast::page
