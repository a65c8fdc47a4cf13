// When the changed pages of a mapped file are written in the background, and how fast. Decisions
// alone: it is told the time and what was found, and touches neither memory nor file.
//
//   resting ──interval──▶ looking ──nothing, or not yet──▶ resting
//                            └──too old, or too many──▶ writing, in the order of the file ──▶
//                            resting
//
// It looks at a slice of the file at a time, and writes a batch at a time; whoever asks does other
// things in between, and lets others have the file's turn.
//
// Rate: a batch that took so long is followed by a pause as long, so that at least half of the
// disk's time is left to those who wait for it, however fast it is. A batch is at most 256 KiB, so
// a fault that has to read stands behind no more than that.
//
// Cost to those who store: what was written is protected, and its next store takes a fault. So a
// pass that has written much is followed by a rest in proportion, but no longer than the age.
//
// Failures: a batch that failed is left, and the next one is tried after a pause, which doubles as
// long as something fails: a page that cannot be written does not keep the others from the file,
// and a disk that fails is asked once in five minutes. What was left is written by a later pass.
//
// Thread-safety: none; its owner's thread alone.
#pragma once

#include <algorithm>
#include <cstdint>

#include "holdfast/options.h"

namespace holdfast::engine {

// WriteBack, in the units of the engine.
struct WritePace {
  std::uint64_t interval_ns = 0;
  std::uint64_t age_ns = 0;
  std::uint64_t pages_max = 0;  // more changed ones than that are not left to their age
};

[[nodiscard]] WritePace write_pace(const Options& options) noexcept;

class WritePacer {
 public:
  // From a second, after which what was only a moment's trouble is over, to what costs a disk that
  // fails, and the kernel's log, next to nothing.
  static constexpr std::uint64_t kPauseMin = 1'000'000'000;
  static constexpr std::uint64_t kPauseMax = 300 * kPauseMin;
  // For each page written: some 30 times what a fault at a protected page costs (6 to 20 us).
  static constexpr std::uint64_t kRestForPage = 300'000;

  WritePacer(const WritePace& pace, std::uint64_t now_ns) noexcept
      : pace_(pace), due_ns_(now_ns + pace.interval_ns), last_ns_(now_ns) {}

  // When there is something to do.
  [[nodiscard]] std::uint64_t due_ns() const noexcept { return due_ns_; }
  // What: pages from at() on are to be looked at, or written.
  [[nodiscard]] bool is_writing() const noexcept { return writing_; }
  [[nodiscard]] std::uint64_t at() const noexcept { return at_; }

  // It was not possible now.
  void postpone(std::uint64_t until_ns) noexcept { due_ns_ = until_ns; }
  // The pages before `next`, of `pages`, were looked at; `count` more may have changed.
  void looked(std::uint64_t now_ns, std::uint64_t count, std::uint64_t next,
              std::uint64_t pages) noexcept;
  // What had changed before page `next` was written, from begun_ns to now_ns: `count` pages.
  void wrote(std::uint64_t begun_ns, std::uint64_t now_ns, std::uint64_t count, std::uint64_t next,
             std::uint64_t pages, bool failed) noexcept;

 private:
  void rest(std::uint64_t now_ns) noexcept;

  const WritePace pace_;
  std::uint64_t due_ns_;
  bool writing_ = false;
  bool seen_ = false;           // changes, which have not been written and which are ...
  std::uint64_t seen_ns_ = 0;   // ... no older than this
  std::uint64_t begun_ns_ = 0;  // when it began to look, or to write
  std::uint64_t last_ns_;       // ... before its last rest: what it finds has changed since
  std::uint64_t at_ = 0;
  std::uint64_t count_ = 0;     // of pages that may have changed, or were written, up to there
  std::uint64_t pause_ns_ = 0;  // after the last failure; 0: a pass without one has come to its end
  bool failed_ = false;         // something, in this pass
};

}  // namespace holdfast::engine
