#include "space/far_rooms.h"

#include <algorithm>

namespace holdfast::space {
namespace {

constexpr std::uint64_t kRoomBytes = kRunMax * kPageSize;

}  // namespace

const swap::LoadItem* FarRoom::find(SlotIndex slot) const noexcept {
  for (const swap::LoadItem& item : std::span(items_).first(count_)) {
    if (item.slot == slot) return &item;
  }
  return nullptr;
}

void FarRoom::add(SlotIndex slot) noexcept {
  HF_DCHECK2(count_ < kRunMax, count_, slot.value);
  items_[count_] = {.slot = slot, .page = memory_ + count_ * kPageSize, .error = {}};
  wanted_[count_].store(slot.value, std::memory_order_release);
  ++count_;
}

FarRooms::~FarRooms() {
  if (address_ != 0) machine_.release(address_, bytes_);
}

std::uint32_t FarRooms::count_for(const sys::Machine& machine) noexcept {
  return std::min(machine.cpu_count() + 2, 32U);
}

Expected<void> FarRooms::start() {
  const std::uint32_t count = count_for(machine_);
  address_ = TRY(machine_.reserve(count * kRoomBytes, kPageSize, sys::Purpose::table));
  bytes_ = count * kRoomBytes;
  rooms_ = std::make_unique<FarRoom[]>(count);
  count_ = count;
  for (std::uint32_t i = count; i-- > 0;) {
    rooms_[i].memory_ = machine_.view(address_) + i * kRoomBytes;
    for (auto& slot : rooms_[i].wanted_) slot.store(SlotIndex().value, std::memory_order_relaxed);
    free_.push(rooms(), i);
  }
  return {};
}

bool FarRooms::is_wanted(SlotIndex slot) const noexcept {
  return std::ranges::any_of(rooms(), [slot](const FarRoom& room) {
    return std::ranges::any_of(room.wanted_, [slot](const std::atomic<std::uint32_t>& wanted) {
      return wanted.load(std::memory_order_acquire) == slot.value;
    });
  });
}

FarRoom* FarRooms::take(SlotIndex slot) noexcept {
  sync::check_may_wait();
  const std::uint32_t seen = given_.load(std::memory_order_acquire);
  HF_INTERLEAVE();
  if (!is_wanted(slot)) {
    const std::uint32_t index = free_.pop(rooms());
    if (index != base::kNoLink) return &rooms_[index];
  }
  sync::parking().wait(given_, seen, 0);
  return nullptr;
}

void FarRooms::give(FarRoom& room) noexcept {
  for (std::uint32_t i = 0; i < room.count_; ++i) {
    room.wanted_[i].store(SlotIndex().value, std::memory_order_release);
  }
  room.count_ = 0;
  free_.push(rooms(), static_cast<std::uint32_t>(&room - rooms_.get()));
  given_.fetch_add(1, std::memory_order_release);
  sync::parking().wake(given_, sync::kWakeAll);
}

}  // namespace holdfast::space
