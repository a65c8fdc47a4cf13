// The two sides of file/commit, and the crash of file/recovery.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "worker_process.h"

namespace holdfast::bench {

struct CommitScene {
  std::uint64_t pages = 0;                 // that there are
  std::uint64_t changed = 0;               // of them by each commit, at random
  std::uint64_t commits = 0;               // a round
  std::uint64_t journal_limit = 64 << 20;  // bytes; SQLite: of its log
  std::string path = {};                   // of a file that is there (ours), or is not (SQLite)

  // Counts divided, for smoke runs.
  [[nodiscard]] CommitScene divided_by(std::uint64_t divisor) const {
    CommitScene smaller = *this;
    smaller.pages /= divisor;
    smaller.commits = std::max<std::uint64_t>(1, commits / divisor);
    smaller.changed = std::min(changed, smaller.pages / 4);
    return smaller;
  }
};

// Workers whose rounds are commits; the figure is ms a commit.
// Ours: whole pages of a file that is mapped with commits.
[[nodiscard]] std::unique_ptr<Worker> make_mapped_commits(const CommitScene& scene);
// SQLite: rows of which each fills one page of 4 KiB, by WAL and synchronous=FULL. Skipped where
// this program was built without it.
[[nodiscard]] std::unique_ptr<Worker> make_sqlite_commits(const CommitScene& scene);

// Rounds map the file with commits, whatever stands in its journal; s.
[[nodiscard]] std::unique_ptr<Worker> make_recovery(const CommitScene& scene);

}  // namespace holdfast::bench
