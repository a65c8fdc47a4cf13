// What a simulated descriptor stands for: a file, or a stream that gives what it is fed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>

namespace holdfast::sys {

struct SimDeviceFile {
  std::deque<std::byte> bytes;  // of a stream: what has been fed and not yet read
  bool stream = false;
  bool ended = false;  // a stream: no more will come
  std::uint64_t position = 0;
};

}  // namespace holdfast::sys
