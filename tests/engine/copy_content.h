// What stands in the page of a cell, and who writes which half of it.
#pragma once

#include <gtest/gtest.h>

#include <cstring>

#include "engine/copy_world.h"
#include "engine/real_engine.h"

namespace holdfast::engine::test {

inline constexpr std::uint64_t kCellRegionPages = 64;
inline constexpr std::uint64_t kCellPage = 5;        // the one that it is about
inline constexpr std::uint64_t kOtherCellPage = 40;  // of another window, of the same leaf
// The program writes to the first half, the device to the second.
inline constexpr std::size_t kHalf = kPageSize / 2;
inline constexpr std::uint64_t kOldKey = 1000, kParentsKey = 2000, kChildsKey = 3000,
                               kDevicesKey = 4000, kFilling = 0x2a2a2a2a2a;
// The file: what the device gives, and where it puts what it is given.
inline constexpr std::uint64_t kFromFile = 0, kToFile = kPageSize;

inline PageBytes bytes_of(std::uint64_t key) {
  PageBytes bytes;
  write_page(bytes.data(), key);
  return bytes;
}

inline PageBytes filled_with(std::uint64_t word) {
  PageBytes bytes;
  for (std::size_t at = 0; at < kPageSize; at += sizeof word) {
    std::memcpy(bytes.data() + at, &word, sizeof word);
  }
  return bytes;
}

template <class Made>
Made take(Expected<Made> made) {
  if (made) return std::move(*made);
  ADD_FAILURE() << made.error().message();
  return {};
}

}  // namespace holdfast::engine::test
