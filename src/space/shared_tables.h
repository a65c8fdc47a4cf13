// Shared tables: what one leaf of a region (512 pages) held at a moment, for every snapshot and
// clone that was made at that moment.
//
// A table is 512 entry values: none, filled, or a slot of which the table holds one count. It never
// changes once it is *settled*, so it is read without a lock, and any number of snapshots and
// clones refer to the same one, each with one reference. Until then it is *pending*: its content is
// what the source region's leaf still holds, and nobody may change anything there before it is
// settled (sharing.h). So a snapshot costs per leaf, and what costs per page is paid when, and if,
// the leaf is written to or looked at.
//
//   free ──make──▶ pending ──settle──▶ settled ──last put──▶ free
//                     └────────────last put─────────────────▶ free
//
// Who owns what: the class owns the memory, backed as it is touched; each table that is in use has
// a frame charged for it by whoever made it.
//
// Context: task; lock-free.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "space/entry.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::space {

// Entries of one leaf: one page of the table; the unit in which tables are paid for and shared.
inline constexpr std::uint64_t kLeafEntries = kPageSize / sizeof(Entry);

using TableId = std::uint32_t;  // 0: no table, and all that it would hold is none

class SharedTables {
 public:
  static constexpr std::uint32_t kTablesMax = 1U << 20;  // 2 TiB of pages, shared at one moment

  // Words, as others park on them.
  static constexpr std::uint32_t kFree = 0, kPending = 1, kSettling = 2, kSettled = 3;

  struct Header {
    std::atomic<std::uint32_t> references{0};
    std::atomic<std::uint32_t> state{kFree};
    std::atomic<std::uint32_t> next{base::kNoLink};
    RegionId source;             // pending: whose leaf it is
    std::uint64_t leaf = 0;      // ... and which
    std::uint32_t promised = 0;  // pending: slots set aside for it
    std::uint64_t pages = 0;     // of the source at that moment; what lies beyond is none
  };

  explicit SharedTables(sys::Machine& machine) noexcept : machine_(machine) {}
  ~SharedTables();
  SharedTables(const SharedTables&) = delete;
  SharedTables& operator=(const SharedTables&) = delete;

  Expected<void> start() noexcept;

  // An empty pending table with one reference; 0: there are too many.
  [[nodiscard]] TableId make() noexcept;
  void get(TableId table) noexcept;
  // The same, unless nobody has it any more.
  [[nodiscard]] bool try_get(TableId table) noexcept;
  // True: it was the last reference; the caller puts what the table refers to, then release()s it.
  [[nodiscard]] bool put(TableId table) noexcept;
  // Its memory is dropped.
  void release(TableId table) noexcept;

  [[nodiscard]] Header& header(TableId table) noexcept { return headers_[table]; }
  [[nodiscard]] bool is_settled(TableId table) noexcept {
    return header(table).state.load(std::memory_order_acquire) == kSettled;
  }
  [[nodiscard]] EntryValue value(TableId table, std::uint64_t i) const noexcept {
    HF_DCHECK2(table != 0 && i < kLeafEntries, table, i);
    return EntryValue::from_raw(values_of(table)[i]);
  }
  // Only while it is pending, by whoever makes or settles it.
  void set_value(TableId table, std::uint64_t i, EntryValue value) noexcept {
    values_of(table)[i] = value.raw();
  }

  // Tables in use; ids are below used(). For check().
  [[nodiscard]] std::uint32_t used() const noexcept {
    return used_.load(std::memory_order_acquire);
  }

 private:
  struct Links {
    static std::atomic<std::uint32_t>& next(Header& header) noexcept { return header.next; }
  };
  [[nodiscard]] std::uint64_t* values_of(TableId table) const noexcept {
    return values_ + std::uint64_t{table} * kLeafEntries;
  }

  sys::Machine& machine_;
  Address headers_address_ = 0;
  Address values_address_ = 0;
  Header* headers_ = nullptr;
  std::uint64_t* values_ = nullptr;
  sync::IndexStack<Header, Links> free_;
  std::atomic<std::uint32_t> used_{1};  // table 0 is none
};

}  // namespace holdfast::space
