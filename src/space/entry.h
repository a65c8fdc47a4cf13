// The page-table entry: one 64-bit atomic that is one page's whole state.
//
//   bit 0      lock: whoever sets it owns the entry (and may wait for I/O: the page is busy)
//   bit 1      waiters: somebody parks on the low word; whoever unlocks wakes them
//   bits 2-4   kind
//   bits 5-63  payload: frame index (resident, cached), slot index (swapped), packed word (filled)
//
//   none      never touched, or given back: reads as zeros
//   filled    a page of one repeated word: no frame, no slot
//   resident  mapped at its address; the entry holds one reference of the page
//   cached    unmapped, in the swap cache; the entry holds no reference (the VM's is the only one)
//   swapped   only in a swap slot, of which the entry holds one count
//
// A resident or cached page may keep a slot with its last written content: that count belongs to
// the page (Page::slot()), under the entry's lock. Rank of the lock: entry. Many may be held,
// taken in ascending order; only the first may be waited for while none is held.
#pragma once

#include <atomic>
#include <cstdint>

#include "base/base.h"
#include "sync/sync.h"

namespace holdfast::space {

enum class EntryKind : std::uint8_t { none = 0, filled = 1, resident = 2, cached = 3, swapped = 4 };

// The value of an entry, without its lock bits.
class EntryValue {
 public:
  constexpr EntryValue() noexcept = default;
  static constexpr EntryValue from_raw(std::uint64_t raw) noexcept {
    return EntryValue(raw & ~3ULL);
  }
  static constexpr EntryValue filled(std::uint64_t packed) noexcept {
    return make(EntryKind::filled, packed);
  }
  static constexpr EntryValue resident(FrameIndex frame) noexcept {
    return make(EntryKind::resident, frame.value);
  }
  static constexpr EntryValue cached(FrameIndex frame) noexcept {
    return make(EntryKind::cached, frame.value);
  }
  static constexpr EntryValue swapped(SlotIndex slot) noexcept {
    return make(EntryKind::swapped, slot.value);
  }

  [[nodiscard]] constexpr EntryKind kind() const noexcept {
    return static_cast<EntryKind>((raw_ >> 2) & 7U);
  }
  [[nodiscard]] constexpr FrameIndex frame() const noexcept {
    return FrameIndex(static_cast<std::uint32_t>(raw_ >> 5));
  }
  [[nodiscard]] constexpr SlotIndex slot() const noexcept {
    return SlotIndex(static_cast<std::uint32_t>(raw_ >> 5));
  }
  [[nodiscard]] constexpr std::uint64_t packed_word() const noexcept { return raw_ >> 5; }
  [[nodiscard]] constexpr std::uint64_t raw() const noexcept { return raw_; }
  // True if nothing stands at the address and a fault must bring the content in.
  [[nodiscard]] constexpr bool is_absent() const noexcept {
    return kind() == EntryKind::none || kind() == EntryKind::filled || kind() == EntryKind::swapped;
  }
  friend constexpr bool operator==(EntryValue, EntryValue) noexcept = default;

 private:
  explicit constexpr EntryValue(std::uint64_t raw) noexcept : raw_(raw) {}
  static constexpr EntryValue make(EntryKind kind, std::uint64_t payload) noexcept {
    return EntryValue(static_cast<std::uint64_t>(kind) << 2 | payload << 5);
  }
  std::uint64_t raw_ = 0;
};

class Entry {
 public:
  // The value now, locked or not. Any context.
  [[nodiscard]] EntryValue peek() const noexcept { return EntryValue::from_raw(load()); }
  [[nodiscard]] bool locked() const noexcept { return (load() & kLock) != 0; }
  // The value if the entry is not locked, for lock-free readers who look again afterwards.
  [[nodiscard]] bool unlocked_value(EntryValue& value) const noexcept {
    const std::uint64_t raw = load();
    value = EntryValue::from_raw(raw);
    return (raw & kLock) == 0;
  }

  // Takes the lock if it is free. False: somebody has it. Task context.
  [[nodiscard]] bool try_lock() noexcept {
    std::uint64_t raw = word_.load(std::memory_order_relaxed);
    HF_INTERLEAVE();
    if ((raw & kLock) != 0) return false;
    // seq_cst: pairs with a pinner that counts itself first and looks at the entry afterwards.
    if (!word_.compare_exchange_strong(raw, raw | kLock, std::memory_order_seq_cst,
                                       std::memory_order_relaxed)) {
      return false;
    }
    sync::note_acquire(sync::Rank::entry);
    return true;
  }
  // Waits until it has the lock. True: it had to wait. Task context, no other entry held.
  bool lock() noexcept;

  // Gives the lock back with a new value, and wakes who waits. The caller holds the lock.
  void unlock(EntryValue value) noexcept {
    HF_INTERLEAVE();
    const std::uint64_t old = word_.exchange(value.raw(), std::memory_order_release);
    HF_DCHECK2((old & kLock) != 0, old, value.raw());
    sync::note_release(sync::Rank::entry);
    if ((old & kWaiters) != 0) wake();
  }
  // Gives the lock back with the value unchanged.
  void unlock() noexcept { unlock(peek()); }

 private:
  static constexpr std::uint64_t kLock = 1;
  static constexpr std::uint64_t kWaiters = 2;

  [[nodiscard]] std::uint64_t load() const noexcept {
    return word_.load(std::memory_order_seq_cst);
  }
  void wake() noexcept;
  // The low half of the word, where lock and waiters stand: what waiters park on (little-endian).
  [[nodiscard]] std::atomic<std::uint32_t>& low_word() noexcept;

  std::atomic<std::uint64_t> word_{0};
};
static_assert(sizeof(Entry) == 8, "one word is one page's whole state");

}  // namespace holdfast::space
