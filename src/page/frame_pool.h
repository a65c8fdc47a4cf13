// The frame pool: every frame that the memory budget pays for, and who may have it.
//
// A *frame* is the right to one resident 4 KiB page; its descriptor says where its memory stands.
// The pool is a buddy allocator of orders 0 to 9 over frame indices, with per-CPU lock-free stacks
// of single frames in front. Frees are lock-free and legal in any context; what needs a lock (the
// buddy lists, dropping the memory of a block) is done later by drain(), in task context.
//
// Typical flow of a fault:
//   1. auto reservation = pool.reserve(n, Priority::normal);  // takes what it needs, or "wait"
//   2. ... change entries, copy pages in ...
//   3. Page& page = reservation.take();   // cannot fail; count 1, state held: the caller's
//   reference
//   4. the rest of the reservation goes back when it leaves the scope.
//
// Watermarks: below low the pool wakes the reclaimer (PressureSink::wake); half way from low to min
// new memory is refused first, so that what is there goes on working; below min only
// Priority::reclaim is served, so that the reclaimer can always make progress.
//
// Equation that check() proves, when nothing is in flight:
//   frames = on CPU stacks + in buddy lists + deferred (freed, not drained) + reserved + charged
//          + warm + pages with count >= 1 (a block of order k counts 2^k)
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/base.h"
#include "page/buddy.h"
#include "page/cpu_stacks.h"
#include "page/descriptor.h"
#include "page/holder_table.h"
#include "page/holders.h"
#include "page/reservation.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::page {

// Who asks, the first to be refused first: memory that holds nothing yet, a page that must come
// back, reclaim itself.
enum class Priority : std::uint8_t { fresh, normal, reclaim };

struct Watermarks {
  std::uint32_t min = 0;   // frames kept for reclaim itself
  std::uint32_t low = 0;   // below: wake the reclaimer
  std::uint32_t high = 0;  // the reclaimer works up to here
};

// Woken when the pool runs low; implemented by reclaim/. Any context, lock-free.
class PressureSink {
 public:
  virtual void wake() noexcept = 0;

 protected:
  ~PressureSink() = default;
};

struct FramePoolOptions {
  std::uint32_t frames = 0;
  Watermarks watermarks = {};
  bool record_call_sites = false;  // debug builds: each holder's call site as well as its kind
};

struct FrameCounts {
  std::uint64_t total = 0;
  std::uint64_t free = 0;      // CPU stacks + buddy lists
  std::uint64_t deferred = 0;  // freed in any context, waiting for drain()
  std::uint64_t reserved = 0;
  std::uint64_t charged = 0;
  std::uint64_t warm = 0;
  std::uint64_t used = 0;  // count >= 1
  friend bool operator==(const FrameCounts&, const FrameCounts&) = default;
};

class FramePool {
 public:
  // Errors: budget_exceeded (fewer frames than kFramesMin, or than the high watermark), and what
  // sys::Machine::reserve says. All memory is reserved here; nothing is allocated afterwards.
  static constexpr std::uint32_t kFramesMin = 16;
  [[nodiscard]] static Expected<std::unique_ptr<FramePool>> create(sys::Machine& machine,
                                                                   const FramePoolOptions& options);
  ~FramePool();
  FramePool(const FramePool&) = delete;
  FramePool& operator=(const FramePool&) = delete;

  // --- taking frames: task context ---
  // Takes up to `wanted` (1 to kReservationMax) frames, at least 1; fewer when short. An empty
  // reservation: none could be had at this priority; the caller drops its locks and reclaims.
  [[nodiscard]] Reservation reserve(std::uint32_t wanted, Priority priority) noexcept;
  // A block of 2^order frames (order 0 to kMaxOrder), naturally aligned, whose zeroed memory stands
  // at address_of(). The head has state held, count 1; the block is freed by free_pages() or by
  // put() on its head. Errors: out_of_memory (the caller reclaims and retries), invalid_argument.
  [[nodiscard]] Expected<Page*> allocate_block(unsigned order, Priority priority,
                                               Holder holder = Holder::caller) noexcept;
  // Where the memory of a block stands: its home address.
  [[nodiscard]] Address address_of(const Page& head) const noexcept;

  // The head of the block whose memory stands at `address` (a result of address_of).
  [[nodiscard]] Page& page_at_home(Address address) noexcept {
    const std::uint64_t index = (address - home_) >> kPageShift;
    HF_CHECK2(address >= home_ && index < pages_.size(), address, home_);
    return pages_[index];
  }

  // Lends `count` frames' rights to compressed storage or tables (state charged): all or none.
  [[nodiscard]] bool charge(std::uint32_t count, Priority priority) noexcept;
  void uncharge(std::uint32_t count) noexcept;

  // --- references: any context, lock-free, async-signal-safe ---
  HF_ALWAYS_INLINE void get(Page& page, Holder holder) noexcept {
    page.get();
    holders_.take(index_of(page), holder);
  }
  // Drops a reference; the last one frees the page (or its block) into the deferred or CPU stacks.
  // Memory in a pool window must be gone by then: where it stands, the last put is put_to_warm().
  HF_ALWAYS_INLINE void put(Page& page, Holder holder) noexcept { drop(page, holder, 1); }
  // A reference and a pin on a page that may be free; false: it is. Look again afterwards.
  [[nodiscard]] HF_ALWAYS_INLINE bool try_pin(Page& page) noexcept {
    if (!page.try_pin()) return false;
    holders_.take(index_of(page), Holder::pin);
    return true;
  }
  [[nodiscard]] HF_ALWAYS_INLINE bool try_get(Page& page, Holder holder) noexcept {
    if (!page.try_get()) return false;
    holders_.take(index_of(page), holder);
    return true;
  }
  // Drops a pin and its reference, in one subtraction.
  HF_ALWAYS_INLINE void unpin(Page& page) noexcept { drop(page, Holder::pin, Page::kOnePin + 1); }
  // The owner of a block frees it: drops its reference. The head's order must be `order`.
  void free_pages(Page& page, unsigned order) noexcept;

  // --- later, in task context ---
  // Moves what was freed in interrupts to the free lists, dropping the memory of blocks and merging
  // buddies; refills nothing. Returns how many frames it made free. A block whose memory the
  // machine refuses to drop stays deferred: the next drain tries again.
  std::uint64_t drain() noexcept;
  // Warm frames (memory stands in a pool window, state warm, count 0) are owned by the swap cache;
  // these two keep the books: free -> the frame's memory has been dropped.
  void warm_to_free(std::span<const FrameIndex> frames) noexcept;
  // A warm frame that a fault run takes: state held, count 1; it keeps its pool window until the
  // caller has moved the memory away, or gives it back by put_to_warm().
  [[nodiscard]] Page& take_warm(FrameIndex frame, Holder holder) noexcept;
  // The VM's put of a page whose memory stays in its pool window: count must be 1 (the caller's or
  // the VM's); the state becomes warm, the frame is not freed, and it keeps its pool window. False:
  // somebody else holds it too, and nothing has changed.
  [[nodiscard]] bool put_to_warm(Page& page, Holder holder) noexcept;

  // --- looking ---
  [[nodiscard]] std::span<Page> pages() noexcept { return pages_; }
  [[nodiscard]] Page& page(FrameIndex index) noexcept { return pages_[index.value]; }
  [[nodiscard]] FrameIndex index_of(const Page& page) const noexcept {
    return FrameIndex(static_cast<std::uint32_t>(&page - pages_.data()));
  }
  // Frames that could be had at once. Approximate while others work. Any context.
  [[nodiscard]] std::uint64_t free_count() const noexcept;
  [[nodiscard]] std::uint64_t deferred_count() const noexcept;
  [[nodiscard]] const Watermarks& watermarks() const noexcept { return watermarks_; }
  // Free frames that are not given to this priority. Any context.
  [[nodiscard]] std::uint32_t kept_from(Priority priority) const noexcept;
  [[nodiscard]] FrameCounts counts() noexcept;
  // Bytes of metadata: descriptors and what hangs on them.
  [[nodiscard]] std::uint64_t metadata_bytes() const noexcept;

  // May be null. Set once, before others use the pool.
  void set_pressure_sink(PressureSink* sink) noexcept { pressure_ = sink; }

  // Debug builds: who holds the page, one line a holder, to standard error. Any context.
  void dump_holders(const Page& page) noexcept;
  [[nodiscard]] HolderTable& holders() noexcept { return holders_; }

  // Proves the pool consistent; nothing may be in flight. False: says what on standard error.
  [[nodiscard]] bool check() noexcept;

 private:
  using Stack = sync::IndexStack<Page, Page::Links>;
  friend class Reservation;
  friend class PoolCheck;

  FramePool(sys::Machine& machine, const FramePoolOptions& options, std::span<Page> pages,
            Address table, Address home) noexcept;

  HF_ALWAYS_INLINE void drop(Page& page, Holder holder, std::uint64_t amount) noexcept {
    holders_.drop(index_of(page), holder);
    const std::uint64_t old = page.references_.fetch_sub(amount, std::memory_order_acq_rel);
    HF_DCHECK2(old >= amount, old, amount);
    if (static_cast<std::uint32_t>(old) <= 1) free_unheld(page, old - amount);
  }
  // count has come to 0: the frame goes to this CPU's stack, a block to the deferred stack.
  void free_unheld(Page& page, std::uint64_t references) noexcept;
  void check_unlisted(const Page& page) const noexcept;

  // How many of `wanted` frames the priority may have now.
  [[nodiscard]] std::uint32_t allowance(std::uint32_t wanted, Priority priority) const noexcept;
  // The same after a drain, where that is what it takes; raises pressure below the low watermark.
  [[nodiscard]] std::uint32_t allowance_or_drain(std::uint32_t wanted, Priority priority) noexcept;
  // Frames out of the free lists, up to out.size(); returns how many.
  [[nodiscard]] std::uint32_t take_frames(std::span<std::uint32_t> out) noexcept;
  [[nodiscard]] std::uint32_t refill(std::span<std::uint32_t> out) noexcept;
  [[nodiscard]] std::uint32_t take_block(unsigned order) noexcept;
  void raise_pressure() noexcept;

  // Drops the memory of a chain of freed blocks. Returns the chain of those that could be dropped.
  [[nodiscard]] std::uint32_t drop_memory(std::uint32_t chain) noexcept;
  [[nodiscard]] bool drop_home_memory(std::uint32_t index, unsigned order) noexcept;
  void clear_home_memory(std::uint32_t index, unsigned order) noexcept;

  // --- constant after create ---
  sys::Machine& machine_;
  std::span<Page> pages_;
  Watermarks watermarks_;
  PressureSink* pressure_ = nullptr;
  Address table_;  // descriptors, then the holder table, then check()'s bitmap
  std::uint64_t table_bytes_;
  Address home_;           // frame i's home is home_ + i pages; memory stands there only for blocks
  std::uint64_t* bitmap_;  // one bit a frame, touched by check() alone

  // --- self-synchronised ---
  HolderTable holders_;
  BuddyLists buddy_;
  CpuStacks stacks_;
  Stack deferred_;  // heads of blocks that were freed and not drained
  Stack charged_;   // frames lent

  // --- counters: relaxed; together they are right only when nothing is in flight ---
  std::atomic<std::uint64_t> deferred_frames_{0};
  std::atomic<std::uint64_t> reserved_{0};
  std::atomic<std::uint64_t> warm_{0};
};

}  // namespace holdfast::page
