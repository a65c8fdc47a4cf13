#include "reclaim/scanner.h"

#include <algorithm>

namespace holdfast::reclaim {
namespace {
constexpr std::uint64_t kInactiveShare = 32;
// Active pages looked at in one step before it gives up: pinned, busy and recent ones are rotated.
constexpr std::uint32_t kLooksMax = 256;
}  // namespace

Scanner::Scanner(space::Parts& parts, space::AddressSpace& space) noexcept
    : parts_(parts),
      space_(space),
      inactive_target_(std::max<std::uint64_t>(parts.window_pages,
                                               parts.pool.pages().size() / kInactiveShare)) {}

StepResult Scanner::step(bool urgent) noexcept {
  StepResult result = make_free(urgent);
  if (result.freed > 0) return result;
  const lru::LruCounts counts = parts_.lru.counts();
  if (counts.inactive > inactive_target_) {
    result = write_out_oldest();
    if (result.progress) return result;
  }
  result = unmap_oldest(urgent);
  if (result.progress) return result;
  return counts.inactive > 0 ? write_out_oldest() : result;
}

StepResult Scanner::make_free(bool urgent) noexcept {
  std::uint64_t freed = parts_.pool.drain();
  freed += parts_.cache->drop_finished();
  if (urgent && freed == 0) freed += parts_.cache->drop_recycled();
  return {freed, freed > 0};
}

StepResult Scanner::write_out_oldest() noexcept {
  FrameIndex frames[space::kWriteOutBatch];
  const std::uint32_t n = parts_.lru.oldest_inactive(frames);
  const std::uint32_t left = space_.evictor().write_out(std::span(frames, n));
  // Those that could not leave go behind the others, so that the next step sees something new.
  if (left == 0 && n > 0) parts_.lru.rotate_inactive(std::span(frames, n));
  const std::uint64_t freed = left > 0 ? parts_.cache->drop_finished() : 0;
  return {freed, left > 0};
}

StepResult Scanner::unmap_oldest(bool urgent) noexcept {
  const lru::LruCounts counts = parts_.lru.counts();
  const std::uint64_t looks_max =
      std::min<std::uint64_t>(kLooksMax, counts.active + counts.pending);
  for (std::uint64_t looks = 0; looks < looks_max; ++looks) {
    const FrameIndex frame = parts_.lru.oldest_active();
    if (frame.is_none()) return {};
    const space::UnmapResult result = space_.evictor().unmap_window(frame, urgent);
    if (result.what == space::Unmapped::no_window) return {};
    parts_.lru.rotate_active(frame);  // it stays only if it could not leave
    if (result.what == space::Unmapped::pages) return {0, true};
    if (result.what == space::Unmapped::failed) return {};
  }
  return {};
}

}  // namespace holdfast::reclaim
