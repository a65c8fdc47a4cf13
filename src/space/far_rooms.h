// Rooms for pages that come from beyond this machine, where a load may take as long as the swap's
// far tier is given to answer.
//
// What they are for: who waits that long must hold nothing that others need: no entry (a clone, a
// save, a reclaimer wait for those), no staging buffer, no frames. So a fault that meets a far page
// gives back all it has, takes a room, and a count of the slots that it wants: their content stays
// what it is whatever becomes of the pages. It loads into the room, and then begins anew, with what
// is in the room at hand. What it does not find there (the page has changed hands meanwhile) it
// looks for as ever.
//
// Rooms are few, and made at the beginning, so that a fault handler never allocates. Whoever finds
// none waits, holding nothing either; so does who wants what somebody else is fetching already.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/base.h"
#include "space/stream_detector.h"
#include "swap/swap.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::space {

class FarRoom {
 public:
  // What the slot holds, or why that cannot be had; null: it is none of those that were fetched.
  [[nodiscard]] const swap::LoadItem* find(SlotIndex slot) const noexcept;
  // Names one more page to be fetched; the caller has taken a count of its slot.
  void add(SlotIndex slot) noexcept;
  [[nodiscard]] std::span<swap::LoadItem> items() noexcept {
    return std::span(items_).first(count_);
  }

 private:
  friend class FarRooms;
  std::byte* memory_ = nullptr;  // kRunMax pages
  std::uint32_t count_ = 0;
  std::array<swap::LoadItem, kRunMax> items_{};
  std::array<std::atomic<std::uint32_t>, kRunMax> wanted_{};  // their slots, for others to look at
  std::atomic<std::uint32_t> next_{base::kNoLink};            // of the free ones
};

class FarRooms {
 public:
  explicit FarRooms(sys::Machine& machine) noexcept : machine_(machine) {}
  ~FarRooms();
  FarRooms(const FarRooms&) = delete;
  FarRooms& operator=(const FarRooms&) = delete;

  // As many far loads as a machine has in flight for faults.
  [[nodiscard]] static std::uint32_t count_for(const sys::Machine& machine) noexcept;

  // Errors: out of address space. Without it there are no rooms, and nothing is far.
  Expected<void> start();
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

  // A room to fetch `slot` to. Null: there was none, or somebody fetches that one; some time has
  // passed, and the page may be there. Task context; may wait, with nothing held.
  [[nodiscard]] FarRoom* take(SlotIndex slot) noexcept;
  // The caller has put the counts of its slots.
  void give(FarRoom& room) noexcept;
  // True if all were given back.
  [[nodiscard]] bool idle() const noexcept { return free_.size() == count_; }

 private:
  struct Links {
    static std::atomic<std::uint32_t>& next(FarRoom& room) noexcept { return room.next_; }
  };
  [[nodiscard]] std::span<FarRoom> rooms() const noexcept { return {rooms_.get(), count_}; }
  [[nodiscard]] bool is_wanted(SlotIndex slot) const noexcept;

  sys::Machine& machine_;
  Address address_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint32_t count_ = 0;
  std::unique_ptr<FarRoom[]> rooms_;
  sync::IndexStack<FarRoom, Links> free_;
  std::atomic<std::uint32_t> given_{0};  // how often; who waits for a room waits here
};

}  // namespace holdfast::space
