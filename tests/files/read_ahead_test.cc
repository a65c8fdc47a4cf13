// Reading ahead: a stream finds its pages read, whichever way it goes, and never an older content
// than what was written.
#include <array>
#include <vector>

#include "files/file_world.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 1024;
constexpr std::uint64_t kBudget = 1024;

// Loads one word of each page from `first` on, `count` of them.
void walk(FileWorld& world, const FileMapping& mapping, std::uint64_t first, std::int64_t step,
          std::uint64_t count) {
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t at = (first + static_cast<std::uint64_t>(step) * i) * kPageSize;
    ASSERT_EQ(world.word(mapping, at), FileWorld::mark(at)) << at / kPageSize;
  }
}

struct Way {
  std::uint64_t first;
  std::int64_t step;
  std::uint64_t read;   // pages that make the stream known
  std::uint64_t ahead;  // further ones that the disk is not asked for
};

TEST(ReadAhead, AStreamThatIsKnownDoesNotAskTheDisk) {
  for (const Way& way : {Way{0, 1, 128, 300}, Way{kPages - 1, -1, 128, 300}, Way{0, 4, 127, 64}}) {
    FileWorld world({.seed = 1}, kBudget);
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      const FileMapping mapping = world.map(engine);
      walk(world, mapping, way.first, way.step, way.read);
      (void)world.machine.settle();
      world.machine.failures().fail_at(FailureKind::file_read, 1, Repeat::forever);
      const auto behind = way.first + static_cast<std::uint64_t>(way.step) * way.read;
      walk(world, mapping, behind, way.step, way.ahead);
      EXPECT_EQ(world.refusals, 0);
      world.machine.failures().clear();
    });
  }
}

// Whether the failure meets a fault, which is told and tries again, or what is read ahead.
TEST(ReadAhead, WhatCouldNotBeReadAheadIsReadByTheFault) {
  int told = 0;
  constexpr int kReads = 12;
  for (int nth = 1; nth <= kReads; ++nth) {
    FileWorld world({.seed = 1}, kBudget);
    world.retries = 1;
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      const FileMapping mapping = world.map(engine);
      world.machine.failures().fail_at(FailureKind::file_read, nth, Repeat::once);
      walk(world, mapping, 0, 1, kPages);
    });
    told += world.refusals;
  }
  EXPECT_GT(told, 0);
  EXPECT_LT(told, kReads) << "what was read ahead has failed, and nobody was to notice";
}

// A page that was read ahead, then stored to, written and dropped, is what was stored.
TEST(ReadAhead, WhatWasWrittenSinceIsNotTakenFromWhatWasRead) {
  for (const bool commits : {false, true}) {
    FileWorld world({.seed = 1}, kBudget);
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      FileMapping mapping = world.map(engine, {.commits = commits});
      walk(world, mapping, 0, 1, 128);
      (void)world.machine.settle();
      const std::uint64_t offset = 300 * kPageSize;
      world.set_word(mapping, offset, 7);
      ASSERT_TRUE(commits ? mapping.commit() : mapping.sync());
      FileWorld::push_out(engine);
      EXPECT_EQ(world.word(mapping, offset), 7u) << (commits ? "committed" : "synced");
      EXPECT_EQ(world.word(mapping, offset + 8), FileWorld::mark(offset + 8));
    });
  }
}

// Streams with stores among them in little memory: every load finds what was
// stored last.
TEST(ReadAhead, StreamsThatStoreFindWhatTheyStored) {
  const std::uint64_t seed = test_seed();
  for (std::uint64_t turn = 0; turn < seed_count(8); ++turn) {
    const std::uint64_t chosen = seed + turn;
    HF_SEED_TRACE(chosen);
    FileWorld world({.seed = chosen}, 256);
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      const FileMapping mapping = world.map(engine);
      std::mt19937_64 chance(chosen);
      std::vector<std::uint64_t> model(kPages);
      for (std::uint64_t page = 0; page < kPages; ++page) {
        model[page] = FileWorld::mark(page * kPageSize);
      }
      for (int pass = 0; pass < 6; ++pass) {
        const std::int64_t step = std::array{1, -1, 3, 2, -2, 1}[static_cast<std::size_t>(pass)];
        for (std::uint64_t i = 0; i < kPages; ++i) {
          const std::uint64_t page = (static_cast<std::uint64_t>(step) * i) % kPages;
          ASSERT_EQ(world.word(mapping, page * kPageSize), model[page]) << page;
          if (chance() % 8 != 0) continue;
          const std::uint64_t other = chance() % 2 == 0 ? page : (page + chance() % 200) % kPages;
          model[other] = chance();
          world.set_word(mapping, other * kPageSize, model[other]);
        }
      }
    });
  }
}

TEST(ReadAhead, ItsMemoryIsStatedWithTheFirstFile) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const std::uint64_t before = engine.stats().overhead_bytes;
    const FileMapping first = world.map(engine);
    const FileMapping second = world.map(engine, {.offset = 5});
    EXPECT_EQ(engine.stats().overhead_bytes - before, std::uint64_t{8} << 20);
  });
}

}  // namespace
}  // namespace holdfast::tests
