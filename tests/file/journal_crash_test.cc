// Whatever dies, and whatever the disk has made of what was not flushed: after recovery the file is
// as the last commit that was acknowledged left it, or as the one that was under way would have.
#include "file/journal_fixture.h"
#include "support/seed.h"

namespace holdfast::file::test {
namespace {

// One life of a file: commits by chance, and at each event of the disk a crash of each style.
class Life {
 public:
  explicit Life(std::uint64_t seed) : random_(seed), world_(seed), seed_(seed) {}

  std::uint64_t play(int commits) {
    versions_.assign(kPages, 0);
    world_.machine.disk().put(kData, file_of(versions_));
    // The journal's own birth can be cut short as well.
    Versions same = versions_;
    step(same, [&] { return world_.open(); });
    for (int i = 0; i < commits && !testing::Test::HasFailure(); ++i) commit();
    world_.journal.reset();
    world_.data.reset();
    return crashes_;
  }

 private:
  void commit() {
    Versions next = versions_;
    std::map<std::uint64_t, std::uint64_t> changes;
    for (std::uint64_t n = random_.between(1, 5); n > 0; --n) {
      const std::uint64_t index = random_.below(kPages);
      changes[index] = next[index] = ++version_;
    }
    const std::size_t part = random_.between(1, 3);
    step(next, [&] { return world_.commit(changes, part); });
    if (random_.chance(3, 4)) step(next, [&] { return world_.journal->apply(); });
    if (random_.chance(1, 6)) step(next, [&] { return world_.journal->checkpoint(); });
    if (random_.chance(1, 12)) step(next, [&] { return world_.open(); });
  }

  // Does it, and then looks at what a crash at each moment of it would have left.
  void step(const Versions& next, const std::function<Expected<void>()>& what) {
    const std::size_t before = world_.machine.disk().events();
    const bool first = !std::exchange(recording_, true);
    if (first) world_.machine.disk().record();
    const auto done = what();
    ASSERT_TRUE(done) << done.error().message();
    const SimDisk::Bytes old_file = file_of(versions_);
    const SimDisk::Bytes new_file = file_of(next);
    const std::size_t after = world_.machine.disk().events();
    known_.clear();
    for (std::size_t at = before; at <= after; ++at) {
      for (const CrashStyle style : sys::kCrashStyles) {
        const int times = style == CrashStyle::scattered ? 3 : 1;
        for (int i = 0; i < times; ++i) check(at, style, old_file, new_file, at == after);
      }
    }
    versions_ = next;
    // So that what is looked at does not grow: what is flushed is the past.
    if (after > 64) compact();
  }

  void check(std::size_t at, CrashStyle style, const SimDisk::Bytes& old_file,
             const SimDisk::Bytes& new_file, bool acknowledged) {
    ++crashes_;
    const auto files = world_.machine.disk().after_crash(at, style, random_);
    // Different crashes often leave the same: what recovery makes of that is looked at once.
    const auto [found, first] = known_.try_emplace(hash_of(files));
    if (first) {
      const auto file = recovered(files, seed_);
      ASSERT_TRUE(file) << file.error().message() << ", seed " << seed_ << ", event " << at;
      found->second = {.is_new = same(*file, new_file), .is_old = same(*file, old_file)};
    }
    EXPECT_TRUE(found->second.is_new || (!acknowledged && found->second.is_old))
        << "seed " << seed_ << ", event " << at << ", style " << static_cast<int>(style)
        << (found->second.is_old ? ": the acknowledged commit is lost" : ": a mixture");
  }

  static bool same(const SimDisk::Bytes& a, const SimDisk::Bytes& b) {  // == goes byte by byte
    return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size()) == 0;
  }
  static std::uint64_t hash_of(const SimDisk::Files& files) {
    std::uint64_t all = files.size();
    for (const auto& [name, bytes] : files) {
      const base::Hash128 hash = base::hash_bytes(bytes.data(), bytes.size());
      all = (all ^ hash.low) * 0x9e3779b97f4a7c15ULL + name.size();
    }
    return all;
  }

  // Everything durable: the files go on as they are.
  void compact() {
    ASSERT_EQ(world_.data->sync(), 0);
    world_.machine.disk().record();
  }

  struct Recovered {
    bool is_new = false;
    bool is_old = false;
  };
  std::map<std::uint64_t, Recovered> known_;  // by what a crash of this step left
  sys::SimRandom random_;
  JournalWorld world_;
  const std::uint64_t seed_;
  Versions versions_;
  std::uint64_t version_ = 0;
  std::uint64_t crashes_ = 0;
  bool recording_ = false;
};

TEST(JournalCrash, LeavesTheLastCommitOrTheOneUnderWayWhole) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::uint64_t crashes = 0;
  const std::uint64_t lives = tests::seed_count(1000);
  for (std::uint64_t i = 0; i < lives && !testing::Test::HasFailure(); ++i) {
    crashes += Life(seed + i).play(10);
  }
  EXPECT_GT(crashes, lives * 100);
}

// Recovery itself may die, again and again.
TEST(JournalCrash, OfARecoveryIsRecoveredFrom) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  for (std::uint64_t n = 0; n < tests::seed_count(30) && !testing::Test::HasFailure(); ++n) {
    sys::SimRandom random(seed + n);
    JournalWorld world(seed + n);
    Versions versions(kPages, 0);
    world.machine.disk().put(kData, file_of(versions));
    SimDisk::Files files;
    ASSERT_TRUE(world.open());
    world.machine.disk().record();
    for (std::uint64_t version = 1; version < 5; ++version) {
      std::map<std::uint64_t, std::uint64_t> changes;
      for (int k = 0; k < 4; ++k) changes[random.below(kPages)] = version;
      for (const auto& [index, of] : changes) versions[index] = of;
      ASSERT_TRUE(world.commit(changes, 2));
    }
    files = world.machine.disk().after_crash(world.machine.disk().events(), CrashStyle::scattered,
                                             random);
    world.journal.reset();
    world.data.reset();
    for (int death = 0; death < 5; ++death) {
      JournalWorld next(seed + n + static_cast<std::uint64_t>(death));
      next.machine.disk().put(files);
      next.machine.disk().record();
      ASSERT_TRUE(next.open());
      const std::size_t at = random.below(next.machine.disk().events() + 1);
      files = next.machine.disk().after_crash(at, CrashStyle::scattered, random);
      next.journal.reset();
      next.data.reset();
    }
    const auto file = recovered(files, seed);
    ASSERT_TRUE(file) << file.error().message();
    EXPECT_EQ(*file, file_of(versions)) << "seed " << seed + n;
  }
}

}  // namespace
}  // namespace holdfast::file::test
