// Where the image of a slot stands, as one 64-bit word that changes atomically.
//
//   63    lock: somebody reads the image, moves it or is about to free it; short, never across I/O
//   62    moving: a copy of the image is on its way to another place. Cleared by whoever finishes
//         the move, and by nobody else but the last put(); a slot that was freed and used again in
//         the meantime has the bit clear, so that the mover sees that its copy is stale
//   61-59 tier (7: no image yet, the page stands in the frame `place`)   58-15 place (in units of
//   64 bytes, the tier's own numbering) 14-13 encoding   12-0 length in bytes, 1 to 4096; a word of
//   0 is "no image"
#pragma once

#include <cstdint>

#include "base/base.h"

namespace holdfast::swap {

enum class Encoding : std::uint8_t { raw, lz4, zstd };

inline constexpr std::uint32_t kPlaceUnit = 64;  // a cache line: images start at one
inline constexpr unsigned kTiersMax = 7;
inline constexpr unsigned kFrameTier = 7;
inline constexpr std::uint64_t kPlaceBits = 44;
inline constexpr std::uint64_t kNoPlace = ~std::uint64_t{0};

// Units that an image of `length` bytes takes.
[[nodiscard]] constexpr std::uint32_t units_of(std::uint32_t length) noexcept {
  return (length + kPlaceUnit - 1) / kPlaceUnit;
}

class Location {
 public:
  static constexpr std::uint64_t kLock = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kMoving = std::uint64_t{1} << 62;

  constexpr Location() noexcept = default;
  constexpr explicit Location(std::uint64_t word) noexcept : word_(word & ~kLock) {}
  constexpr Location(unsigned tier, std::uint64_t place, Encoding encoding,
                     std::uint32_t length) noexcept
      : word_(std::uint64_t{tier} << kTierShift | place << kPlaceShift |
              std::uint64_t{static_cast<std::uint8_t>(encoding)} << kEncodingShift | length) {}

  // A version, which stands in a frame.
  static constexpr Location in_frame(FrameIndex frame) noexcept {
    return {kFrameTier, frame.value, Encoding::raw, kPageSize};
  }
  [[nodiscard]] constexpr bool is_frame() const noexcept {
    return !is_none() && tier() == kFrameTier;
  }
  [[nodiscard]] constexpr FrameIndex frame() const noexcept {
    return is_frame() ? FrameIndex(static_cast<std::uint32_t>(place())) : FrameIndex::none();
  }

  [[nodiscard]] constexpr std::uint64_t word() const noexcept { return word_; }
  [[nodiscard]] constexpr bool is_none() const noexcept { return length() == 0; }
  [[nodiscard]] constexpr bool moving() const noexcept { return (word_ & kMoving) != 0; }
  [[nodiscard]] constexpr Location with_moving() const noexcept {
    return Location(word_ | kMoving);
  }
  [[nodiscard]] constexpr Location settled() const noexcept { return Location(word_ & ~kMoving); }
  [[nodiscard]] constexpr unsigned tier() const noexcept {
    return static_cast<unsigned>(word_ >> kTierShift & 7U);
  }
  [[nodiscard]] constexpr std::uint64_t place() const noexcept {
    return word_ >> kPlaceShift & ((std::uint64_t{1} << kPlaceBits) - 1);
  }
  [[nodiscard]] constexpr Encoding encoding() const noexcept {
    return static_cast<Encoding>(word_ >> kEncodingShift & 3U);
  }
  [[nodiscard]] constexpr std::uint32_t length() const noexcept {
    return static_cast<std::uint32_t>(word_ & 0x1fffU);
  }
  [[nodiscard]] constexpr bool is_at(unsigned tier_index, std::uint64_t a_place) const noexcept {
    return !is_none() && tier() == tier_index && place() == a_place;
  }
  friend constexpr bool operator==(Location, Location) noexcept = default;

 private:
  static constexpr unsigned kEncodingShift = 13;
  static constexpr unsigned kPlaceShift = 15;
  static constexpr unsigned kTierShift = 59;
  static_assert(kPlaceShift + kPlaceBits == kTierShift, "place ends where tier begins");

  std::uint64_t word_ = 0;
};
static_assert(kPageSize <= 0x1fff, "a raw page's length fits");

}  // namespace holdfast::swap
