// PAGEMAP_SCAN: which pages of a process there are, and of what kind. Linux 6.7; older headers lack
// it, so it is defined here.
#pragma once

#include <linux/ioctl.h>

#include <cstdint>

namespace holdfast::run {

struct PagemapScan {
  std::uint64_t size, flags, start, end, walk_end, vector, vector_length, pages_max;
  std::uint64_t inverted, all_of, any_of, wanted;
};
struct PagemapRun {
  std::uint64_t start, end, categories;
};

inline constexpr unsigned long kPagemapScan = _IOWR('f', 16, PagemapScan);
inline constexpr std::uint64_t kPageIsFile = 1U << 2;
inline constexpr std::uint64_t kPageIsPresent = 1U << 3;
inline constexpr std::uint64_t kPageIsSwapped = 1U << 4;  // by the kernel
inline constexpr std::uint64_t kPageIsZero = 1U << 5;

}  // namespace holdfast::run
