// The setting of a comparison of mapped files: the same for both sides, each with a file of its
// own.
#pragma once

#include <cstdint>
#include <string>

namespace holdfast::bench {

enum class FileLoop : std::uint8_t {
  scan,    // every word of the cold file, in order; MiB/s
  random,  // one word of uniformly random pages of the cold file; us a load
  asked,   // the same, by coroutines that ask for their pages; the peer has none, and loads
  sort,    // the file's 64-bit numbers in place, by two threads, and durably; s
  hot,     // loads and stores of random pages of a part that fits; ns each
  stall,   // 99.9th percentile of a random load while another thread stores; us
};

struct FileScene {
  FileLoop loop = FileLoop::scan;
  std::uint64_t bytes = 0;     // of the file
  std::uint64_t resident = 0;  // bytes of it that may be in memory
  std::uint64_t part = 0;      // hot: the bytes that are worked on
  std::uint64_t ops = 0;       // random, asked, hot: operations a round
  unsigned coroutines = 0;     // asked
  double seconds = 0;          // stall: of a round
  std::string path = {};

  [[nodiscard]] bool is_random() const {
    return loop == FileLoop::random || loop == FileLoop::asked;
  }
  // Sizes and counts divided, for smoke runs.
  [[nodiscard]] FileScene divided_by(std::uint64_t divisor) const {
    FileScene smaller = *this;
    smaller.bytes /= divisor;
    smaller.resident /= divisor;
    smaller.part /= divisor;
    smaller.ops /= divisor;
    smaller.seconds /= double(divisor);
    return smaller;
  }
};

}  // namespace holdfast::bench
