// A recording of a run, as it is in memory and in its file: for each address space the pages that
// came back in, in their order (docs/run.md has the format).
//
// A file may be of anybody's making: it is read once, as a whole, checked, and refused with the
// offset of what is wrong before anything is started.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>
#include <string>
#include <vector>

#include "run/page_log.h"

namespace holdfast::run {

// Pages of all address spaces together that one recording holds: 16 GiB of them. It takes 4 bytes
// for each while it is made, and 12 while it is replayed.
inline constexpr std::uint64_t kRecordedPagesMax = std::uint64_t{1} << 22;

// Which address space of a run: the how-manieth of those that ran this program, from 0, in the
// order in which they were born.
struct SpaceName {
  std::string program;
  std::uint32_t ordinal = 0;
  friend auto operator<=>(const SpaceName&, const SpaceName&) = default;
};

struct Recording {
  struct Space {
    SpaceName name;
    std::vector<std::uint64_t> pages;
  };
  std::string program;  // what the run was told to start: the path of its file
  std::vector<Space> spaces;
};

struct SpaceLog {
  SpaceName name;
  PageLog log;
};

using Bytes = std::vector<std::uint8_t>;

[[nodiscard]] Bytes encode_recording(const std::string& program,
                                     std::span<const SpaceLog* const> spaces);
// Or what is wrong with it, and at which byte.
[[nodiscard]] std::expected<Recording, std::string> decode_recording(
    std::span<const std::uint8_t> bytes);

// Of a file; or what is wrong with it.
[[nodiscard]] std::expected<Recording, std::string> read_recording(const std::string& path);
// Whether write_recording() could, as far as can be told without changing the file. errno.
[[nodiscard]] int check_recording_path(const std::string& path);
// Puts the file in the place of what is there, whole or not at all. errno.
[[nodiscard]] int write_recording(const std::string& path, std::span<const std::uint8_t> bytes);

}  // namespace holdfast::run
