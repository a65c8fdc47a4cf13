#include "space/stream_detector.h"

#include <algorithm>

namespace holdfast::space {

RunPlan StreamDetector::plan(std::uint64_t index) noexcept {
  Stream* nearest = nullptr;
  std::int64_t nearest_delta = 0;
  for (Stream& stream : streams_) {
    const std::uint64_t last = stream.last.load(std::memory_order_relaxed);
    if (last == kNowhere) continue;
    const auto delta = static_cast<std::int64_t>(index - last);
    if (delta == 0) return {};  // the same page again: no news
    const std::int64_t stride = stream.stride.load(std::memory_order_relaxed);
    if (stride == delta) return continue_stream(stream, index, delta);
    if (std::abs(delta) > kNear) continue;
    if (nearest == nullptr || std::abs(delta) < std::abs(nearest_delta)) {
      nearest = &stream;
      nearest_delta = delta;
    }
  }
  if (nearest != nullptr) return continue_stream(*nearest, index, nearest_delta);
  const std::uint32_t victim = next_victim_.fetch_add(1, std::memory_order_relaxed);
  Stream& fresh = streams_[victim % kStreams];
  fresh.last.store(index, std::memory_order_relaxed);
  fresh.stride.store(0, std::memory_order_relaxed);
  fresh.width.store(1, std::memory_order_relaxed);
  return {};
}

RunPlan StreamDetector::continue_stream(Stream& stream, std::uint64_t index,
                                        std::int64_t delta) noexcept {
  const std::int64_t stride = stream.stride.load(std::memory_order_relaxed);
  std::uint32_t width = stream.width.load(std::memory_order_relaxed);
  // A forward stream that found some of its pages resident goes on where they end.
  const bool onward = stride == delta || (stride == 1 && delta > 0) || (stride == -1 && delta < 0);
  if (onward) {
    width = std::min(width * 2, kRunMax);
  } else {
    // One near fault is a coincidence unless it is the very next page.
    stream.stride.store(delta, std::memory_order_relaxed);
    width = std::abs(delta) == 1 ? 2 : 1;
  }
  stream.width.store(width, std::memory_order_relaxed);
  stream.last.store(index, std::memory_order_relaxed);
  return {width, stream.stride.load(std::memory_order_relaxed)};
}

void StreamDetector::brought(std::uint64_t index, const RunPlan& plan,
                             std::uint32_t pages) noexcept {
  if (pages <= 1) return;
  for (Stream& stream : streams_) {
    if (stream.last.load(std::memory_order_relaxed) != index) continue;
    stream.last.store(index + static_cast<std::uint64_t>(plan.stride) * (pages - 1),
                      std::memory_order_relaxed);
    return;
  }
}

void StreamDetector::reset() noexcept {
  for (Stream& stream : streams_) {
    stream.last.store(kNowhere, std::memory_order_relaxed);
    stream.stride.store(0, std::memory_order_relaxed);
    stream.width.store(1, std::memory_order_relaxed);
  }
}

}  // namespace holdfast::space
