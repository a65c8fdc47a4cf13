// The journal of a file's commits: what it refuses, and what failures leave.
#include "file/journal_fixture.h"

namespace holdfast::file::test {
namespace {

class JournalTest : public testing::Test {
 protected:
  JournalTest() : world(1) { world.machine.disk().put(kData, file_of(versions)); }
  void run(const std::function<void()>& body) {
    body();
    world.journal.reset();
    world.data.reset();
  }
  // A journal of three commits, as it stands on the disk; the file has none of them.
  SimDisk::Files three_commits() {
    SimDisk::Files files;
    run([&] {
      ASSERT_TRUE(world.open());
      for (std::uint64_t version = 1; version <= 3; ++version) {
        ASSERT_TRUE(world.commit({{version, version}, {10, version}}));
      }
      files[kData] = world.machine.disk().bytes(kData);
      files[kJournal] = world.machine.disk().bytes(kJournal);
      files[kJournal].resize(world.journal->bytes());  // not the room that it has beyond that
    });
    return files;
  }

  JournalWorld world;
  Versions versions = Versions(kPages, 0);
};

constexpr std::uint64_t kCommitBytes = 4 * kPageSize;  // a part of two pages, and the seal

TEST_F(JournalTest, NothingReachesTheFileBeforeTheCommit) {
  run([&] {
    ASSERT_TRUE(world.open());
    ASSERT_TRUE(world.commit({{1, 7}, {kPages - 1, 8}}));
    EXPECT_EQ(world.machine.disk().bytes(kData), file_of(versions));
    EXPECT_FALSE(world.journal->is_applied());
    ASSERT_TRUE(world.journal->apply());
    versions[1] = 7;
    versions[kPages - 1] = 8;
    EXPECT_EQ(world.machine.disk().bytes(kData), file_of(versions)) << "and not behind its end";
    EXPECT_TRUE(world.journal->is_applied());
    const std::uint64_t before = world.journal->bytes();
    ASSERT_TRUE(world.journal->checkpoint());
    EXPECT_EQ(world.journal->bytes(), kJournalStart);
    ASSERT_TRUE(world.commit({{1, 9}}));
    EXPECT_LT(world.journal->bytes(), before) << "its room is used again";
    ASSERT_TRUE(world.journal->close());
    EXPECT_FALSE(world.machine.disk().has(kJournal));
  });
}

TEST_F(JournalTest, ATornTailIsTheCommitThatWasUnderWay) {
  const SimDisk::Files files = three_commits();
  for (std::uint64_t cut = kJournalStart; cut <= files.at(kJournal).size(); cut += 512) {
    SimDisk::Files cut_files = files;
    cut_files[kJournal].resize(cut);
    const auto file = recovered(cut_files, 1);
    ASSERT_TRUE(file) << file.error().message();
    Versions expected(kPages, 0);
    for (std::uint64_t v = 1; v <= (cut - kJournalStart) / kCommitBytes; ++v) {
      expected[v] = expected[10] = v;
    }
    EXPECT_EQ(*file, file_of(expected)) << "cut at " << cut;
  }
}

TEST_F(JournalTest, AnyFlippedBitIsFoundAndNoCommitIsDroppedSilently) {
  const SimDisk::Files files = three_commits();
  const std::uint64_t last = kJournalStart + 2 * kCommitBytes;  // where the third begins
  Versions two(kPages, 0);
  two[1] = 1;
  two[2] = two[10] = 2;
  Versions three = two;
  three[3] = three[10] = 3;
  std::uint64_t unnoticed = 0;
  for (std::uint64_t at = 0; at < files.at(kJournal).size(); at += 37) {
    SimDisk::Files flipped = files;
    flipped[kJournal][at] ^= std::byte{0x10};
    const auto file = recovered(flipped, 1);
    if (file && *file == file_of(three)) {
      ++unnoticed;
      EXPECT_GE(at, sizeof(JournalHeader));
      EXPECT_LT(at, kJournalStart) << "only what means nothing may change";
    } else if (at < last) {
      ASSERT_FALSE(file) << "byte " << at << " of a commit with others behind it";
      EXPECT_EQ(file.error().code, Errc::corrupted);
    } else {
      ASSERT_TRUE(file);  // it might have been torn
      EXPECT_EQ(*file, file_of(two));
    }
  }
  EXPECT_GT(unnoticed, 0u);
}

TEST_F(JournalTest, AJournalOfAnotherFileOrVersionIsRefusedAndKept) {
  SimDisk::Files files = three_commits();
  JournalWorld next(2);
  next.machine.disk().put(files);
  next.machine.disk().replace(kData, files[kData]);  // another file of that name
  next.machine.disk().remove(kData);
  next.machine.disk().put(kData, files[kData]);
  EXPECT_EQ(next.open().error().code, Errc::invalid_argument);
  EXPECT_EQ(next.machine.disk().bytes(kJournal), files[kJournal]);
  next.data.reset();
  JournalHeader header;
  std::memcpy(&header, files[kJournal].data(), sizeof header);
  header.version = kJournalVersion + 1;
  header.checksum = header.expected_checksum();
  std::memcpy(files[kJournal].data(), &header, sizeof header);
  EXPECT_EQ(recovered(files, 1).error().code, Errc::unsupported);
  files[kJournal] = SimDisk::Bytes(kPageSize, std::byte{'x'});
  EXPECT_EQ(recovered(files, 1).error().code, Errc::corrupted) << "not a journal";
  files[kJournal] = {};
  EXPECT_TRUE(recovered(files, 1)) << "one that was never begun";
}

// Every write, sync and size of a commit fails in turn, once: the commit fails or succeeds as a
// whole, and the next one goes well.
TEST_F(JournalTest, WhateverFailsCanBeTriedAgain) {
  for (const FailureKind kind : {FailureKind::file_write, FailureKind::file_full,
                                 FailureKind::file_sync, FailureKind::file_read}) {
    for (std::uint64_t n = 1;; ++n) {
      JournalWorld one(n);
      Versions expected(kPages, 0);
      one.machine.disk().put(kData, file_of(expected));
      bool injected = false;
      ASSERT_TRUE(one.open());
      one.machine.disk().record();
      ASSERT_TRUE(one.commit({{1, 1}, {2, 1}}));
      expected[1] = expected[2] = 1;
      one.machine.failures().fail_at(kind, n, Repeat::once);
      const auto failed = one.commit({{2, 2}, {3, 2}}, 1);
      if (failed) expected[2] = expected[3] = 2;
      const auto applied = one.journal->apply();
      const auto checked = one.journal->checkpoint();
      injected = one.machine.failures().injected(kind) > 0;
      EXPECT_EQ(injected, !failed || !applied || !checked);
      // What a crash leaves is what was acknowledged, or the one that failed.
      Versions in_flight = expected;
      in_flight[2] = in_flight[3] = 2;
      sys::SimRandom random(n);
      for (const CrashStyle style : sys::kCrashStyles) {
        const auto file = recovered(
            one.machine.disk().after_crash(one.machine.disk().events(), style, random), n);
        ASSERT_TRUE(file) << file.error().message();
        EXPECT_TRUE(*file == file_of(expected) || (!failed && *file == file_of(in_flight)));
      }
      one.machine.failures().clear();
      const auto again = one.commit({{2, 3}, {4, 3}});
      ASSERT_TRUE(again) << again.error().message();
      expected[2] = expected[4] = 3;
      ASSERT_TRUE(one.journal->apply());
      EXPECT_EQ(one.machine.disk().bytes(kData), file_of(expected));
      const auto file = recovered(
          one.machine.disk().after_crash(one.machine.disk().events(), CrashStyle::nothing, random),
          n);
      ASSERT_TRUE(file);
      EXPECT_EQ(*file, file_of(expected)) << name(kind) << " " << n;
      one.journal.reset();
      one.data.reset();
      if (!injected || HasFailure()) break;
    }
  }
}

TEST_F(JournalTest, ACommitThatWasAbandonedIsNeverSeen) {
  run([&] {
    ASSERT_TRUE(world.open());
    world.machine.disk().record();
    // Of three parts and a seal some sectors were written, and then fewer parts by the next.
    world.machine.failures().fail_at(FailureKind::file_write, 1, Repeat::once);
    EXPECT_FALSE(world.commit({{1, 1}, {2, 1}, {3, 1}}, 1));
    ASSERT_TRUE(world.commit({{5, 2}}));
    versions[5] = 2;
    sys::SimRandom random(1);
    const auto file = recovered(world.machine.disk().after_crash(world.machine.disk().events(),
                                                                 CrashStyle::everything, random),
                                1);
    ASSERT_TRUE(file);
    EXPECT_EQ(*file, file_of(versions));
  });
}

}  // namespace
}  // namespace holdfast::file::test
