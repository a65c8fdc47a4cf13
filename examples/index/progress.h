// The progress line: rewritten in place on a terminal, an occasional line elsewhere.
#pragma once

#include <chrono>
#include <cstdint>

class Progress {
 public:
  Progress();
  // True when it is time for a new line; asking is cheap enough for every document.
  [[nodiscard]] bool due();
  // faults: so far. Says the rate since the last line.
  void show(std::uint64_t documents, std::uint64_t postings, std::uint64_t index_bytes,
            std::uint64_t faults);
  // Ends the line.
  void finish();
  [[nodiscard]] double seconds() const;

 private:
  using Clock = std::chrono::steady_clock;
  const bool terminal_;
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  std::uint64_t last_faults_ = 0;
  bool shown_ = false;
};
