// The address space of the simulated machine.
//
// Purpose::region and Purpose::pool get addresses that no host memory stands at: whoever follows
// one crashes, so that only Machine::view() and SimMachine::load/store can be the way in. Their
// pages are host buffers that come and go with the simulated mapping; a buffer's address is stable
// until its page leaves, also while the page is carried from one address to another.
// A page that was dropped reads as zeros for a while through a view from before, as its address
// does on the real machine: a write-out may still be reading what was rescued and freed meanwhile,
// and throws its image away afterwards. Purpose::table is ordinary host memory, and view() of it is
// the address itself.
//
// Scheduling: nothing here is a scheduling point; each call is atomic among simulated threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/base.h"
#include "sys/machine.h"
#include "sys/sim/sim_pages.h"
#include "sys/sim/sim_ranges.h"

namespace holdfast::sys {

class SimMemory {
 public:
  SimMemory() = default;
  ~SimMemory();
  SimMemory(const SimMemory&) = delete;
  SimMemory& operator=(const SimMemory&) = delete;

  // 0: no host memory for a table.
  [[nodiscard]] Address reserve(std::uint64_t bytes, std::uint64_t align, Purpose purpose);
  void release(Address address, std::uint64_t bytes);
  // Returns how many pages were dropped (tables: 0).
  std::uint64_t discard(Address address, std::uint64_t bytes);
  // Carries the pages of `from` to `to`, whose own are dropped; returns how many were carried.
  std::uint64_t remap_out(Address to, Address from, std::uint64_t bytes);
  [[nodiscard]] std::byte* view(Address address);

  // What is the range at `address` for? HF_CHECKs that it is reserved.
  [[nodiscard]] Purpose purpose_of(Address address) const noexcept;
  // Is the address of a region's or a pool's, where no host memory stands?
  [[nodiscard]] static bool is_fake(Address address) noexcept;
  [[nodiscard]] bool is_reserved(Address address, std::uint64_t bytes) const noexcept;
  // The buffer of the page that holds `address`, null: none.
  [[nodiscard]] std::byte* find(Address address) const noexcept {
    return pages_.find(address >> kPageShift);
  }
  // Puts a new page there, filled from `from` (null: zeros). None may stand there.
  std::byte* add(Address address, const std::byte* from);
  // Carries one page; it must stand at `from`, and nothing at `to`.
  void carry(Address to, Address from);

  // Pages of regions and pools that hold memory now / at most so far, bytes.
  [[nodiscard]] std::uint64_t resident_bytes() const noexcept {
    return pages_.size() << kPageShift;
  }
  [[nodiscard]] std::uint64_t peak_bytes() const noexcept { return peak_pages_ << kPageShift; }
  [[nodiscard]] std::uint64_t resident_bytes_in(Address address, std::uint64_t bytes) const;
  // Bytes reserved for a purpose now: 0 when all has been released.
  [[nodiscard]] std::uint64_t reserved_bytes(Purpose purpose) const noexcept;

 private:
  std::uint64_t drop_pages(Address address, std::uint64_t bytes);
  void bury(std::byte* page) noexcept;
  SimRanges<Purpose> reserved_;
  SimPages pages_;
  std::array<std::byte*, 256> ghosts_{};  // dropped pages, a ring: still readable
  std::size_t buried_ = 0;
  std::uint64_t peak_pages_ = 0;
  Address next_fake_ = 0;  // offset from the first simulated address; only grows
};

}  // namespace holdfast::sys
