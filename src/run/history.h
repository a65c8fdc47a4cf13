// A run over time, in bounded memory: when it is full, neighbours become one, and from then on half
// as many are taken. What adds up (faults, bytes, time stalled) is kept as its sum so far, so that
// rates between any two samples are right at every resolution; what goes up and down is kept as it
// was at the one of the two moments when more memory was in use, so that no peak of that is lost.
//
// Owned by one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/base.h"

namespace holdfast::run {

struct Sample {
  std::uint64_t time_ns = 0;  // since the run began
  // At that time, or at a time since the sample before:
  std::uint64_t resident_pages = 0;
  std::uint64_t out_pages = 0;         // evicted
  std::uint64_t compressed_bytes = 0;  // what of it is in memory takes
  std::uint64_t file_bytes = 0;        // what of it is in files takes
  // Since the run began:
  std::uint64_t faults = 0;
  std::uint64_t pages_in = 0;
  std::uint64_t pages_out = 0;
  std::uint64_t stalled_ns = 0;
};

class History {
 public:
  History(std::size_t most, std::uint64_t interval_ns) noexcept
      : most_(most), interval_ns_(interval_ns) {}

  // Another sample is wanted.
  [[nodiscard]] bool is_due(std::uint64_t time_ns) const noexcept {
    return samples_.empty() || time_ns >= samples_.back().time_ns + interval_ns_;
  }
  void add(const Sample& sample) {
    if (samples_.size() >= most_) halve();
    samples_.push_back(sample);
  }
  [[nodiscard]] const std::vector<Sample>& samples() const noexcept { return samples_; }
  [[nodiscard]] std::uint64_t interval_ns() const noexcept { return interval_ns_; }

 private:
  static std::uint64_t in_use(const Sample& sample) noexcept {
    return sample.resident_pages * kPageSize + sample.compressed_bytes;
  }
  static Sample merge(const Sample& earlier, Sample later) noexcept {
    if (in_use(earlier) <= in_use(later)) return later;
    later.resident_pages = earlier.resident_pages;
    later.out_pages = earlier.out_pages;
    later.compressed_bytes = earlier.compressed_bytes;
    later.file_bytes = earlier.file_bytes;
    return later;
  }
  // The first stays, for it is where the sums begin.
  void halve() {
    std::size_t kept = 1;
    for (std::size_t i = 2; i < samples_.size(); i += 2) {
      samples_[kept++] = merge(samples_[i - 1], samples_[i]);
    }
    if (samples_.size() % 2 == 0) samples_[kept++] = samples_.back();
    samples_.resize(kept);
    interval_ns_ *= 2;
  }

  const std::size_t most_;
  std::uint64_t interval_ns_;
  std::vector<Sample> samples_;
};

}  // namespace holdfast::run
