// What the pager knows of each page of one address space: one word a page, kept by the window, and
// only for windows of which something is known.
//
//   none      nothing: in memory, or never touched. A fault on it means zeros
//   filled    out; every word of it is this one
//   swapped   out; its content is in a slot, of which the entry holds a count
//   kept      in memory; the slot had its content when it came in. Whether it still has is decided
//             by hash when it leaves again (ADR 0002)
//   buffered  out; its content stands in a place of an eviction buffer
//   doomed    in memory, and about to be thrown away by its own process (madvise): must not leave,
//             for then what was thrown away would come back
//
// Owned by one client, under its lock.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>

#include "base/base.h"

namespace holdfast::run {

inline constexpr std::uint64_t kWindowPages = kHugeSize / kPageSize;

enum class EntryState : std::uint8_t { none, filled, swapped, kept, buffered, doomed };

class Entry {
 public:
  constexpr Entry() noexcept = default;
  static constexpr Entry filled(std::uint64_t packed) noexcept {
    return Entry(EntryState::filled, packed);
  }
  static constexpr Entry swapped(SlotIndex slot) noexcept {
    return Entry(EntryState::swapped, slot.value);
  }
  // No slot: there is nothing to keep.
  static constexpr Entry kept(SlotIndex slot) noexcept {
    return slot.is_none() ? Entry() : Entry(EntryState::kept, slot.value);
  }
  static constexpr Entry buffered(std::uint32_t buffer, std::uint32_t place) noexcept {
    return Entry(EntryState::buffered, buffer * kWindowPages + place);
  }
  static constexpr Entry doomed() noexcept { return Entry(EntryState::doomed, 0); }

  [[nodiscard]] constexpr EntryState state() const noexcept {
    return static_cast<EntryState>(word_ & kStateMask);
  }
  // filled: the word, packed (base/same_filled.h).
  [[nodiscard]] constexpr std::uint64_t packed() const noexcept { return word_ >> kStateBits; }
  // swapped, kept.
  [[nodiscard]] constexpr SlotIndex slot() const noexcept {
    return SlotIndex(static_cast<std::uint32_t>(word_ >> kStateBits));
  }
  // buffered.
  [[nodiscard]] constexpr std::uint32_t buffer() const noexcept {
    return static_cast<std::uint32_t>((word_ >> kStateBits) / kWindowPages);
  }
  [[nodiscard]] constexpr std::uint32_t place() const noexcept {
    return static_cast<std::uint32_t>((word_ >> kStateBits) % kWindowPages);
  }
  // Its content is with the pager and nowhere else.
  [[nodiscard]] constexpr bool is_out() const noexcept {
    return state() == EntryState::filled || state() == EntryState::swapped ||
           state() == EntryState::buffered;
  }
  [[nodiscard]] constexpr bool has_slot() const noexcept {
    return state() == EntryState::swapped || state() == EntryState::kept;
  }
  friend constexpr bool operator==(Entry, Entry) noexcept = default;

 private:
  static constexpr unsigned kStateBits = 3;
  static constexpr std::uint64_t kStateMask = (1U << kStateBits) - 1;
  constexpr Entry(EntryState state, std::uint64_t value) noexcept
      : word_(value << kStateBits | static_cast<std::uint64_t>(state)) {}

  std::uint64_t word_ = 0;
};

class EntryTable {
 public:
  struct Window {
    std::array<Entry, kWindowPages> entries{};
  };

  // Pages are numbered by address >> kPageShift.
  [[nodiscard]] Entry get(std::uint64_t page) const noexcept {
    const auto found = windows_.find(page / kWindowPages);
    return found == windows_.end() ? Entry() : found->second->entries[page % kWindowPages];
  }
  void set(std::uint64_t page, Entry entry) {
    auto found = windows_.find(page / kWindowPages);
    if (found == windows_.end()) {
      if (entry == Entry()) return;
      found = windows_.emplace(page / kWindowPages, std::make_unique<Window>()).first;
    }
    replace(found->second->entries[page % kWindowPages], entry);
  }
  // `entry` is one of this table: whoever changes it where it stands does it by this, for the
  // table counts what is out.
  void replace(Entry& entry, Entry now) noexcept {
    const std::uint64_t out = out_pages_.load(std::memory_order_relaxed);
    out_pages_.store(out + (now.is_out() ? 1 : 0) - (entry.is_out() ? 1 : 0),
                     std::memory_order_relaxed);
    entry = now;
  }
  // How many pages are out. Any thread, without the lock.
  [[nodiscard]] std::uint64_t out_pages() const noexcept {
    return out_pages_.load(std::memory_order_relaxed);
  }

  // Calls visit(page, entry&) for each page of [first, last) that has more than a `none` entry.
  template <class Visit>
  void for_each(std::uint64_t first, std::uint64_t last, Visit visit) {
    const std::uint64_t windows = (last + kWindowPages - 1) / kWindowPages - first / kWindowPages;
    if (windows > windows_.size()) {
      for (auto& [index, window] : windows_) visit_window(index, *window, first, last, visit);
      return;
    }
    for (std::uint64_t index = first / kWindowPages; index * kWindowPages < last; ++index) {
      const auto found = windows_.find(index);
      if (found != windows_.end()) visit_window(index, *found->second, first, last, visit);
    }
  }

 private:
  template <class Visit>
  static void visit_window(std::uint64_t index, Window& window, std::uint64_t first,
                           std::uint64_t last, Visit& visit) {
    for (std::uint64_t i = 0; i < kWindowPages; ++i) {
      const std::uint64_t page = index * kWindowPages + i;
      if (page >= first && page < last && !(window.entries[i] == Entry())) {
        visit(page, window.entries[i]);
      }
    }
  }

  std::unordered_map<std::uint64_t, std::unique_ptr<Window>> windows_;
  std::atomic<std::uint64_t> out_pages_{0};  // written under the lock
};

}  // namespace holdfast::run
