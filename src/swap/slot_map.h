// The slot map: 32 bytes a slot, for as many slots as the memory budget can ever need.
//
// What it is for: from a slot's index to its page's hash, its image's location, and how many hold
// it. Who owns what: the map owns the table, a range of reserved memory that is backed as slots are
// first used; whoever allocates a slot has its first count.
//
// Concurrency: everything is atomic or guarded by the slot's own lock bit; there is no lock of the
// whole map. hash is written before the slot is handed out and constant until its last count goes.
// The lock bit is held for a decompression at most, never across I/O; whoever finds it set spins
// through parking().relax().
//
// Order: a slot's lock bit comes before every tier's locks.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "swap/location.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::swap {

struct Slot {
  base::Hash128 hash;
  std::atomic<std::uint64_t> location{0};  // lock bit, and Location
  std::atomic<std::uint32_t> count{0};     // holders; 0: free, or about to be
  std::atomic<std::uint32_t> link{0};      // next free slot
};
static_assert(sizeof(Slot) == 32, "metadata budget: 32 bytes a slot");

class SlotMap {
 public:
  explicit SlotMap(sys::Machine& machine) noexcept : machine_(machine) {}
  ~SlotMap();
  SlotMap(const SlotMap&) = delete;
  SlotMap& operator=(const SlotMap&) = delete;

  // Reserves room for slots_max slots (1 to 2^32 - 1). Once, before any other call.
  [[nodiscard]] Expected<void> reserve(std::uint64_t slots_max) noexcept;

  // A slot with count 1 and no location; none: all are used. Any context.
  [[nodiscard]] SlotIndex allocate(base::Hash128 hash) noexcept;
  // Gives back a slot whose count is 0 and whose location is none.
  void release(SlotIndex slot) noexcept;

  // Takes the lock bit; returns where the image stands.
  Location lock(SlotIndex slot) noexcept;
  // Sets the location and drops the lock bit. The caller has it.
  void unlock(SlotIndex slot, Location location) noexcept;
  // Sets the location of a slot that only the caller knows.
  void publish(SlotIndex slot, Location location) noexcept;
  // The location without a lock: a hint, but for a slot that is quiet.
  [[nodiscard]] Location peek(SlotIndex slot) const noexcept {
    return Location(at(slot).location.load(std::memory_order_acquire));
  }

  // A hint that the slot will be used soon: its line of memory is on its way. Any context; the slot
  // may be free by now.
  void prefetch(SlotIndex slot) const noexcept {
    __builtin_prefetch(slots_.data() + slot.value, 1);
  }

  void get(SlotIndex slot) noexcept;
  // Adds a holder unless there is none. The slot is locked.
  [[nodiscard]] bool try_get_locked(SlotIndex slot) noexcept;
  // The slot is locked, and has no image.
  void set_hash_locked(SlotIndex slot, base::Hash128 hash) noexcept { at(slot).hash = hash; }
  // One holder less; true: it was the last, and the caller frees the image and releases the slot.
  [[nodiscard]] bool put(SlotIndex slot) noexcept;
  [[nodiscard]] std::uint32_t count_of(SlotIndex slot) const noexcept {
    return at(slot).count.load(std::memory_order_acquire);
  }
  [[nodiscard]] base::Hash128 hash_of(SlotIndex slot) const noexcept { return at(slot).hash; }

  [[nodiscard]] std::uint64_t used() const noexcept;
  [[nodiscard]] std::uint64_t max() const noexcept { return slots_.size(); }
  // Slots that were ever used: all indices are below.
  [[nodiscard]] std::uint64_t touched() const noexcept {
    return touched_.load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint64_t metadata_bytes() const noexcept { return touched() * sizeof(Slot); }

 private:
  struct Links {
    static std::atomic<std::uint32_t>& next(Slot& slot) noexcept { return slot.link; }
  };

  [[nodiscard]] Slot& at(SlotIndex slot) noexcept {
    HF_DCHECK2(slot.value < touched(), slot.value, touched());
    return slots_[slot.value];
  }
  [[nodiscard]] const Slot& at(SlotIndex slot) const noexcept {
    HF_DCHECK2(slot.value < touched(), slot.value, touched());
    return slots_[slot.value];
  }

  // --- constant after reserve() ---
  sys::Machine& machine_;
  Address address_ = 0;
  std::uint64_t bytes_ = 0;
  std::span<Slot> slots_;
  // --- lock-free ---
  alignas(64) sync::IndexStack<Slot, Links> free_;
  alignas(64) std::atomic<std::uint64_t> touched_{0};
};

}  // namespace holdfast::swap
