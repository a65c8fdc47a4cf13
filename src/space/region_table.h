// All regions of an engine: records by id, addresses to records. Readers are lock-free; claiming
// and dropping take the region table's lock (rank region_table).
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "space/address_map.h"
#include "space/region_record.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::space {

class RegionTable {
 public:
  static constexpr std::uint32_t kRegionsMax = 4096;  // regions of one engine

  explicit RegionTable(sys::Machine& machine) noexcept
      : machine_(machine), map_(machine), tables_(machine) {}
  ~RegionTable();
  RegionTable(const RegionTable&) = delete;
  RegionTable& operator=(const RegionTable&) = delete;

  Expected<void> start() noexcept;

  // A record for a new region of `bytes` that may grow to `capacity` pages: address space and
  // tables are reserved, nothing is visible yet. Errors: out_of_memory (too many regions, address
  // space).
  [[nodiscard]] Expected<RegionRecord*> claim(std::uint64_t capacity, std::uint32_t window_pages);
  // The region becomes live, and its addresses lead to it.
  void publish(RegionRecord& region) noexcept;
  // Its addresses lead nowhere; address space and tables go back. No user is left.
  void drop(RegionRecord& region) noexcept;

  // The record at an address, whatever its state; null: nobody's. Any context, lock-free.
  [[nodiscard]] RegionRecord* find(Address address) noexcept {
    const RegionId id = map_.find(address);
    return id.is_none() ? nullptr : &records_[id.value];
  }
  [[nodiscard]] RegionRecord& record(RegionId id) noexcept { return records_[id.value]; }

  // What regions share with one another.
  [[nodiscard]] SharedTables& tables() noexcept { return tables_; }

  // Records that were ever used are those below this index. Any context.
  [[nodiscard]] std::uint32_t used() const noexcept {
    return used_.load(std::memory_order_acquire);
  }

 private:
  std::uint16_t free_id_locked() noexcept HF_REQUIRES(lock_);

  sys::Machine& machine_;
  AddressMap map_;
  SharedTables tables_;
  Address memory_ = 0;
  std::uint64_t memory_bytes_ = 0;
  RegionRecord* records_ = nullptr;
  sync::Mutex<sync::Rank::region_table> lock_;
  std::atomic<std::uint32_t> used_{0};
};

}  // namespace holdfast::space
