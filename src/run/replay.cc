#include "run/replay.h"

#include <algorithm>
#include <numeric>
#include <utility>

namespace holdfast::run {
namespace {

constexpr std::uint32_t kNear = 32;           // what was recorded so soon may well be missing first
constexpr std::uint32_t kAgree = 64;          // so close are two faults that agree
constexpr std::uint32_t kPatience = 256;      // faults that fail before it may be anywhere
constexpr std::uint32_t kStepsForFault = 16;  // so much farther for each that has failed

}  // namespace

ReplayTrack::ReplayTrack(std::vector<std::uint64_t> pages)
    : pages_(std::move(pages)), by_page_(pages_.size()) {
  std::iota(by_page_.begin(), by_page_.end(), 0U);
  std::ranges::sort(by_page_, {},
                    [&](std::uint32_t position) { return std::pair(pages_[position], position); });
}

std::uint32_t ReplayTrack::find(std::uint64_t page, std::uint32_t from) const noexcept {
  if (from < pages_.size() && pages_[from] == page) return from;
  const auto at = std::ranges::lower_bound(
      by_page_, std::pair(page, from), {},
      [&](std::uint32_t position) { return std::pair(pages_[position], position); });
  return at != by_page_.end() && pages_[*at] == page ? *at : kNone;
}

std::uint32_t ReplayCursor::reached(std::uint64_t page) noexcept {
  if (track_ == nullptr) return 0;
  const std::uint32_t position = track_->find(page, position_);
  if (position != ReplayTrack::kNone && position < ahead_ + kNear) return on_track(position);
  return off_track(page, position);
}

std::uint32_t ReplayCursor::on_track(std::uint32_t position) noexcept {
  lost_ = 0;
  elsewhere_ = ReplayTrack::kNone;
  if (position >= ahead_) {
    passed_ += std::exchange(brought_, 0);
    const bool skips = position - ahead_ > width_;
    width_ = skips ? std::max(width_ / 2, kAheadLeast) : std::min(width_ * 2, kAheadMax);
  }
  position_ = position + 1;
  ahead_ = std::max(ahead_, position_);
  const std::uint32_t until = std::min(position_ + width_, track_->size());
  return until > ahead_ ? until - ahead_ : 0;
}

// `position`: the first one of the page that is not before our own.
std::uint32_t ReplayCursor::off_track(std::uint64_t page, std::uint32_t position) noexcept {
  ++lost_;
  if (elsewhere_ != ReplayTrack::kNone) {
    const std::uint32_t next = track_->find(page, elsewhere_);
    const bool agrees = next != ReplayTrack::kNone && next - elsewhere_ < kAgree;
    if (agrees && is_time_to_go(next)) {
      brought_ = 0;
      width_ = kAheadLeast;
      position_ = ahead_ = next;
      return on_track(next);
    }
    if (agrees) position = next;
  }
  if (position == ReplayTrack::kNone && lost_ >= kPatience) position = track_->find(page, 0);
  elsewhere_ = position == ReplayTrack::kNone ? position : position + 1;
  return 0;
}

bool ReplayCursor::is_time_to_go(std::uint32_t position) const noexcept {
  const bool is_in_reach =
      position >= position_ && (position - position_) / kStepsForFault <= lost_;
  return lost_ >= kPatience || is_in_reach;
}

}  // namespace holdfast::run
