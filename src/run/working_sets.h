// The working sets of a run: what is recorded of each address space, and what is replayed to it.
//
// Thread-safe. What is handed out lives as long as this: clients come and go, and what was recorded
// of them is wanted in the end.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "run/recording.h"
#include "run/replay.h"

namespace holdfast::run {

class WorkingSets {
 public:
  // `replayed`: empty: nothing is.
  WorkingSets(bool records, Recording replayed);

  // An address space is born in which this program runs: its name in this run.
  [[nodiscard]] SpaceName name_next(const std::string& program);
  // Null: nothing was recorded of it.
  [[nodiscard]] const ReplayTrack* track_of(const SpaceName& name) const;

  [[nodiscard]] bool records() const noexcept { return records_; }
  // Pages [first, first + count) of an address space have come in, in this order.
  void record(const SpaceName& name, std::uint64_t first, std::uint32_t count);
  [[nodiscard]] std::uint64_t recorded_pages() const noexcept { return recorded_.load(); }
  // What has been recorded, as a file of a run that was told to start this program.
  [[nodiscard]] Bytes recording_of(const std::string& program);

 private:
  const bool records_;
  std::map<SpaceName, ReplayTrack> tracks_;
  std::mutex mutex_;                           // guards all that follows
  std::map<std::string, std::uint32_t> born_;  // address spaces of each program
  std::map<SpaceName, SpaceLog> logs_;         // of those of which there is something to tell
  std::atomic<std::uint64_t> recorded_{0};
};

// One address space's part in that. Owned by its client, under its lock.
class WorkingSet {
 public:
  // `sets` may be null: then nothing is recorded, and nothing replayed.
  void begin(WorkingSets* sets, const std::string& program);
  [[nodiscard]] const std::string& program() const noexcept { return name_.program; }
  void came_in(std::uint64_t first, std::uint32_t count) {
    if (sets_ != nullptr && sets_->records()) sets_->record(name_, first, count);
  }
  [[nodiscard]] ReplayCursor& replay() noexcept { return replay_; }

 private:
  WorkingSets* sets_ = nullptr;
  SpaceName name_;
  ReplayCursor replay_;
};

}  // namespace holdfast::run
