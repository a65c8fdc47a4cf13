// Blocks of the compressed-memory tier: the memory itself, and how a block is cut into objects.
//
// A block is the unit of growth. It belongs to one size class at a time (multiples of kPlaceUnit up
// to a whole page) and holds `capacity` objects of that size, each with its owner's slot index: in
// the block itself, before the objects, except for whole pages, whose owners stand in a side table
// so that a block holds as many pages as it is long.
//
//   absent ─obtain (charge)─▶ empty ─▶ partial ◀─▶ full
//      ▲                       │ ▲        │          │ isolate
//      └─ give back (uncharge)─┘ └────────┴─ draining ◀
//
// Who owns what: RamBlocks owns the address range; which state a block is in is the tier's
// business. Fields of a block: by the lock of its class, but for what is marked atomic.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/base.h"
#include "swap/location.h"
#include "sys/sys.h"

namespace holdfast::swap {

enum class BlockState : std::uint8_t { absent, empty, partial, full, draining };

struct RamBlock {
  std::atomic<std::uint32_t> link{0};  // the stacks of absent and empty blocks
  std::uint32_t next = 0, prev = 0;    // the class's list of partial blocks
  std::uint32_t used = 0;              // objects that live
  std::uint32_t fresh = 0;             // objects that were ever used: the rest is untouched
  std::uint32_t free_head = 0;         // chain of freed objects through their first four bytes
  std::atomic<std::uint32_t> age{0};   // when it was opened, in blocks opened since the start
  std::atomic<BlockState> state{BlockState::absent};
  std::atomic<std::uint8_t> size_class{0};
};
static_assert(sizeof(RamBlock) == 32);

inline constexpr std::uint32_t kSizeClasses = kPageSize / kPlaceUnit;
inline constexpr std::uint32_t kNoObject = base::kNoLink;

class RamBlocks {
 public:
  explicit RamBlocks(sys::Machine& machine) noexcept : machine_(machine) {}
  ~RamBlocks();
  RamBlocks(const RamBlocks&) = delete;
  RamBlocks& operator=(const RamBlocks&) = delete;

  [[nodiscard]] Expected<void> reserve(std::uint32_t blocks_max,
                                       std::uint32_t block_bytes) noexcept;

  [[nodiscard]] static constexpr std::uint32_t class_of(std::uint32_t length) noexcept {
    return units_of(length) - 1;
  }
  [[nodiscard]] static constexpr std::uint32_t size_of(std::uint32_t size_class) noexcept {
    return (size_class + 1) * kPlaceUnit;
  }
  [[nodiscard]] std::uint32_t capacity(std::uint32_t size_class) const noexcept {
    return capacity_[size_class];
  }
  [[nodiscard]] std::uint32_t block_bytes() const noexcept { return block_bytes_; }
  [[nodiscard]] std::span<RamBlock> all() noexcept { return blocks_; }

  // Places: an object's offset from the start of the range, in units.
  [[nodiscard]] std::uint64_t place_of(std::uint32_t block, std::uint32_t size_class,
                                       std::uint32_t object) const noexcept {
    return (std::uint64_t{block} * block_bytes_ + objects_at_[size_class] +
            std::uint64_t{object} * size_of(size_class)) /
           kPlaceUnit;
  }
  [[nodiscard]] std::uint32_t block_of(std::uint64_t place) const noexcept {
    const auto block = static_cast<std::uint32_t>(place * kPlaceUnit >> block_shift_);
    HF_DCHECK2(block < blocks_.size(), place, block);
    return block;
  }
  [[nodiscard]] std::uint32_t object_of(std::uint64_t place,
                                        std::uint32_t size_class) const noexcept {
    const auto offset = static_cast<std::uint32_t>(place * kPlaceUnit & (block_bytes_ - 1));
    HF_DCHECK2(offset >= objects_at_[size_class], place, size_class);
    return (offset - objects_at_[size_class]) / size_of(size_class);
  }
  [[nodiscard]] std::byte* bytes_at(std::uint64_t place) const noexcept {
    return memory_ + place * kPlaceUnit;
  }
  // The owner of an object: a slot index, or none. Written under the class's lock, read without.
  [[nodiscard]] std::atomic_ref<std::uint32_t> owner(std::uint32_t block, std::uint32_t size_class,
                                                     std::uint32_t object) const noexcept {
    return std::atomic_ref<std::uint32_t>(owners(block, size_class)[object]);
  }

  // Starts a block in a class: no object lives. Class lock.
  void open(std::uint32_t block, std::uint32_t size_class, std::uint32_t age) noexcept;
  // Takes a free object of a block that has one, for `slot`. Class lock.
  [[nodiscard]] std::uint32_t take(std::uint32_t block, std::uint32_t slot) noexcept;
  // Frees an object. Class lock.
  void give(std::uint32_t block, std::uint32_t object) noexcept;
  // Drops the block's memory.
  void discard(std::uint32_t block) noexcept;

 private:
  [[nodiscard]] std::uint32_t* owners(std::uint32_t block,
                                      std::uint32_t size_class) const noexcept {
    if (size_class == kSizeClasses - 1)
      return page_owners_ + std::uint64_t{block} * capacity_[size_class];
    return reinterpret_cast<std::uint32_t*>(memory_ + std::uint64_t{block} * block_bytes_);
  }
  void cut_classes() noexcept;

  // Constant after reserve().
  sys::Machine& machine_;
  std::uint32_t block_bytes_ = 0;
  unsigned block_shift_ = 0;
  std::uint32_t capacity_[kSizeClasses] = {};
  std::uint32_t objects_at_[kSizeClasses] = {};  // offset of the first object in a block
  Address address_ = 0, table_ = 0;
  std::uint64_t bytes_ = 0, table_bytes_ = 0;
  std::byte* memory_ = nullptr;
  std::uint32_t* page_owners_ = nullptr;
  std::span<RamBlock> blocks_;
};

}  // namespace holdfast::swap
