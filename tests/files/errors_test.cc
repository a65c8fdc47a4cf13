// What goes wrong with a file, and who is told: faults by the handler, sync() by its result, each
// mapping once of what failed behind its back.
#include <cerrno>

#include "files/file_world.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 200;

TEST(FileErrors, AReadThatFailsConcernsItsPageAloneAndMayHealLater) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    world.machine.failures().fail_at(FailureKind::file_read, 1, Repeat::once);
    EXPECT_FALSE(world.can_load(mapping, 5 * kPageSize));
    EXPECT_EQ(world.refused.code, Errc::io_error);
    EXPECT_EQ(world.refused.os_errno, EIO);
    EXPECT_EQ(world.refused.value, 5 * kPageSize) << "the offset in the file";
    EXPECT_EQ(world.word(mapping, 6 * kPageSize), FileWorld::mark(6 * kPageSize));
    EXPECT_EQ(world.word(mapping, 5 * kPageSize), FileWorld::mark(5 * kPageSize)) << "healed";
    // Retried by its handler.
    world.machine.failures().fail_at(FailureKind::file_read, 1, Repeat::once);
    world.retries = 1;
    EXPECT_EQ(world.word(mapping, 50 * kPageSize), FileWorld::mark(50 * kPageSize));
    EXPECT_EQ(world.refusals, 2);
  });
}

TEST(FileErrors, AFileThatIsCutShortIsReadUpToItsEndAndWrittenNoFurther) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.set_word(mapping, 10 * kPageSize, 10);
    world.set_word(mapping, 100 * kPageSize + 8, 100);
    world.set_word(mapping, 100 * kPageSize + 400, 101);
    world.set_word(mapping, 150 * kPageSize, 150);
    // Somebody else cuts it in the middle of page 100.
    SimDisk::Bytes bytes = world.machine.disk().bytes(FileWorld::kPath);
    bytes.resize(100 * kPageSize + 200);
    world.machine.disk().put(FileWorld::kPath, bytes);
    EXPECT_FALSE(world.can_load(mapping, 120 * kPageSize));
    EXPECT_EQ(world.refused.code, Errc::io_error);
    EXPECT_EQ(world.refused.value, 120 * kPageSize);
    EXPECT_EQ(world.refused.limit, 100 * kPageSize + 200);
    EXPECT_EQ(world.word(mapping, 99 * kPageSize), FileWorld::mark(99 * kPageSize));
    const auto synced = mapping.sync();
    ASSERT_FALSE(synced);
    EXPECT_EQ(synced.error().value, 150 * kPageSize);
    EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath).size(), 100 * kPageSize + 200);
    EXPECT_EQ(world.disk_word(10 * kPageSize), 10u) << "the others were written";
    EXPECT_EQ(world.disk_word(100 * kPageSize + 8), 100u);
    EXPECT_EQ(world.word(mapping, 150 * kPageSize), 150u) << "it stays in memory";
    // It is made as long as it was.
    bytes = world.machine.disk().bytes(FileWorld::kPath);
    bytes.resize(kPages * kPageSize);
    world.machine.disk().put(FileWorld::kPath, bytes);
    ASSERT_TRUE(mapping.sync());
    EXPECT_EQ(world.disk_word(150 * kPageSize), 150u);
    EXPECT_EQ(world.word(mapping, 120 * kPageSize), 0u);
  });
}

TEST(FileErrors, WhatASyncCouldNotWriteStaysAndCanBeTriedAgain) {
  for (const FailureKind kind :
       {FailureKind::file_write, FailureKind::file_full, FailureKind::file_sync}) {
    FileWorld world;
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      FileMapping mapping = world.map(engine);
      for (std::uint64_t page = 0; page < 20; page += 2) {
        world.set_word(mapping, page * kPageSize, page);
      }
      world.machine.failures().fail_at(kind, 1, Repeat::once);
      const auto synced = mapping.sync();
      ASSERT_FALSE(synced) << name(kind);
      EXPECT_EQ(synced.error().os_errno, kind == FailureKind::file_full ? ENOSPC : EIO);
      for (std::uint64_t page = 0; page < 20; page += 2) {
        ASSERT_EQ(world.word(mapping, page * kPageSize), page);
      }
      const auto again = mapping.sync();
      EXPECT_TRUE(again) << "told once: " << again.error().message();
      for (std::uint64_t page = 0; page < 20; page += 2) {
        ASSERT_EQ(world.disk_word(page * kPageSize), page) << name(kind);
      }
    });
  }
}

// Of a request that failed nobody knows which page it was: each is tried by itself.
TEST(FileErrors, ARequestOfManyPagesThatFailsIsWrittenPageByPage) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    for (std::uint64_t page = 0; page < 20; ++page) {
      world.set_word(mapping, page * kPageSize, page + 1);
    }
    world.machine.failures().fail_at(FailureKind::file_write, 1, Repeat::once);
    const auto synced = mapping.sync();
    ASSERT_TRUE(synced) << "no page failed by itself: " << synced.error().message();
    EXPECT_EQ(world.machine.failures().injected(FailureKind::file_write), 1u);
    for (std::uint64_t page = 0; page < 20; ++page) {
      ASSERT_EQ(world.disk_word(page * kPageSize), page + 1);
    }
    EXPECT_TRUE(mapping.sync());
  });
}

// Pages that an eviction cannot write stay in memory, and everybody is told, once each.
TEST(FileErrors, WhatFailsBehindTheBackIsToldToEachMappingOnce) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping first = world.map(engine);
    FileMapping second = world.map(engine, {.offset = 8});
    for (std::uint64_t page = 0; page < 40; ++page) {
      world.set_word(first, page * kPageSize, page + 1);
    }
    world.machine.failures().fail_at(FailureKind::file_write, 1, Repeat::forever);
    FileWorld::push_out(engine);
    world.machine.failures().clear();
    for (std::uint64_t page = 0; page < 40; ++page) {
      ASSERT_EQ(world.word(first, page * kPageSize), page + 1);
    }
    const auto told = first.sync();
    ASSERT_FALSE(told);
    EXPECT_EQ(told.error().code, Errc::io_error);
    EXPECT_EQ(told.error().os_errno, EIO);
    EXPECT_LT(told.error().value, 40 * kPageSize);
    EXPECT_TRUE(first.sync()) << "once";
    EXPECT_FALSE(second.sync()) << "each";
    EXPECT_TRUE(second.sync());
    FileMapping third = world.map(engine);
    EXPECT_TRUE(third.sync()) << "it was not there";
    for (std::uint64_t page = 0; page < 40; ++page) {
      ASSERT_EQ(world.disk_word(page * kPageSize), page + 1) << "and it was written all the same";
    }
  });
}

TEST(FileErrors, AnUnmapThatCannotWriteLeavesTheMapping) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.set_word(mapping, 0, 7);
    world.machine.failures().fail_at(FailureKind::file_full, 1, Repeat::once);
    const auto unmapped = mapping.unmap();
    ASSERT_FALSE(unmapped);
    EXPECT_EQ(unmapped.error().os_errno, ENOSPC);
    EXPECT_EQ(world.word(mapping, 0), 7u);
    ASSERT_TRUE(mapping.unmap());
    EXPECT_EQ(world.disk_word(0), 7u);
    // One that goes by itself says on standard error what it has lost.
    {
      const FileMapping other = world.map(engine);
      world.set_word(other, 0, 8);
      world.machine.failures().fail_at(FailureKind::file_full, 1, Repeat::once);
    }
    ASSERT_FALSE(world.machine.lines().empty());
    EXPECT_NE(world.machine.lines().back().find("lost"), std::string::npos);
  });
}

// A device that fails for good under pressure: changed pages fill the memory, then new ones are
// refused with an error; nothing is lost.
TEST(FileErrors, ADeviceThatFailsForGoodRefusesNewPagesAndLosesNone) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.machine.failures().fail_at(FailureKind::file_write, 1, Repeat::forever);
    std::uint64_t stored = 0;
    while (stored < kPages) {
      const std::uint64_t value = stored;
      if (!world.machine.store(FileWorld::address(mapping, stored * kPageSize), &value, 8)) break;
      ++stored;
    }
    EXPECT_LT(stored, kPages);
    EXPECT_GT(stored, 20u);
    EXPECT_EQ(world.refused.code, Errc::out_of_memory);
    world.machine.failures().clear();
    for (std::uint64_t page = 0; page < stored; ++page) {
      ASSERT_EQ(world.word(mapping, page * kPageSize), page);
    }
    (void)mapping.sync();
    ASSERT_TRUE(mapping.sync());
    for (std::uint64_t page = 0; page < stored; ++page) {
      ASSERT_EQ(world.disk_word(page * kPageSize), page);
    }
  });
}

}  // namespace
}  // namespace holdfast::tests
