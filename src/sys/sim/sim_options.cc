#include "sys/sim/sim_options.h"

#include "sys/sim/sim_random.h"

namespace holdfast::sys {
namespace {

void draw_failures(SimOptions& options, SimRandom& random) noexcept {
  // What every engine must ride out without its user noticing: drawn often.
  if (random.chance(1, 2))
    options.rate(FailureKind::copy_again) = random.pick({1000U, 20'000U, 200'000U});
  if (random.chance(1, 2))
    options.rate(FailureKind::move_again) = random.pick({1000U, 20'000U, 200'000U});
  if (random.chance(1, 2))
    options.rate(FailureKind::move_busy) = random.pick({1000U, 50'000U, 500'000U});
  if (random.chance(1, 2)) return;
  // What a user may notice.
  if (random.chance(1, 4)) options.rate(FailureKind::copy_memory) = random.pick({100U, 2000U});
  if (random.chance(1, 4)) options.rate(FailureKind::remap_out) = random.pick({1000U, 50'000U});
  if (random.chance(1, 8)) options.rate(FailureKind::discard) = random.pick({1000U, 50'000U});
  if (random.chance(1, 8)) options.rate(FailureKind::reserve) = 20'000;
  if (random.chance(1, 8)) options.rate(FailureKind::register_range) = 20'000;
  if (random.chance(1, 3)) options.rate(FailureKind::file_read) = random.pick({1000U, 20'000U});
  if (random.chance(1, 3))
    options.rate(FailureKind::file_write) = random.pick({1000U, 20'000U, 300'000U});
  if (random.chance(1, 4)) options.rate(FailureKind::file_full) = random.pick({1000U, 100'000U});
  if (random.chance(1, 4)) options.rate(FailureKind::file_corrupt) = random.pick({1000U, 20'000U});
}

}  // namespace

const char* name(FailureKind kind) noexcept {
  static constexpr const char* kNames[kFailureKinds] = {
      "reserve",     "register_range", "open_faults", "copy_again",   "copy_memory",  "move_again",
      "move_busy",   "protect_again",  "remap_out",   "discard",      "thread_start", "file_create",
      "file_read",   "file_write",     "file_full",   "file_corrupt", "async_error",  "async_short",
      "async_ended", "file_sync",      "object_open", "object_read",  "object_write", "object_full",
      "object_late", "object_corrupt", "object_fence"};
  return kNames[static_cast<std::size_t>(kind)];
}

namespace {

// Of its own chance, so that what came later does not change what older seeds mean.
void draw_protection(SimOptions& options, std::uint64_t seed) noexcept {
  SimRandom random(seed * 0x9e3779b97f4a7c15ULL + 11);
  if (random.chance(1, 2)) options.rate(FailureKind::protect_again) = random.pick({1000U, 50'000U});
}

void draw_objects(SimOptions& options, std::uint64_t seed) noexcept {
  SimRandom random(seed * 0x9e3779b97f4a7c15ULL + 29);
  if (random.chance(1, 2)) return;
  const auto maybe = [&](FailureKind kind, std::uint32_t one_in, std::uint32_t rate) {
    if (random.chance(1, one_in)) options.rate(kind) = rate;
  };
  maybe(FailureKind::object_write, 3, random.pick({10'000U, 300'000U}));
  maybe(FailureKind::object_full, 4, random.pick({10'000U, 300'000U}));
  maybe(FailureKind::object_late, 3, random.pick({10'000U, 100'000U}));
  maybe(FailureKind::object_fence, 8, 20'000U);
  if (random.chance(1, 2)) return;
  // What a user may notice.
  maybe(FailureKind::object_open, 16, 1'000'000U);
  maybe(FailureKind::object_read, 4, random.pick({1000U, 20'000U}));
  maybe(FailureKind::object_corrupt, 4, random.pick({1000U, 20'000U}));
}

}  // namespace

SimOptions SimOptions::swarm(std::uint64_t seed) noexcept {
  SimRandom random(seed ^ 0xd1b54a32d192ed03ULL);
  SimOptions options;
  options.seed = seed;
  options.cpus = static_cast<std::uint32_t>(random.between(1, 4));
  options.policy = random.pick({SchedulePolicy::uniform, SchedulePolicy::uniform,
                                SchedulePolicy::priority, SchedulePolicy::starve});
  options.switch_per_1024 = random.pick({4U, 32U, 128U, 512U, 1024U});
  options.interleave_per_1024 = random.pick({0U, 2U, 16U, 128U, 512U});
  options.migrate_per_1024 = random.pick({0U, 4U, 64U, 512U});
  options.interrupt_per_1024 = random.pick({0U, 2U, 16U, 64U});
  options.spurious_wake_per_1024 = random.pick({0U, 8U, 128U});
  options.can_move = !random.chance(1, 3);
  options.block_bytes = random.pick({512U, 4096U});
  options.io_latency_ns_max = random.pick({0ULL, 10'000ULL, 200'000ULL, 20'000'000ULL});
  draw_failures(options, random);
  draw_protection(options, seed);
  draw_objects(options, seed);
  return options;
}

}  // namespace holdfast::sys
