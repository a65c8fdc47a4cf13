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
//   3. Page& page = reservation.take();   // cannot fail; count 1, state held: the caller's reference
//   4. the rest of the reservation goes back when it leaves the scope.
//
// Watermarks: below low the pool wakes the reclaimer (PressureSink::wake); below min only
// Priority::reclaim is served, so that the reclaimer can always make progress.
//
// Equation that check() proves, when nothing is in flight:
//   frames = on CPU stacks + in buddy lists + deferred (freed, not drained) + reserved + charged
//          + warm + pages with count >= 1 (a block of order k counts 2^k)
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/base.h"
#include "page/descriptor.h"
#include "page/holders.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::page {

inline constexpr unsigned kMaxOrder = 9;
inline constexpr std::uint32_t kReservationMax = 64;  // the widest fault run

// Who asks: below the min watermark only reclaim itself is served.
enum class Priority : std::uint8_t { normal, reclaim };

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
  Watermarks watermarks;
  bool record_call_sites = false;  // debug builds: each holder's call site as well as its kind
};

class FramePool;

// Frames promised to one caller. Movable, not copyable; task context.
class Reservation {
 public:
  Reservation() noexcept = default;
  Reservation(Reservation&& other) noexcept;
  Reservation& operator=(Reservation&& other) noexcept;
  Reservation(const Reservation&) = delete;
  Reservation& operator=(const Reservation&) = delete;
  ~Reservation();

  [[nodiscard]] std::uint32_t size() const noexcept { return size_; }
  // One of the promised frames: state held, count 1 (the caller's reference, of kind `holder`).
  // size() > 0. Cannot fail.
  [[nodiscard]] Page& take(Holder holder = Holder::caller) noexcept;

 private:
  friend class FramePool;
  FramePool* pool_ = nullptr;
  std::uint32_t size_ = 0;
  std::array<std::uint32_t, kReservationMax> frames_;
};

struct FrameCounts {
  std::uint64_t total = 0;
  std::uint64_t free = 0;      // CPU stacks + buddy lists
  std::uint64_t deferred = 0;  // freed in any context, waiting for drain()
  std::uint64_t reserved = 0;
  std::uint64_t charged = 0;
  std::uint64_t warm = 0;
  std::uint64_t used = 0;      // count >= 1
  friend bool operator==(const FrameCounts&, const FrameCounts&) = default;
};

class FramePool {
 public:
  // Errors: budget_exceeded, system. options.frames >= 16.
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

  // Lends `count` frames' rights to compressed storage or tables (state charged): all or none.
  [[nodiscard]] bool charge(std::uint32_t count, Priority priority) noexcept;
  void uncharge(std::uint32_t count) noexcept;

  // --- references: any context, lock-free, async-signal-safe ---
  void get(Page& page, Holder holder) noexcept;
  // Drops a reference; the last one frees the page (or its block) into the deferred or CPU stacks.
  void put(Page& page, Holder holder) noexcept;
  // A reference and a pin on a page that may be free; false: it is. Look again afterwards.
  [[nodiscard]] bool try_pin(Page& page) noexcept;
  [[nodiscard]] bool try_get(Page& page, Holder holder) noexcept;
  void unpin(Page& page) noexcept;
  // The owner of a block frees it: drops its reference. The head's order must be `order`.
  void free_pages(Page& page, unsigned order) noexcept;

  // --- later, in task context ---
  // Moves what was freed in interrupts to the free lists, dropping the memory of blocks and merging
  // buddies; refills nothing. Returns how many frames it made free.
  std::uint64_t drain() noexcept;
  // Warm frames (memory stands in a pool window, state warm, count 0) are owned by the swap cache;
  // these two keep the books: free -> the frame's memory has been dropped.
  void warm_to_free(std::span<const FrameIndex> frames) noexcept;
  // A warm frame that a fault run takes: state held, count 1.
  [[nodiscard]] Page& take_warm(FrameIndex frame, Holder holder) noexcept;
  // The VM's put of a page whose memory stays in its pool window: count must be 1 (the caller's or
  // the VM's); the state becomes warm, the frame is not freed. False: somebody else holds it too.
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
  // (private members are this module's own business)
  friend class Reservation;
  FramePool(sys::Machine& machine, const FramePoolOptions& options);
  std::span<Page> pages_;
  Watermarks watermarks_;
  PressureSink* pressure_ = nullptr;
  HolderTable holders_;
};

}  // namespace holdfast::page
