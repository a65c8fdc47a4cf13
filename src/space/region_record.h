// What the engine knows of one region.
//
//   empty ──claim──▶ live ──retire──▶ dying ──▶ empty
//                                       └──▶ zombie ──▶ empty     (pages were still pinned)
//
// Records are type-stable: a fault that finds a record which has just been retired sees its state
// and turns back. Whoever works on a region is counted in `users` (enter, leave); retire waits for
// them. users_ and state_ form a Dekker pair: both sides use seq_cst.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

#include "base/base.h"
#include "holdfast/region.h"
#include "object/object.h"
#include "space/entry.h"
#include "space/shared_tables.h"
#include "space/stream_detector.h"

namespace holdfast::space {

class BeforeImages;
class Moment;

// What reclaim has learnt of a window of a region.
struct WindowRecord {
  std::atomic<std::uint16_t> rescues{0};  // pages rescued since it was last unmapped
  std::atomic<std::uint8_t> chances{0};   // how many times it is to be spared
  std::atomic<std::uint8_t> cold{0};      // advised cold: no second chance
};

// What is shared copy-on-write of one leaf of a region, and what of it is write-protected.
//
//   pending   the table to which the leaf's content belongs as well, as long as it has not been
//             settled: nobody changes a page's content or makes it writable before that. kFrozen:
//             a clone or snapshot of the region is being made, wait for it (RegionRecord::frozen)
//   guarded   pages of the leaf are write-protected, but for those whose bit in `open` is set
//   unsaved   of a file: protected pages that may differ from what their source has: they were open
//             when a copy was made, or came in protected for its sake
//   as_saved  of a file: a save has left every page of the leaf as its source has it, or will have
//             it when the save has succeeded
//
// Whoever makes a page writable, or changes what it holds otherwise, locks its entry, then takes
// `as_saved` back, and only then does it. A save sets it first and then looks at the entries: what
// it does not find changed, nor locked, will take it back.
//
// Whoever changes something locks an entry first and then looks at `pending`; whoever sets
// `pending` does that first and then waits for the entries that are locked. Both are seq_cst, so
// that one sees the other.
struct LeafRecord {
  static constexpr std::uint32_t kFrozen = 1U << 31;
  static constexpr std::uint32_t kCancelling = 1U << 30;  // the table turned out to be nobody's
  static constexpr std::uint8_t kGuarding = 1, kGuarded = 2;

  std::atomic<std::uint32_t> pending{0};
  std::atomic<std::uint8_t> guarded{0};
  std::atomic<std::uint8_t> pinned{0};  // some page of it was pinned since somebody looked
  std::atomic<std::uint8_t> as_saved{0};
  std::array<std::atomic<std::uint64_t>, kLeafEntries / 64> open{};
  std::array<std::atomic<std::uint64_t>, kLeafEntries / 64> unsaved{};

  // A page of it, whose entry is locked, may change from here on.
  void expect_change() noexcept {
    if (as_saved.load(std::memory_order_seq_cst) != 0) {
      as_saved.store(0, std::memory_order_seq_cst);
    }
  }

  [[nodiscard]] bool is_guarded() const noexcept {
    return guarded.load(std::memory_order_seq_cst) == kGuarded;
  }
  // Pages are told by their bits in `open` from here on: all of them are open, as they were before.
  // A copy and a save may come at once.
  void guard() noexcept {
    if (is_guarded()) return;
    std::uint8_t nobody = 0;
    if (guarded.compare_exchange_strong(nobody, kGuarding, std::memory_order_seq_cst)) {
      for (auto& word : open) word.store(~std::uint64_t{0}, std::memory_order_seq_cst);
      guarded.store(kGuarded, std::memory_order_seq_cst);
    }
    while (!is_guarded()) sync::parking().relax();
  }
  // Under the entry's lock.
  [[nodiscard]] bool is_open(std::uint64_t i) const noexcept { return has(open, i); }
  void set_open(std::uint64_t i, bool is) noexcept { set(open, i, is); }
  // Looked at after is_open(): a copy sets it before it takes `open` back.
  [[nodiscard]] bool is_unsaved(std::uint64_t i) const noexcept { return has(unsaved, i); }
  void set_unsaved(std::uint64_t i, bool is) noexcept { set(unsaved, i, is); }
  // How many pages have been made writable since; about, unless all entries are locked.
  [[nodiscard]] std::uint32_t open_count() const noexcept {
    int count = 0;
    for (const auto& word : open) count += std::popcount(word.load(std::memory_order_relaxed));
    return static_cast<std::uint32_t>(count);
  }
  // True if a store to the page cannot fault.
  [[nodiscard]] bool is_writable(std::uint64_t i) const noexcept {
    return !is_guarded() || is_open(i);
  }

 private:
  using Bits = std::array<std::atomic<std::uint64_t>, kLeafEntries / 64>;
  static bool has(const Bits& bits, std::uint64_t i) noexcept {
    return (bits[i / 64].load(std::memory_order_seq_cst) >> (i % 64) & 1) != 0;
  }
  static void set(Bits& bits, std::uint64_t i, bool is) noexcept {
    const std::uint64_t bit = std::uint64_t{1} << (i % 64);
    if (is) {
      bits[i / 64].fetch_or(bit, std::memory_order_seq_cst);
    } else if (has(bits, i)) {
      bits[i / 64].fetch_and(~bit, std::memory_order_seq_cst);
    }
  }
};

class RegionRecord {
 public:
  enum class State : std::uint32_t { empty, live, dying, zombie };

  // Counts the caller in if the region is live. False: it is not. Any context, lock-free.
  [[nodiscard]] bool enter() noexcept {
    users_.fetch_add(1, std::memory_order_seq_cst);
    if (state_.load(std::memory_order_seq_cst) == State::live) return true;
    leave();
    return false;
  }
  // The same for somebody who reads pages that others share with the region: also while it is a
  // zombie, which still has them.
  [[nodiscard]] bool enter_to_read() noexcept {
    users_.fetch_add(1, std::memory_order_seq_cst);
    const State state = state_.load(std::memory_order_seq_cst);
    if (state == State::live || state == State::zombie) return true;
    leave();
    return false;
  }
  void leave() noexcept {
    const std::uint32_t old = users_.fetch_sub(1, std::memory_order_seq_cst);
    HF_DCHECK2(old > 0, old, id.value);
  }
  [[nodiscard]] State state() const noexcept { return state_.load(std::memory_order_seq_cst); }
  void set_state(State state) noexcept { state_.store(state, std::memory_order_seq_cst); }
  // live -> dying, once. False: somebody else was first.
  [[nodiscard]] bool retire() noexcept {
    State expected = State::live;
    return state_.compare_exchange_strong(expected, State::dying, std::memory_order_seq_cst);
  }
  // zombie -> dying, once: the caller looks whether its pages are still pinned.
  [[nodiscard]] bool revive_zombie() noexcept {
    State expected = State::zombie;
    return state_.compare_exchange_strong(expected, State::dying, std::memory_order_seq_cst);
  }
  [[nodiscard]] bool has_users() const noexcept {
    return users_.load(std::memory_order_seq_cst) != 0;
  }

  [[nodiscard]] Entry& entry(std::uint64_t index) const noexcept {
    HF_DCHECK2(index < capacity, index, capacity);
    return entries[index];
  }
  [[nodiscard]] Address address_of(std::uint64_t index) const noexcept {
    return base + (index << kPageShift);
  }
  [[nodiscard]] std::uint64_t index_of(Address address) const noexcept {
    return (address - base) >> kPageShift;
  }
  // True if a page that was never touched, here or in what the region is a copy of, is the
  // source's.
  [[nodiscard]] bool has_source(std::uint64_t index) const noexcept { return index < source_pages; }
  [[nodiscard]] std::uint64_t page_count() const noexcept {
    return pages.load(std::memory_order_acquire);
  }

  [[nodiscard]] LeafRecord& leaf_of(std::uint64_t index) const noexcept {
    return leaf_records[index / kLeafEntries];
  }
  // What the leaf's entries of kind none stand for.
  [[nodiscard]] TableId base_of(std::uint64_t index) const noexcept {
    return bases[index / kLeafEntries].load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t leaf_count() const noexcept {
    return (capacity + kLeafEntries - 1) / kLeafEntries;
  }

  // Constant while live.
  RegionId id;
  Address base = 0;
  std::uint64_t capacity = 0;        // pages that resize() may reach
  std::uint64_t reserved_bytes = 0;  // address space: capacity rounded up to 2 MiB
  Address tables = 0;                // one reserved range: entries, windows, leaf flags
  std::uint64_t tables_bytes = 0;
  Entry* entries = nullptr;                     // capacity of them, backed as they are touched
  WindowRecord* windows = nullptr;              // one for each window_pages pages
  std::atomic<std::uint8_t>* leaves = nullptr;  // 1: the leaf's page of entries is paid for
  LeafRecord* leaf_records = nullptr;           // one for each leaf
  std::atomic<TableId>* bases = nullptr;        // the same; 0: none. Under all entries of the leaf
  bool read_only = false;                       // a snapshot
  object::SourceRef source;                     // where pages come from that were never touched ...
  std::uint64_t source_pages = 0;               // ... below this one; those beyond are zeros
  bool from_file = false;  // the source may change: which page is as it has it, CleanHashes tell
  base::CountedRef<BeforeImages> before;  // of a mapped file: what its copies need; null: no such
  base::CountedRef<Moment> moment;        // of a copy of such a region, whose source changes

  // Atomic.
  std::atomic<std::uint64_t> pages{0};           // the region's size; <= capacity
  std::atomic<Advice> advice{Advice::normal};    // normal, sequential or random
  std::atomic<std::uint32_t> leaves_charged{0};  // frames charged for tables
  // A Dekker pair, both seq_cst: who is about to set the first mark in a leaf's flag counts itself
  // in `marking` and then looks at `frozen`; a copy counts itself in `frozen` and then waits for
  // `marking` to be 0. From there to its end no leaf's flag changes from 0 to 1.
  std::atomic<std::uint32_t> frozen{0};   // clones and snapshots being made of it now
  std::atomic<std::uint32_t> marking{0};  // threads that are about to pay for a leaf
  StreamDetector streams;
  StreamDetector write_streams;  // of write faults at shared and protected pages

 private:
  std::atomic<State> state_{State::empty};
  std::atomic<std::uint32_t> users_{0};
};

}  // namespace holdfast::space
