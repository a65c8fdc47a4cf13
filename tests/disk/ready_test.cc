// Coroutines that wait for pages of a file on the real machine, for each kind of fault delivery.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <random>

#include "disk/disk_world.h"
#include "support/page_waits.h"

namespace holdfast::disk::test {
namespace {

using tests::Detached;
using tests::Waits;

class DiskReady : public testing::Test {
 protected:
  void SetUp() override { put_file(path, kBytes); }
  static constexpr std::uint64_t kPages = 4096;
  static constexpr std::uint64_t kBytes = kPages * kPageSize;
  static constexpr std::uint64_t kFar = 397;
  tests::TempDirectory directory;
  const std::string path = directory.file("file");
};

TEST_F(DiskReady, WhatWasWaitedForIsThereWithoutAFault) {
  for (const Options& options : engines()) {
    const auto engine = make_engine(options);
    const FileMapping mapping = map(*engine, path);
    Waits waits(64, kFar, kPages);
    waits.all[0].bytes = 100 * kPageSize;
    waits.run(mapping);
    EXPECT_EQ(waits.good(), 64u);
    const std::uint64_t faults = engine->stats().faults;
    EXPECT_EQ(unmarked(mapping.data(), 0, 100 * kPageSize), 0u);
    for (const auto& wait : waits.all) {
      const std::uint64_t at = wait.page * kPageSize;
      EXPECT_EQ(unmarked(mapping.data() + at, at, kPageSize), 0u) << wait.page;
    }
    EXPECT_EQ(engine->stats().faults, faults);
  }
}

struct Lookups {
  const FileMapping& mapping;
  std::atomic<std::uint64_t> wrong{0};
  std::atomic<std::uint32_t> ended{0};
};

Detached look_up(Lookups& lookups, std::uint64_t seed, int count) {
  std::mt19937_64 chance(seed);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t at = chance() % (lookups.mapping.size() - 64);
    const auto there = co_await lookups.mapping.ready(at, 64);
    lookups.wrong += there ? unmarked(lookups.mapping.data() + at, at, 64) : 64;
  }
  ++lookups.ended;
}

TEST_F(DiskReady, CoroutinesFindWhatTheFileHasInAFractionOfItsSize) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  constexpr std::uint32_t kCoroutines = 48;
  for (const Options& options : engines()) {
    const auto engine = make_engine(options);
    for (const FileMode mode : {FileMode::shared, FileMode::read_only}) {
      const FileMapping mapping = map(*engine, path, {.mode = mode});
      Lookups lookups{.mapping = mapping};
      for (std::uint32_t i = 0; i < kCoroutines; ++i) look_up(lookups, seed + i, 100);
      while (lookups.ended < kCoroutines) sync::parking().relax();
      EXPECT_EQ(lookups.wrong, 0u);
    }
    EXPECT_TRUE(all_is_well(*engine));
  }
}

TEST_F(DiskReady, WhatTheFileHasNoMoreIsAnErrorOfWhoWaitsForIt) {
  const auto engine = make_engine(engines().front());
  const FileMapping mapping = map(*engine, path);
  ASSERT_EQ(::truncate(path.c_str(), kBytes / 2), 0);
  Waits waits(64, kFar, kPages);
  waits.run(mapping);
  for (const auto& wait : waits.all) {
    const bool there = wait.page < kPages / 2;
    ASSERT_EQ(wait.outcome->has_value(), there) << wait.page;
    if (there) continue;
    EXPECT_EQ(wait.outcome->error().os_errno, EIO);
    EXPECT_EQ(wait.outcome->error().value, wait.page * kPageSize);
  }
}

TEST_F(DiskReady, UnmappingTellsThoseWhoWait) {
  for (const Options& options : engines()) {
    const auto engine = make_engine(options);
    for (int turn = 0; turn < 20; ++turn) {
      FileMapping mapping = map(*engine, path);
      Waits waits(64, kFar, kPages);
      waits.begin(mapping);
      EXPECT_TRUE(mapping.unmap());
      waits.finish(64);
      EXPECT_EQ(waits.good() + waits.count(Errc::not_mapped), 64u);
    }
    EXPECT_TRUE(all_is_well(*engine));
  }
}

}  // namespace
}  // namespace holdfast::disk::test
