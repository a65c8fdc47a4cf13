#include "swap/ram_blocks.h"

#include <bit>

namespace holdfast::swap {

RamBlocks::~RamBlocks() {
  if (bytes_ != 0) machine_.release(address_, bytes_);
  if (table_bytes_ != 0) machine_.release(table_, table_bytes_);
}

Expected<void> RamBlocks::reserve(std::uint32_t blocks_max, std::uint32_t block_bytes) noexcept {
  HF_CHECK2(std::has_single_bit(block_bytes) && block_bytes >= kPageSize, block_bytes, blocks_max);
  block_bytes_ = block_bytes;
  block_shift_ = static_cast<unsigned>(std::countr_zero(block_bytes));
  cut_classes();
  const std::uint64_t bytes = std::uint64_t{blocks_max} * block_bytes;
  address_ = TRY(machine_.reserve(bytes, kPageSize, sys::Purpose::table));
  bytes_ = bytes;
  memory_ = machine_.view(address_);

  const std::uint64_t descriptors =
      round_up(std::uint64_t{blocks_max} * sizeof(RamBlock), kPageSize);
  const std::uint64_t owner_bytes = bytes / kPageSize * sizeof(std::uint32_t);
  const std::uint64_t table_bytes = descriptors + round_up(owner_bytes, kPageSize);
  table_ = TRY(machine_.reserve(table_bytes, kPageSize, sys::Purpose::table));
  table_bytes_ = table_bytes;
  std::byte* table = machine_.view(table_);
  blocks_ = {reinterpret_cast<RamBlock*>(table), blocks_max};  // zero-filled: all absent
  page_owners_ = reinterpret_cast<std::uint32_t*>(table + descriptors);
  return {};
}

void RamBlocks::cut_classes() noexcept {
  for (std::uint32_t c = 0; c < kSizeClasses; ++c) {
    const bool pages = c == kSizeClasses - 1;
    const std::uint32_t size = size_of(c);
    std::uint32_t n = block_bytes_ / (size + (pages ? 0 : std::uint32_t{sizeof(std::uint32_t)}));
    const auto head = [&] {
      return pages ? 0U
                   : static_cast<std::uint32_t>(round_up(n * sizeof(std::uint32_t), kPlaceUnit));
    };
    while (head() + n * size > block_bytes_) --n;
    capacity_[c] = n;
    objects_at_[c] = head();
  }
}

void RamBlocks::open(std::uint32_t block, std::uint32_t size_class, std::uint32_t age) noexcept {
  RamBlock& b = blocks_[block];
  HF_DCHECK2(b.used == 0, block, b.used);
  b.fresh = 0;
  b.free_head = kNoObject;
  b.next = base::kNoLink;
  b.prev = base::kNoLink;
  b.age.store(age, std::memory_order_relaxed);
  b.size_class.store(static_cast<std::uint8_t>(size_class), std::memory_order_relaxed);
  b.state.store(BlockState::partial, std::memory_order_relaxed);
}

std::uint32_t RamBlocks::take(std::uint32_t block, std::uint32_t slot) noexcept {
  RamBlock& b = blocks_[block];
  const std::uint32_t size_class = b.size_class.load(std::memory_order_relaxed);
  HF_DCHECK2(b.used < capacity_[size_class], b.used, size_class);
  std::uint32_t object = b.free_head;
  if (object != kNoObject) {
    std::memcpy(&b.free_head, bytes_at(place_of(block, size_class, object)), sizeof b.free_head);
  } else {
    object = b.fresh++;
    HF_DCHECK2(object < capacity_[size_class], object, size_class);
  }
  ++b.used;
  owner(block, size_class, object).store(slot, std::memory_order_relaxed);
  return object;
}

void RamBlocks::give(std::uint32_t block, std::uint32_t object) noexcept {
  RamBlock& b = blocks_[block];
  const std::uint32_t size_class = b.size_class.load(std::memory_order_relaxed);
  HF_DCHECK2(b.used > 0 && object < b.fresh, block, object);
  HF_DCHECK2(
      owner(block, size_class, object).load(std::memory_order_relaxed) != SlotIndex::kNoneValue,
      block, object);
  owner(block, size_class, object).store(SlotIndex::kNoneValue, std::memory_order_relaxed);
  std::memcpy(bytes_at(place_of(block, size_class, object)), &b.free_head, sizeof b.free_head);
  b.free_head = object;
  --b.used;
}

void RamBlocks::discard(std::uint32_t block) noexcept {
  HF_DCHECK2(blocks_[block].used == 0, block, blocks_[block].used);
  machine_.discard(address_ + std::uint64_t{block} * block_bytes_, block_bytes_);
}

}  // namespace holdfast::swap
