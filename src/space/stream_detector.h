// Stream detection: which faults follow one another at a fixed distance, and how many pages to
// bring in ahead for them.
//
// A region keeps a few detectors. A fault that continues one (at the distance that it has seen
// before) doubles its run, up to kRunMax pages (64: 256 KiB, where the per-page cost of entering a
// run stops falling; DESIGN.md section 10). Others start afresh, replacing the oldest.
//
// Thread-safety: relaxed atomics without a lock. Two threads that race may spoil a prediction,
// never a result: a plan is only advice about which pages to bring in.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "base/base.h"

namespace holdfast::space {

inline constexpr std::uint32_t kRunMax = 64;

// Pages index, index + stride, ... `pages` of them. Where the stride is 1, up to `before` of them
// may lie before the index instead.
struct RunPlan {
  std::uint32_t pages = 1;
  std::int64_t stride = 1;
  std::uint32_t before = 0;
};

class StreamDetector {
 public:
  // What a fault at `index` should bring in; `index` itself comes first. Any context.
  [[nodiscard]] RunPlan plan(std::uint64_t index) noexcept;
  // What was really brought in, so that the next fault is expected behind it.
  void brought(std::uint64_t index, const RunPlan& plan, std::uint32_t pages) noexcept;
  // Forgets all streams: the region is new.
  void reset() noexcept;

 private:
  static constexpr std::size_t kStreams = 8;  // interleaved streams that one region can follow
  static constexpr std::int64_t kNear = 64;   // farthest distance that counts as a stride

  struct Stream {
    std::atomic<std::uint64_t> last{kNowhere};  // the last page brought in or asked for
    std::atomic<std::int64_t> stride{0};        // 0: only one fault seen
    std::atomic<std::uint32_t> width{1};        // pages of the next run
  };
  static constexpr std::uint64_t kNowhere = ~std::uint64_t{0};

  RunPlan continue_stream(Stream& stream, std::uint64_t index, std::int64_t delta) noexcept;

  std::array<Stream, kStreams> streams_;
  std::atomic<std::uint32_t> next_victim_{0};
};

}  // namespace holdfast::space
