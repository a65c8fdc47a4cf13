#include "reclaim/scanner.h"

#include <algorithm>

namespace holdfast::reclaim {
namespace {
constexpr std::uint64_t kInactiveShare = 128;
// Active pages looked at in one step before it gives up: pinned, busy and recent ones are rotated.
constexpr std::uint32_t kLooksMax = 256;
}  // namespace

Scanner::Scanner(space::Parts& parts, space::AddressSpace& space) noexcept
    : parts_(parts),
      space_(space),
      inactive_target_(std::max<std::uint64_t>(2 * parts.window_pages,
                                               parts.pool.pages().size() / kInactiveShare)) {}

StepResult Scanner::step(bool urgent) noexcept {
  stepping_.fetch_add(1, std::memory_order_relaxed);
  StepResult result = make_free(urgent);
  if (result.freed == 0) result = look(urgent);
  if (urgent && !result.progress && parts_.pool.counts().warm > 0) {
    const std::uint64_t freed = parts_.cache->trim_all(space::kWriteOutBatch);
    if (freed > 0) result = {.freed = freed, .progress = true};
  }
  stepping_.fetch_sub(1, std::memory_order_relaxed);
  return result;
}

StepResult Scanner::look(bool urgent) noexcept {
  const std::uint64_t inactive = parts_.lru.counts().inactive;
  const bool refused = space_.evictor().all_refused(inactive);
  const bool crowded = inactive > inactive_target_;
  bool turn_busy = false;
  if (crowded && !refused) {
    const StepResult result = write_out_oldest();
    if (result.progress) return result;
    turn_busy = result.turn_busy;
  }
  StepResult result = unmap_oldest(urgent);
  if (result.progress || (crowded && !refused)) {
    return {.freed = result.freed, .progress = result.progress, .turn_busy = turn_busy};
  }
  if (refused) return result;
  const bool none_active = result.hopeless;
  result = inactive > 0 ? write_out_oldest() : result;
  result.hopeless = result.hopeless && none_active;
  return result;
}

std::uint64_t Scanner::steps_for_all() noexcept {
  const lru::LruCounts counts = parts_.lru.counts();
  return counts.inactive / space::kWriteOutBatch + (counts.active + counts.pending) / kLooksMax + 2;
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
  const space::WriteOutResult result = space_.evictor().write_out(std::span(frames, n));
  if (result.left == 0) {
    // Those that could not leave go behind the others, so that the next step sees something new.
    if (n > 0) parts_.lru.rotate_inactive(std::span(frames, n));
    const std::uint64_t inactive = parts_.lru.counts().inactive;
    return {.turn_busy = result.turn_busy,
            .hopeless = !result.busy && space_.evictor().all_refused(inactive)};
  }
  return {.freed = parts_.cache->drop_finished(), .progress = true};
}

// Hopeless: every active page is pinned, or there is no room to unmap one to.
StepResult Scanner::unmap_oldest(bool urgent) noexcept {
  const lru::LruCounts counts = parts_.lru.counts();
  const std::uint64_t all = counts.active + counts.pending;
  bool pinned_only = all <= kLooksMax;
  for (std::uint64_t looks = 0; looks < std::min<std::uint64_t>(kLooksMax, all); ++looks) {
    const FrameIndex frame = parts_.lru.oldest_active();
    if (frame.is_none()) break;
    const space::UnmapResult result = space_.evictor().unmap_window(frame, urgent);
    if (result.what == space::Unmapped::no_window) return {.hopeless = true};
    parts_.lru.rotate_active(frame);  // it stays only if it could not leave
    if (result.what == space::Unmapped::pages) return {.progress = true};
    if (result.what == space::Unmapped::failed) return {};
    pinned_only = pinned_only && result.what == space::Unmapped::pinned;
  }
  return {.hopeless = pinned_only};
}

}  // namespace holdfast::reclaim
