// Programs that commit, on machines that die: several threads keep an invariant across many pages,
// under pressure, on schedules by chance. What a crash at any moment leaves is mapped by the next
// program, which must find every transaction that was acknowledged, none torn, and of each thread
// nothing but its last ones.
#include <algorithm>
#include <array>

#include "files/file_world.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kThreads = 3;
constexpr std::uint64_t kGroups = 20;  // of each thread
constexpr std::uint64_t kMembers = 4;  // pages of a group: all hold the same number
constexpr std::uint64_t kPages = kThreads * kGroups * kMembers;

// A group's pages lie far apart.
std::uint64_t place_of(std::uint64_t thread, std::uint64_t group, std::uint64_t member) {
  return ((member * kGroups + group) * kThreads + thread) * kPageSize + thread * 8;
}

// What one thread has done, in the order of the disk's events.
struct Acknowledged {
  std::size_t event = 0;  // of the disk, when the commit had returned
  std::uint64_t group = 0;
  std::uint64_t value = 0;
};

class Program {
 public:
  explicit Program(std::uint64_t seed) : seed_(seed), world_(machine_options(seed), 100) {
    world_.machine.disk().put(FileWorld::kPath, SimDisk::Bytes(kPages * kPageSize));
  }

  std::uint64_t run(int transactions) {
    world_.machine.disk().record();
    world_.run([&](Engine& engine) {
      FileMapping mapping =
          world_.map(engine, {.commits = true, .journal_limit = (seed_ % 3 + 1) * 30 * kPageSize});
      std::vector<sys::SimThreadState*> others;
      for (std::uint64_t t = 1; t < kThreads; ++t) {
        others.push_back(
            &world_.machine.spawn("writer", [&, t] { work(mapping, t, transactions); }));
      }
      work(mapping, 0, transactions);
      for (auto* const other : others) world_.machine.join(*other);
    });
    return crash_everywhere();
  }

 private:
  static sys::SimOptions machine_options(std::uint64_t seed) {
    sys::SimOptions options = sys::SimOptions::swarm(seed);
    options.failures_per_million = {};
    options.interrupt_per_1024 = 0;
    return options;
  }

  void work(FileMapping& mapping, std::uint64_t thread, int transactions) {
    sys::SimRandom chance(seed_ * kThreads + thread);
    for (int i = 1; i <= transactions && !testing::Test::HasFailure(); ++i) {
      const std::uint64_t group = chance.below(kGroups);
      const auto value = static_cast<std::uint64_t>(i);
      {
        auto change = mapping.begin();
        ASSERT_TRUE(change);
        for (std::uint64_t m = 0; m < kMembers; ++m) {
          world_.set_word(mapping, place_of(thread, group, m), value);
        }
      }
      begun_[thread].push_back({.event = 0, .group = group, .value = value});
      const auto committed = mapping.commit();
      ASSERT_TRUE(committed) << committed.error().message();
      done_[thread].push_back(
          {.event = world_.machine.disk().events(), .group = group, .value = value});
    }
  }

  std::uint64_t crash_everywhere() {
    sys::SimRandom random(seed_);
    std::uint64_t crashes = 0;
    for (std::size_t at = 0; at <= world_.machine.disk().events(); ++at) {
      const sys::CrashStyle style = random.pick(sys::kCrashStyles);
      check(at, world_.machine.disk().after_crash(at, style, random));
      ++crashes;
      if (testing::Test::HasFailure()) break;
    }
    return crashes;
  }

  // The next program maps the file, on the disk that the crash has left.
  void check(std::size_t at, const SimDisk::Files& files) {
    FileWorld next({.seed = seed_}, 100);
    next.machine.disk().put(files);
    next.run([&](Engine& engine) { ASSERT_TRUE(map_file(engine, FileWorld::kPath)); });
    const SimDisk::Bytes bytes = next.machine.disk().bytes(FileWorld::kPath);
    const auto word = [&](std::uint64_t offset) {
      std::uint64_t value = 0;
      std::memcpy(&value, bytes.data() + offset, sizeof value);
      return value;
    };
    for (std::uint64_t t = 0; t < kThreads; ++t) {
      // Its transactions are a sequence: the file is as after one of them, no older than the last
      // that was acknowledged.
      std::size_t least = 0;
      while (least < done_[t].size() && done_[t][least].event <= at) ++least;
      std::array<std::uint64_t, kGroups> found{};
      for (std::uint64_t g = 0; g < kGroups; ++g) {
        found[g] = word(place_of(t, g, 0));
        for (std::uint64_t m = 1; m < kMembers; ++m) {
          ASSERT_EQ(word(place_of(t, g, m)), found[g])
              << "torn: thread " << t << ", group " << g << where(at);
        }
      }
      bool known = false;
      const std::size_t most = std::min(least + 1, begun_[t].size());
      for (std::size_t count = least; count <= most && !known; ++count) {
        std::array<std::uint64_t, kGroups> expected{};
        for (std::size_t i = 0; i < count; ++i) expected[begun_[t][i].group] = begun_[t][i].value;
        known = expected == found;
      }
      ASSERT_TRUE(known) << "thread " << t << ": not its last commit, nor the next" << where(at);
    }
  }
  [[nodiscard]] std::string where(std::size_t at) const {
    return ", seed " + std::to_string(seed_) + ", event " + std::to_string(at);
  }

  const std::uint64_t seed_;
  FileWorld world_;
  std::array<std::vector<Acknowledged>, kThreads> begun_, done_;
};

TEST(FileCrash, EveryProgramFindsWholeTransactionsAndAllThatWereAcknowledged) {
  const std::uint64_t seed = test_seed();
  HF_SEED_TRACE(seed);
  std::uint64_t crashes = 0;
  const std::uint64_t programs = seed_count(20);
  for (std::uint64_t i = 0; i < programs && !testing::Test::HasFailure(); ++i) {
    crashes += Program(seed + i).run(8);
  }
  EXPECT_GT(crashes, programs * 20);
}

}  // namespace
}  // namespace holdfast::tests
