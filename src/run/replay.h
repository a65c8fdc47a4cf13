// What a recording says of one address space, and how far the program has come in it.
//
// The program is seen only when it faults. As long as its faults are where the recording says, a
// page that was recorded next is brought in ahead, ever more of them (as streams widen); a fault
// that is not there is served as any other. The recording holds what was missing then, and the
// program may miss other pages now: a few strangers mean nothing. When it has left the recording
// for long, it is looked for elsewhere: the farther away, the more must have failed, and two faults
// in a row must agree.
#pragma once

#include <cstdint>
#include <vector>

namespace holdfast::run {

class ReplayTrack {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  explicit ReplayTrack(std::vector<std::uint64_t> pages);
  [[nodiscard]] std::uint32_t size() const noexcept {
    return static_cast<std::uint32_t>(pages_.size());
  }
  [[nodiscard]] std::uint64_t page(std::uint32_t position) const noexcept {
    return pages_[position];
  }
  // The first position of this page that is not before `from`; kNone.
  [[nodiscard]] std::uint32_t find(std::uint64_t page, std::uint32_t from) const noexcept;

 private:
  std::vector<std::uint64_t> pages_;
  std::vector<std::uint32_t> by_page_;  // positions, by page, and by themselves for the same page
};

// Owned by one client, under its lock.
class ReplayCursor {
 public:
  static constexpr std::uint32_t kAheadMax = 128;

  // The track must outlive it. Null: nothing is ever ahead.
  void follow(const ReplayTrack* track) noexcept { track_ = track; }
  // The program waits for this page. How many of the pages that follow in the recording may be
  // brought in ahead: so often next() has one, if wanted.
  [[nodiscard]] std::uint32_t reached(std::uint64_t page) noexcept;
  [[nodiscard]] std::uint64_t next() noexcept { return track_->page(ahead_++); }
  // So many of those that next() had were brought in.
  void brought(std::uint32_t pages) noexcept { brought_ += pages; }
  // Of what was brought in, how many pages the program has since come past without a fault; what
  // was asked before is not told again.
  [[nodiscard]] std::uint64_t take_passed() noexcept {
    const std::uint64_t passed = passed_;
    passed_ = 0;
    return passed;
  }

 private:
  std::uint32_t on_track(std::uint32_t position) noexcept;
  std::uint32_t off_track(std::uint64_t page, std::uint32_t position) noexcept;
  [[nodiscard]] bool is_time_to_go(std::uint32_t position) const noexcept;

  static constexpr std::uint32_t kAheadLeast = 8;

  const ReplayTrack* track_ = nullptr;
  std::uint32_t position_ = 0;  // behind the last fault that was as recorded
  std::uint32_t ahead_ = 0;     // behind what has been brought in; not before position_
  std::uint32_t width_ = kAheadLeast;
  std::uint32_t lost_ = 0;                        // faults since one was as recorded
  std::uint32_t elsewhere_ = ReplayTrack::kNone;  // where the last of them would be followed
  std::uint64_t brought_ = 0;                     // and not passed yet
  std::uint64_t passed_ = 0;
};

}  // namespace holdfast::run
