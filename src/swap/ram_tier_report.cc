// What RamTier tells about itself: counters, sizes, and its share of check().
#include <algorithm>

#include "swap/ram_tier.h"
#include "swap/report.h"

namespace holdfast::swap {

bool RamTier::nearly_full() const noexcept {
  return options_.limit_bytes != 0 && blocks_in_use() * 16 > std::uint64_t{blocks_max_} * 15;
}

std::uint64_t RamTier::charged_bytes() const noexcept {
  return std::uint64_t{held_.load(std::memory_order_relaxed)} * options_.block_bytes;
}

std::uint64_t RamTier::metadata_bytes() const noexcept {
  const std::uint64_t each = sizeof(RamBlock) + block_frames_ * sizeof(std::uint32_t);
  return touched_.load(std::memory_order_relaxed) * each + kSizeClasses * sizeof(SizeClass);
}

TierStats RamTier::stats() noexcept {
  TierStats s;
  s.kind = TierKind::ram;
  s.held_bytes = held_bytes();
  s.limit_bytes = options_.limit_bytes;
  for (SizeClass& c : classes_) {
    const ClassGuard guard(c.mutex);
    s.pages += c.added - c.removed;
    s.image_bytes += c.image_bytes;
    s.stores += c.added;
    s.frees += c.removed;
  }
  s.moved = moved_.load(std::memory_order_relaxed);
  s.stores -= std::min(s.stores, s.moved);  // a move within the tier is neither
  s.frees -= std::min(s.frees, s.moved);
  s.loads = loads_.load(std::memory_order_relaxed);
  s.refused_full = refused_.load(std::memory_order_relaxed);
  s.compactions = compactions_.load(std::memory_order_relaxed);
  return s;
}

void RamTier::begin_check() noexcept { checked_ = 0; }

bool RamTier::check_image(SlotIndex slot, Location location) noexcept {
  ++checked_;
  if (location.place() * kPlaceUnit >= std::uint64_t{blocks_max_} * options_.block_bytes) {
    return report(machine_, "slot lies outside the compressed memory", slot.value,
                  location.place());
  }
  const std::uint32_t block = blocks_.block_of(location.place());
  const RamBlock& b = blocks_.all()[block];
  const std::uint32_t size_class = b.size_class.load();
  const BlockState state = b.state.load();
  if (state != BlockState::partial && state != BlockState::full) {
    return report(machine_, "slot lies in a block that is not in use", slot.value, block);
  }
  if (size_class != RamBlocks::class_of(location.length())) {
    return report(machine_, "slot lies in a block of another size", slot.value, size_class);
  }
  const std::uint32_t object = blocks_.object_of(location.place(), size_class);
  const std::uint32_t owner = blocks_.owner(block, size_class, object).load();
  if (owner != slot.value) {
    return report(machine_, "object has another owner than its slot", slot.value, owner);
  }
  return true;
}

bool RamTier::end_check() noexcept {
  const std::span<RamBlock> all = blocks_.all();
  std::uint64_t held = 0;
  std::uint64_t used = 0;
  for (std::uint32_t i = 0; i < touched_.load(); ++i) {
    const BlockState state = all[i].state.load();
    if (state == BlockState::absent) continue;
    ++held;
    if (state == BlockState::draining) return report(machine_, "block still drains", i, 0);
    used += all[i].used;
    const std::uint32_t capacity = blocks_.capacity(all[i].size_class.load());
    if ((state == BlockState::full) != (all[i].used == capacity) && state != BlockState::empty) {
      return report(machine_, "block is full or not, but not listed so", i, all[i].used);
    }
  }
  if (held != held_.load())
    return report(machine_, "blocks held are miscounted", held, held_.load());
  if (used != checked_) return report(machine_, "objects live that no slot names", used, checked_);
  for (SizeClass& c : classes_) {
    const ClassGuard guard(c.mutex);
    if (!c.partial.is_valid()) return report(machine_, "list of partial blocks is broken", 0, 0);
  }
  return true;
}

}  // namespace holdfast::swap
