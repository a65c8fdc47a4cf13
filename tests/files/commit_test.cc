// Commits: all or nothing, in memory and on the disk, whatever fails or dies.
#include <algorithm>
#include <set>

#include "file/file.h"
#include "files/file_world.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 300;  // more than the budget
const std::string kJournalPath = file::Journal::path_for(FileWorld::kPath);

SimDisk::Files crashed(FileWorld& world, std::size_t events, sys::CrashStyle style,
                       sys::SimRandom& random) {
  return world.machine.disk().after_crash(events, style, random);
}

TEST(FileCommit, NothingReachesTheFileBeforeIt) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  const SimDisk::Bytes before = world.machine.disk().bytes(FileWorld::kPath);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    for (std::uint64_t page = 0; page < kPages; ++page) {
      world.set_word(mapping, page * kPageSize + 8, page);
    }
    FileWorld::push_out(engine);
    EXPECT_GT(engine.stats().evicted_written, 0u);
    EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath), before);
    ASSERT_TRUE(mapping.commit());
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(world.disk_word(page * kPageSize + 8), page);
      ASSERT_EQ(world.word(mapping, page * kPageSize + 8), page);
    }
    const Stats stats = engine.stats();
    FileWorld::push_out(engine);
    EXPECT_EQ(engine.stats().evicted_written, stats.evicted_written) << "all of it is clean";
    ASSERT_TRUE(mapping.unmap());
    EXPECT_FALSE(world.machine.disk().has(kJournalPath)) << "a journal with nothing in it goes";
  });
}

TEST(FileCommit, APrivateMappingShowsTheLastCommitAndBringsNothingToTheFile) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    world.set_word(mapping, 8, 1);
    ASSERT_TRUE(mapping.commit());
    world.set_word(mapping, 8, 2);
    world.set_word(mapping, 7 * kPageSize, 3);
    const FileMapping own = world.map(engine, {.mode = FileMode::private_copy});
    EXPECT_EQ(world.word(own, 8), 1u);
    EXPECT_EQ(world.word(own, 7 * kPageSize), FileWorld::mark(7 * kPageSize));
    EXPECT_EQ(world.disk_word(8), 1u) << "not committed, and in the file";
    EXPECT_EQ(world.disk_word(7 * kPageSize), FileWorld::mark(7 * kPageSize));
    ASSERT_TRUE(mapping.rollback());
    EXPECT_EQ(world.word(mapping, 8), 1u);
  });
}

TEST(FileCommit, WritesOnlyWhatChangedSinceTheLast) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    for (std::uint64_t page = 0; page < 60; ++page) world.set_word(mapping, page * kPageSize, page);
    ASSERT_TRUE(mapping.commit());
    world.set_word(mapping, 3 * kPageSize, 1);
    world.set_word(mapping, 50 * kPageSize, 1);
    world.machine.disk().record();
    ASSERT_TRUE(mapping.commit());
    // The part of two pages with the seal, the flush; the two pages to the file.
    EXPECT_EQ(world.machine.disk().events(), 4u);
    ASSERT_TRUE(mapping.commit());
    EXPECT_EQ(world.machine.disk().events(), 4u) << "nothing changed: nothing to do";
    ASSERT_TRUE(mapping.unmap());
  });
}

TEST(FileCommit, RollbackBringsTheLastCommitBack) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    for (std::uint64_t page = 0; page < kPages; page += 3) {
      world.set_word(mapping, page * kPageSize, page);
    }
    ASSERT_TRUE(mapping.commit());
    for (std::uint64_t page = 0; page < kPages; page += 2) {
      world.set_word(mapping, page * kPageSize, page + 10'000);
    }
    // Some are in memory, some in swap, some are of one word, one was freed.
    ASSERT_TRUE(mapping.advise(9 * kPageSize, kPageSize, Advice::free));
    const std::byte* const place = mapping.data();
    ASSERT_TRUE(mapping.rollback());
    EXPECT_EQ(mapping.data(), place);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const std::uint64_t expected = page % 3 == 0 ? page : FileWorld::mark(page * kPageSize);
      ASSERT_EQ(world.word(mapping, page * kPageSize), expected) << page;
    }
    world.machine.disk().record();
    ASSERT_TRUE(mapping.commit());
    EXPECT_EQ(world.machine.disk().events(), 0u) << "nothing is changed any more";
    ASSERT_TRUE(mapping.unmap());
  });
}

TEST(FileCommit, APinnedChangeIsNotRolledBack) {
  FileWorld world;
  world.put_file(20 * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    world.set_word(mapping, 0, 1);
    world.set_word(mapping, 5 * kPageSize, 2);
    auto pin = engine.pin(mapping.data() + 5 * kPageSize, 8);
    ASSERT_TRUE(pin);
    EXPECT_EQ(mapping.rollback().error().code, Errc::busy);
    EXPECT_EQ(world.word(mapping, 0), 1u) << "nothing was done";
    // A pinned page is committed as it is, and again when its device has written more.
    ASSERT_TRUE(mapping.commit());
    world.set_word(mapping, 5 * kPageSize, 3);
    ASSERT_TRUE(mapping.commit());
    EXPECT_EQ(world.disk_word(5 * kPageSize), 3u);
    pin->reset();
    world.set_word(mapping, 5 * kPageSize, 4);
    ASSERT_TRUE(mapping.rollback());
    EXPECT_EQ(world.word(mapping, 5 * kPageSize), 3u);
    ASSERT_TRUE(mapping.unmap());
  });
}

TEST(FileCommit, UncommittedStoresAreGoneWithTheMapping) {
  FileWorld world;
  world.put_file(10 * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    world.set_word(mapping, 0, 1);
    ASSERT_TRUE(mapping.commit());
    world.set_word(mapping, 0, 2);
    ASSERT_TRUE(mapping.unmap());
    EXPECT_EQ(world.disk_word(0), 1u);
    EXPECT_EQ(world.word(world.map(engine), 0), 1u);
  });
}

TEST(FileCommit, WhoeverMapsTheFileNextFindsItRecovered) {
  FileWorld world;
  world.put_file(10 * kPageSize + 100);
  SimDisk::Files files;
  sys::SimRandom random(3);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    world.machine.disk().record();
    world.set_word(mapping, 8, 1);
    world.set_word(mapping, 10 * kPageSize + 80, 2);
    ASSERT_TRUE(mapping.commit());
    // Before the file is flushed for its last page's sake: the commit is in the journal alone.
    files = crashed(world, world.machine.disk().events() - 1, sys::CrashStyle::nothing, random);
  });
  EXPECT_TRUE(files.contains(kJournalPath));
  for (const FileOptions& how :
       {FileOptions{}, FileOptions{.mode = FileMode::read_only},
        FileOptions{.mode = FileMode::private_copy}, FileOptions{.commits = true}}) {
    FileWorld next({.seed = 2});
    next.machine.disk().put(files);
    EXPECT_NE(next.disk_word(8), 1u);
    next.run([&](Engine& engine) {
      const FileMapping mapping = next.map(engine, how);
      EXPECT_EQ(next.word(mapping, 8), 1u);
      EXPECT_EQ(next.word(mapping, 10 * kPageSize + 80), 2u);
      EXPECT_EQ(next.machine.disk().has(kJournalPath), how.commits);
    });
  }
}

TEST(FileCommit, OneProcessAtATimeCommits) {
  FileWorld world;
  world.put_file(10 * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    EXPECT_EQ(world.refusal(engine, {}), Errc::busy) << "mappings agree on it";
    const FileMapping same = world.map(engine, {.commits = true, .offset = 100});
    auto other = engine::create_on(world.machine, world.options);  // as another process would
    ASSERT_TRUE(other);
    world.set_word(mapping, 0, 7);
    ASSERT_TRUE(mapping.commit());
    EXPECT_EQ(world.refusal(**other, {.commits = true, .at_least = 20 * kPageSize}), Errc::busy);
    EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath).size(), 10 * kPageSize);
    EXPECT_EQ(world.refusal(**other, {}), Errc::busy);
    const FileMapping reader = world.map(**other, {.mode = FileMode::read_only});
    EXPECT_EQ(world.word(reader, 0), 7u);
    EXPECT_TRUE(world.machine.disk().has(kJournalPath)) << "it is not the reader's to recover";
  });
}

TEST(FileCommit, AJournalThatIsDamagedOrAnothersIsRefused) {
  FileWorld world;
  world.put_file(10 * kPageSize);
  world.machine.disk().put(kJournalPath, SimDisk::Bytes(2 * kPageSize, std::byte{'x'}));
  world.run([&](Engine& engine) {
    EXPECT_EQ(world.refusal(engine, {}), Errc::corrupted);
    EXPECT_EQ(world.refusal(engine, {.mode = FileMode::read_only}), Errc::corrupted);
    EXPECT_EQ(world.refusal(engine, {.commits = true}), Errc::corrupted);
  });
  EXPECT_EQ(world.disk_word(8), FileWorld::mark(8));
}

TEST(FileCommit, CommitsGoWithMappingsThatHaveThem) {
  FileWorld world;
  world.put_file(10 * kPageSize);
  world.run([&](Engine& engine) {
    EXPECT_EQ(world.refusal(engine, {.mode = FileMode::private_copy, .commits = true}),
              Errc::invalid_argument);
    FileMapping mapping = world.map(engine);
    EXPECT_EQ(mapping.commit().error().code, Errc::invalid_argument);
    EXPECT_EQ(mapping.rollback().error().code, Errc::invalid_argument);
    const InterruptScope interrupt;
    EXPECT_EQ(mapping.commit().error().code, Errc::interrupt_context);
  });
}

TEST(FileCommit, GrowsWithItsFileAndKeepsItsJournalShort) {
  FileWorld world;
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.create = true,
                                             .commits = true,
                                             .at_least = kPageSize,
                                             .capacity = 100 * kPageSize,
                                             .journal_limit = 40 * kPageSize});
    for (std::uint64_t pages = 2; pages <= 100; ++pages) {
      ASSERT_TRUE(mapping.resize(pages * kPageSize));
      world.set_word(mapping, (pages - 1) * kPageSize, pages);
      ASSERT_TRUE(mapping.commit());
      ASSERT_LT(world.machine.disk().bytes(kJournalPath).size(), 50 * kPageSize);
    }
    EXPECT_EQ(mapping.resize(kPageSize).error().code, Errc::invalid_argument);
    ASSERT_TRUE(mapping.unmap());
  });
  EXPECT_EQ(world.disk_word(99 * kPageSize), 100u);
}

// Every write, read, sync and room for writing fails in turn: the commit fails, and what was stored
// is in memory; tried again it goes well. Or it succeeds, and then it is durable.
TEST(FileCommit, WhateverFailsLosesNothing) {
  for (const FailureKind kind : {FailureKind::file_write, FailureKind::file_full,
                                 FailureKind::file_sync, FailureKind::file_read}) {
    bool injected = true;
    for (std::uint64_t n = 1; injected && !testing::Test::HasFailure(); ++n) {
      FileWorld world({.seed = n});
      SwapTier tier;
      world.options.swap = {tier};  // the disk's failures are the file's alone
      world.put_file(30 * kPageSize);
      world.run([&](Engine& engine) {
        FileMapping mapping = world.map(engine, {.commits = true, .journal_limit = 8 * kPageSize});
        for (std::uint64_t page = 0; page < 5; ++page) {
          world.set_word(mapping, page * kPageSize, page);
        }
        world.machine.failures().fail_at(kind, n, Repeat::once);
        (void)mapping.commit();
        const bool was_injected = world.machine.failures().injected(kind) > 0;
        for (std::uint64_t page = 0; page < 5; ++page) {
          ASSERT_EQ(world.word(mapping, page * kPageSize), page);
        }
        world.set_word(mapping, 7 * kPageSize, 7);
        injected = was_injected || world.machine.failures().injected(kind) > 0;
        world.machine.failures().clear();
        const auto again = mapping.commit();
        ASSERT_TRUE(again) << again.error().message();
        for (std::uint64_t page = 0; page < 5; ++page) {
          ASSERT_EQ(world.disk_word(page * kPageSize), page) << name(kind) << " " << n;
        }
        EXPECT_EQ(world.disk_word(7 * kPageSize), 7u);
        ASSERT_TRUE(mapping.unmap());
      });
    }
  }
}

// The same failures, and then a rollback instead of another try.
TEST(FileCommit, WhateverFailsCanBeRolledBack) {
  for (const FailureKind kind :
       {FailureKind::file_write, FailureKind::file_full, FailureKind::file_sync}) {
    bool injected = true;
    for (std::uint64_t n = 1; injected && !testing::Test::HasFailure(); ++n) {
      FileWorld world({.seed = n});
      world.options.swap = {SwapTier()};
      world.put_file(30 * kPageSize);
      world.run([&](Engine& engine) {
        FileMapping mapping = world.map(engine, {.commits = true});
        world.set_word(mapping, 0, 1);
        ASSERT_TRUE(mapping.commit());
        world.set_word(mapping, 0, 2);
        world.set_word(mapping, kPageSize, 2);
        world.machine.failures().fail_at(kind, n, Repeat::once);
        const auto committed = mapping.commit();
        injected = world.machine.failures().injected(kind) > 0;
        world.machine.failures().clear();
        world.machine.disk().record();
        ASSERT_TRUE(mapping.rollback());
        EXPECT_EQ(world.word(mapping, 0), committed ? 2u : 1u) << name(kind) << " " << n;
        EXPECT_EQ(world.word(mapping, kPageSize), committed ? 2u : FileWorld::mark(kPageSize));
        ASSERT_TRUE(mapping.unmap());
      });
      EXPECT_EQ(world.disk_word(0) == 2u, world.disk_word(kPageSize) == 2u);
    }
  }
}

}  // namespace
}  // namespace holdfast::tests
