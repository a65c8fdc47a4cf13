// Units and strong ids. Two ids of different kinds do not mix, and an index is not a count.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>

namespace holdfast {

inline constexpr std::size_t kPageShift = 12;
inline constexpr std::size_t kPageSize = std::size_t{1} << kPageShift;  // x86-64 base page
inline constexpr std::size_t kHugeShift = 21;  // one page-table page of the CPU maps this much
inline constexpr std::size_t kHugeSize = std::size_t{1} << kHugeShift;

// An address in a machine's address space (the real one, or a simulated one). Not a pointer: only
// sys::Machine::view() turns it into one.
using Address = std::uintptr_t;

// A value of its own type: comparable and explicit to make, with no arithmetic but what its
// meaning allows.
template <class Tag, class Value>
struct StrongId {
  using value_type = Value;
  static constexpr Value kNoneValue = static_cast<Value>(~Value{0});

  Value value = kNoneValue;

  constexpr StrongId() noexcept = default;
  constexpr explicit StrongId(Value v) noexcept : value(v) {}
  static constexpr StrongId none() noexcept { return StrongId(); }
  [[nodiscard]] constexpr bool is_none() const noexcept { return value == kNoneValue; }
  friend constexpr auto operator<=>(StrongId, StrongId) noexcept = default;
};

using FrameIndex = StrongId<struct FrameTag, std::uint32_t>;  // which frame descriptor
using PageIndex = StrongId<struct PageTag, std::uint64_t>;    // which page of a region
using SlotIndex = StrongId<struct SlotTag, std::uint32_t>;    // which swap slot
using RegionId = StrongId<struct RegionTag, std::uint16_t>;   // which region of an engine

// How many pages. Counts add and subtract; they do not mix with indices or bytes.
struct PageCount {
  std::uint64_t value = 0;

  constexpr PageCount() noexcept = default;
  constexpr explicit PageCount(std::uint64_t v) noexcept : value(v) {}
  [[nodiscard]] constexpr std::uint64_t bytes() const noexcept { return value << kPageShift; }
  friend constexpr auto operator<=>(PageCount, PageCount) noexcept = default;
  friend constexpr PageCount operator+(PageCount a, PageCount b) noexcept {
    return PageCount(a.value + b.value);
  }
  friend constexpr PageCount operator-(PageCount a, PageCount b) noexcept {
    return PageCount(a.value - b.value);
  }
};

// The least number of whole pages that hold `bytes`.
[[nodiscard]] constexpr PageCount pages_for(std::uint64_t bytes) noexcept {
  return PageCount((bytes >> kPageShift) + ((bytes & (kPageSize - 1)) != 0 ? 1 : 0));
}

[[nodiscard]] constexpr bool is_page_aligned(std::uint64_t value) noexcept {
  return (value & (kPageSize - 1)) == 0;
}
[[nodiscard]] constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) noexcept {
  return (value + unit - 1) / unit * unit;
}

}  // namespace holdfast
