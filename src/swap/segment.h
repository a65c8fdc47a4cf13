// A segment: what one write puts into a cluster.
//
//   | header | directory | images ...                                  | padding to kPageSize |
//
// The directory names every image of the segment, so that compaction finds the owners of a
// cluster's images without a word of memory for each. What it says is only a hint: the slot's
// location decides.
//
// How images are placed: whole pages at page boundaries; compressed ones wherever the open page
// (one that is partly filled) has room. An image straddles two pages where it would otherwise waste
// more than kStraddleWaste of the open page: a read of two blocks costs no more than one here (72
// us either way), a sparser file costs writing and space. Segments start at page boundaries.
#pragma once

#include <cstdint>

#include "base/base.h"
#include "swap/location.h"

namespace holdfast::swap {

struct SegmentHeader {
  static constexpr std::uint32_t kMagic = 0x67655348;  // "HSeg"
  std::uint32_t magic = kMagic;
  std::uint32_t generation = 0;  // the cluster's, so that an older filling's rest is told apart
  std::uint32_t count = 0;       // entries of the directory
  std::uint32_t bytes = 0;       // of the whole segment, padding included
};

struct SegmentEntry {
  std::uint32_t slot = 0;
  std::uint16_t unit = 0;   // where the image begins, in kPlaceUnit from the segment's start
  std::uint16_t shape = 0;  // encoding << 13 | length
  [[nodiscard]] Encoding encoding() const noexcept { return static_cast<Encoding>(shape >> 13); }
  [[nodiscard]] std::uint32_t length() const noexcept { return shape & 0x1fffU; }
};
static_assert(sizeof(SegmentHeader) == 16 && sizeof(SegmentEntry) == 8);

inline constexpr std::uint32_t kSegmentImagesMax = 1024;
inline constexpr std::uint32_t kStraddleWaste = 256;                   // bytes
inline constexpr std::uint32_t kClusterBytesMax = 65536 * kPlaceUnit;  // unit has 16 bits

// Places images in a segment that grows from offset 0; all numbers are bytes.
class SegmentLayout {
 public:
  // room: what the segment may take, a multiple of kPageSize, at least two pages. images: how many
  // are expected; sets the size of the directory.
  SegmentLayout(std::uint32_t room, std::uint32_t images) noexcept : room_(room) {
    // The directory takes an eighth of the room at most, however many are expected.
    const std::uint32_t most = room / 8 / std::uint32_t{sizeof(SegmentEntry)};
    capacity_ = images < most ? images : most;
    if (capacity_ > kSegmentImagesMax) capacity_ = kSegmentImagesMax;
    if (capacity_ == 0) capacity_ = 1;
    const std::uint64_t head = sizeof(SegmentHeader) + capacity_ * sizeof(SegmentEntry);
    small_ = static_cast<std::uint32_t>(round_up(head, kPlaceUnit));
    end_ = open_end_ = static_cast<std::uint32_t>(round_up(small_, kPageSize));
    HF_DCHECK2(end_ <= room, end_, room);
  }
  SegmentLayout() noexcept = default;

  // Where an image of `length` bytes goes; kNone: it does not fit any more.
  static constexpr std::uint32_t kNone = ~0U;
  [[nodiscard]] std::uint32_t place(std::uint32_t length) noexcept {
    if (count_ == capacity_) return kNone;
    const std::uint32_t at = length == kPageSize ? place_page() : place_small(length);
    if (at != kNone) ++count_;
    return at;
  }
  [[nodiscard]] std::uint32_t end() const noexcept { return end_; }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }

 private:
  [[nodiscard]] std::uint32_t place_page() noexcept {
    if (end_ + kPageSize > room_) return kNone;
    const std::uint32_t at = end_;
    end_ += kPageSize;
    return at;
  }
  [[nodiscard]] std::uint32_t place_small(std::uint32_t length) noexcept {
    const std::uint32_t need = units_of(length) * kPlaceUnit;
    const std::uint32_t left = open_end_ - small_;
    if (need > left) {
      // What is more than a page, as a sealed one is, straddles wherever it begins.
      const bool straddle = open_end_ == end_ && (left > kStraddleWaste || need > kPageSize);
      const auto more =
          static_cast<std::uint32_t>(round_up(straddle ? need - left : need, kPageSize));
      if (end_ + more > room_) return kNone;
      if (!straddle) small_ = end_;
      end_ += more;
      open_end_ = end_;
    }
    const std::uint32_t at = small_;
    small_ += need;
    return at;
  }

  std::uint32_t room_ = 0, capacity_ = 0, count_ = 0;
  std::uint32_t small_ = 0;     // where the next compressed image goes ...
  std::uint32_t open_end_ = 0;  // ... up to here: the end of the open page
  std::uint32_t end_ = 0;       // end of the segment so far, a multiple of kPageSize
};

}  // namespace holdfast::swap
