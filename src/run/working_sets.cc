#include "run/working_sets.h"

#include <utility>
#include <vector>

namespace holdfast::run {

WorkingSets::WorkingSets(bool records, Recording replayed) : records_(records) {
  for (Recording::Space& space : replayed.spaces) {
    tracks_.try_emplace(space.name, std::move(space.pages));
  }
}

SpaceName WorkingSets::name_next(const std::string& program) {
  const std::lock_guard lock(mutex_);
  return {.program = program, .ordinal = born_[program]++};
}

const ReplayTrack* WorkingSets::track_of(const SpaceName& name) const {
  const auto found = tracks_.find(name);
  return found == tracks_.end() ? nullptr : &found->second;
}

// What does not fit any more comes last, and is missed least: the next time it is faulted for.
void WorkingSets::record(const SpaceName& name, std::uint64_t first, std::uint32_t count) {
  const std::lock_guard lock(mutex_);
  if (recorded_.load() + count > kRecordedPagesMax) return;
  SpaceLog& space = logs_[name];
  if (space.log.pages() == 0) space.name = name;
  space.log.add(first, count);
  recorded_ += count;
}

Bytes WorkingSets::recording_of(const std::string& program) {
  const std::lock_guard lock(mutex_);
  std::vector<const SpaceLog*> spaces;
  for (const auto& [name, space] : logs_) spaces.push_back(&space);
  return encode_recording(program, spaces);
}

void WorkingSet::begin(WorkingSets* sets, const std::string& program) {
  sets_ = sets;
  if (sets == nullptr) return;
  name_ = sets->name_next(program);
  replay_.follow(sets->track_of(name_));
}

}  // namespace holdfast::run
