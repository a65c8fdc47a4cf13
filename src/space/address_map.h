// Which region an address belongs to, for readers without locks: faults, pins, signal handlers.
//
// Two flat tables, backed as they are touched: one 16-bit region id for each GiB that lies in one
// region as a whole, and one for each 2 MiB of the rest. Regions are aligned to 2 MiB and share
// none. Mapping 1 TiB writes a thousand ids.
//
// Writers hold the region table's lock; readers use atomics.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "sys/sys.h"

namespace holdfast::space {

class AddressMap {
 public:
  explicit AddressMap(sys::Machine& machine) noexcept : machine_(machine) {}
  ~AddressMap();
  AddressMap(const AddressMap&) = delete;
  AddressMap& operator=(const AddressMap&) = delete;

  Expected<void> start() noexcept;
  // The region at the address, or none. Any context, lock-free.
  [[nodiscard]] RegionId find(Address address) const noexcept {
    if ((address >> kAddressBits) != 0) return RegionId::none();
    std::uint16_t id = coarse_[address >> kCoarseShift].load(std::memory_order_acquire);
    if (id == 0) id = fine_[address >> kHugeShift].load(std::memory_order_acquire);
    return RegionId(static_cast<std::uint16_t>(id - 1));  // 0 - 1 is none
  }
  // [address, address + bytes) belongs to the region (none: to nobody). 2 MiB aligned.
  void set(Address address, std::uint64_t bytes, RegionId region) noexcept;

 private:
  static constexpr unsigned kAddressBits = 47;  // user addresses of x86-64 with 4-level tables
  static constexpr unsigned kCoarseShift = 30;
  using Id = std::atomic<std::uint16_t>;  // region id + 1; 0: nobody

  sys::Machine& machine_;
  Address table_ = 0;
  Id* coarse_ = nullptr;
  Id* fine_ = nullptr;
};

}  // namespace holdfast::space
