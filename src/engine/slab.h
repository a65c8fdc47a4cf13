// A slab: 64 KiB of equal slots, and which of them are taken.
//
// What it is for: small objects of RegionResource. The table is a bitmap in ordinary memory, so
// neither taking nor giving a slot touches the managed pages: freeing a cold object costs no fault.
// The lowest free slot is taken first, so a fresh slab is a bump allocator, and objects that are
// made together lie together.
//
// Context: task, one thread at a time (the heap locks).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/base.h"

namespace holdfast::engine {

// The sizes of slots: multiples of 16 up to 128, then four to a doubling. At most a fifth is lost.
inline constexpr std::array<std::uint32_t, 24> kSlotSizes = {
    16,  32,  48,  64,  80,  96,  112, 128,  160,  192,  224,  256,
    320, 384, 448, 512, 640, 768, 896, 1024, 1280, 1536, 1792, 2048};
inline constexpr std::size_t kLargestSlot = kSlotSizes.back();
inline constexpr std::size_t kSlabBytes = std::size_t{64} << 10;
inline constexpr std::size_t kSlabPages = kSlabBytes / kPageSize;

class SlabList;

class Slab {
 public:
  // Where a slab stands; a class has one current slab and two lists.
  enum class Place : std::uint8_t {
    nowhere,  // full, or just made
    current,  // the one that allocation takes from
    roomy,    // on the list of those with room enough to be worth going back to
    sparse,   // on the list of those with few free slots: used when the region is full
  };

  // address: where its slots begin, a multiple of kSlabBytes. Throws std::bad_alloc.
  Slab(std::uintptr_t address, std::uint32_t size_class);

  // Takes the lowest free slot; the slab is not full. Returns its address.
  [[nodiscard]] std::uintptr_t take() noexcept;
  // Gives back the slot at `address`, which is taken.
  void give(std::uintptr_t address) noexcept;

  [[nodiscard]] bool full() const noexcept { return used_ == slots_; }
  [[nodiscard]] bool empty() const noexcept { return used_ == 0; }
  // An eighth is free: going back here fills a place, not a pinhole.
  [[nodiscard]] bool roomy() const noexcept { return (slots_ - used_) * 8 >= slots_; }
  [[nodiscard]] std::uintptr_t address() const noexcept { return address_; }
  [[nodiscard]] std::uint32_t size_class() const noexcept { return size_class_; }
  [[nodiscard]] std::uint32_t used() const noexcept { return used_; }
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return sizeof(Slab) + words() * 8; }
  // Proves that the bitmap and the count agree; aborts if not. For tests.
  void check() const;

  Place place = Place::nowhere;

 private:
  friend class SlabList;

  [[nodiscard]] std::uint32_t words() const noexcept { return (slots_ + 63) / 64; }

  const std::uintptr_t address_;
  const std::uint32_t size_class_;
  const std::uint32_t slots_;
  std::uint32_t used_ = 0;
  std::uint32_t hint_ = 0;  // no word before this one has a free slot
  std::unique_ptr<std::uint64_t[]> taken_;
  Slab* previous_ = nullptr;  // both cleared when the slab leaves its list
  Slab* next_ = nullptr;
};

// A list of slabs, last in first out; owns nothing.
class SlabList {
 public:
  explicit SlabList(Slab::Place place) noexcept : place_(place) {}
  void push(Slab& slab) noexcept;
  void remove(Slab& slab) noexcept;
  // The slab that came last, taken off; null if there is none.
  [[nodiscard]] Slab* pop() noexcept;

 private:
  const Slab::Place place_;
  Slab* head_ = nullptr;
};

}  // namespace holdfast::engine
