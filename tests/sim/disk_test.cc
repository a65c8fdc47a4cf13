// The simulated disk: what was synced stays, what was not may be lost, torn or reordered, and all
// of that does happen.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <functional>
#include <set>

#include "sys/sim.h"

namespace holdfast::sys {
namespace {

const std::string kPath = "/data/file";
constexpr std::uint64_t kSector = SimDisk::kSector;

void on_machine(const std::function<void(SimMachine&)>& body, std::uint64_t seed = 1) {
  SimMachine machine({.seed = seed});
  EXPECT_EQ(machine.run([&] { body(machine); }), RunOutcome::finished) << machine.report();
}

std::unique_ptr<DataFile> opened(SimMachine& machine) {
  auto file = machine.open_data_file({.path = kPath, .use = FileUse::write, .create = true});
  EXPECT_TRUE(file);
  return std::move(*file);
}

int put(DataFile& file, std::uint64_t offset, char value, std::uint64_t bytes) {
  SimDisk::Bytes data(bytes, static_cast<std::byte>(value));
  IoRequest request{data.data(), bytes, offset};
  file.write({&request, 1});
  return request.error;
}

// One letter for each sector.
std::string letters(const SimDisk::Bytes& bytes) {
  std::string text;
  for (std::uint64_t at = 0; at < bytes.size(); at += kSector) {
    text += bytes[at] == std::byte{0} ? '.' : static_cast<char>(bytes[at]);
  }
  return text;
}

std::set<std::string> crash_states(SimMachine& machine, CrashStyle style) {
  std::set<std::string> states;
  SimRandom random(7);
  for (int i = 0; i < 400; ++i) {
    states.insert(
        letters(machine.disk().after_crash(machine.disk().events(), style, random)[kPath]));
  }
  return states;
}

TEST(SimDisk, WhatASyncMadeDurableSurvivesEveryCrash) {
  on_machine([](SimMachine& machine) {
    machine.disk().record();
    const auto file = opened(machine);
    ASSERT_EQ(put(*file, 0, 'a', 4 * kSector), 0);
    ASSERT_EQ(file->sync(), 0);
    for (const CrashStyle style : kCrashStyles) {
      EXPECT_EQ(crash_states(machine, style), std::set<std::string>{"aaaa"});
    }
  });
}

TEST(SimDisk, WhatWasNotSyncedIsLostTornAndReordered) {
  on_machine([](SimMachine& machine) {
    machine.disk().put(kPath, SimDisk::Bytes(2 * kSector));
    machine.disk().record();
    const auto file = opened(machine);
    ASSERT_EQ(put(*file, 0, 'a', 2 * kSector), 0);
    ASSERT_EQ(put(*file, 0, 'b', 2 * kSector), 0);
    EXPECT_EQ(crash_states(machine, CrashStyle::nothing), std::set<std::string>{".."});
    EXPECT_EQ(crash_states(machine, CrashStyle::everything), std::set<std::string>{"bb"});
    EXPECT_EQ(crash_states(machine, CrashStyle::prefix),
              (std::set<std::string>{"..", "a.", ".a", "aa", "ba", "ab", "bb"}));
    // The second write before the first, sector by sector: any mixture.
    EXPECT_EQ(crash_states(machine, CrashStyle::scattered).size(), 9u);
    // Before the second write was issued nothing of it is anywhere.
    SimRandom random(1);
    for (int i = 0; i < 50; ++i) {
      const auto state = machine.disk().after_crash(1, CrashStyle::scattered, random)[kPath];
      EXPECT_EQ(letters(state).find('b'), std::string::npos);
    }
  });
}

TEST(SimDisk, SizesAreLostToo) {
  on_machine([](SimMachine& machine) {
    machine.disk().put(kPath, SimDisk::Bytes(kSector));
    machine.disk().record();
    const auto file = opened(machine);
    ASSERT_EQ(put(*file, kSector, 'a', kSector), 0);
    ASSERT_EQ(file->resize(3 * kSector), 0);
    const auto states = crash_states(machine, CrashStyle::scattered);
    EXPECT_TRUE(states.contains("."));
    EXPECT_TRUE(states.contains(".."));
    EXPECT_TRUE(states.contains(".a."));
  });
}

TEST(SimDisk, AFailedSyncMakesNothingDurable) {
  on_machine([](SimMachine& machine) {
    machine.disk().record();
    const auto file = opened(machine);
    ASSERT_EQ(put(*file, 0, 'a', kSector), 0);
    machine.failures().fail_at(FailureKind::file_sync, 1, Repeat::once);
    EXPECT_EQ(file->sync(), EIO);
    EXPECT_EQ(crash_states(machine, CrashStyle::nothing), std::set<std::string>{""});
  });
}

TEST(SimDisk, NamesComeAndGoAndAnotherFileIsAnother) {
  on_machine([](SimMachine& machine) {
    machine.disk().record();
    FileIdentity first;
    {
      auto file = opened(machine);
      first = file->identity();
      EXPECT_EQ(file->try_claim(), 0);
      EXPECT_EQ(opened(machine)->try_claim(), EWOULDBLOCK);
    }
    EXPECT_EQ(machine.remove_file(kPath), 0);
    EXPECT_EQ(machine.remove_file(kPath), ENOENT);
    EXPECT_NE(opened(machine)->identity(), first);
    SimRandom random(1);
    EXPECT_TRUE(machine.disk().after_crash(1, CrashStyle::nothing, random).contains(kPath));
    EXPECT_FALSE(machine.disk().after_crash(2, CrashStyle::nothing, random).contains(kPath));
  });
}

}  // namespace
}  // namespace holdfast::sys
