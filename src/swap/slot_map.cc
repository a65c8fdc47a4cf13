#include "swap/slot_map.h"

#include <new>

namespace holdfast::swap {

SlotMap::~SlotMap() {
  if (bytes_ != 0) machine_.release(address_, bytes_);
}

Expected<void> SlotMap::reserve(std::uint64_t slots_max) noexcept {
  HF_CHECK2(bytes_ == 0, bytes_, slots_max);
  if (slots_max == 0 || slots_max >= base::kNoLink) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create swap",
                 .what = "slots_max",
                 .value = slots_max,
                 .limit = base::kNoLink - 1});
  }
  const std::uint64_t bytes = round_up(slots_max * sizeof(Slot), kPageSize);
  address_ = TRY(machine_.reserve(bytes, kPageSize, sys::Purpose::table));
  bytes_ = bytes;
  // Zero-filled memory is a valid Slot: no image, no holder. Making them by a loop would back it.
  auto* first = reinterpret_cast<Slot*>(machine_.view(address_));
  slots_ = {std::launder(first), static_cast<std::size_t>(slots_max)};
  return {};
}

SlotIndex SlotMap::allocate(base::Hash128 hash) noexcept {
  std::uint32_t index = free_.pop(slots_);
  if (index == base::kNoLink) {
    std::uint64_t next = touched_.load(std::memory_order_relaxed);
    do {
      if (next >= slots_.size()) return SlotIndex::none();
    } while (!touched_.compare_exchange_weak(next, next + 1, std::memory_order_acq_rel,
                                             std::memory_order_relaxed));
    index = static_cast<std::uint32_t>(next);
  }
  Slot& slot = slots_[index];
  HF_DCHECK2(slot.count.load(std::memory_order_relaxed) == 0, index, slot.count.load());
  slot.hash = hash;
  slot.count.store(1, std::memory_order_release);
  return SlotIndex(index);
}

void SlotMap::release(SlotIndex slot) noexcept {
  HF_DCHECK2(count_of(slot) == 0, slot.value, count_of(slot));
  HF_DCHECK2(peek(slot).is_none(), slot.value, peek(slot).word());
  free_.push(slots_, slot.value);
}

Location SlotMap::lock(SlotIndex slot) noexcept {
  std::atomic<std::uint64_t>& word = at(slot).location;
  for (;;) {
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    HF_INTERLEAVE();
    if ((seen & Location::kLock) == 0 &&
        word.compare_exchange_weak(seen, seen | Location::kLock, std::memory_order_acquire,
                                   std::memory_order_relaxed)) {
      return Location(seen);
    }
    if ((seen & Location::kLock) != 0) sync::parking().relax();
  }
}

void SlotMap::unlock(SlotIndex slot, Location location) noexcept {
  HF_DCHECK2((at(slot).location.load(std::memory_order_relaxed) & Location::kLock) != 0, slot.value,
             location.word());
  HF_INTERLEAVE();
  at(slot).location.store(location.word(), std::memory_order_release);
}

void SlotMap::publish(SlotIndex slot, Location location) noexcept {
  // A mover that holds a stale note of this slot may lock it for a moment, so it takes the lock.
  const Location old = lock(slot);
  HF_DCHECK2(old.is_none() || location.is_none(), slot.value, old.word());
  unlock(slot, location);
}

void SlotMap::get(SlotIndex slot) noexcept {
  const std::uint32_t old = at(slot).count.fetch_add(1, std::memory_order_relaxed);
  HF_DCHECK2(old != 0 && old != 0xffffffffU, slot.value, old);
}

bool SlotMap::try_get_locked(SlotIndex slot) noexcept {
  std::uint32_t old = at(slot).count.load(std::memory_order_relaxed);
  do {
    if (old == 0) return false;
  } while (!at(slot).count.compare_exchange_weak(old, old + 1, std::memory_order_acq_rel,
                                                 std::memory_order_relaxed));
  return true;
}

bool SlotMap::put(SlotIndex slot) noexcept {
  HF_INTERLEAVE();
  const std::uint32_t old = at(slot).count.fetch_sub(1, std::memory_order_acq_rel);
  HF_CHECK2(old != 0, slot.value, old);
  return old == 1;
}

std::uint64_t SlotMap::used() const noexcept {
  const std::uint64_t touched = touched_.load(std::memory_order_acquire);
  const std::uint64_t free = free_.size();
  return free > touched ? 0 : touched - free;
}

}  // namespace holdfast::swap
