// Shared files are written back in the background: when, in what order, how fast, and what of it
// is never written.
#include <algorithm>
#include <vector>

#include "engine/write_pacer.h"
#include "files/file_world.h"

namespace holdfast::tests {
namespace {

using engine::WritePace;
using engine::WritePacer;

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kPages = 400;
constexpr WriteBack kEager = {.interval_ms = 1, .age_ms = 0};

// A file of kPages, in an engine that can have all of it in memory.
FileWorld& prepare(FileWorld& world, const WriteBack& how = {}) {
  world.options.write_back = how;
  world.put_file(kPages * kPageSize);
  return world;
}

void store(FileWorld& world, const FileMapping& mapping, std::uint64_t first, std::uint64_t end,
           std::uint64_t step = 1) {
  for (std::uint64_t page = first; page < end; page += step) {
    world.set_word(mapping, page * kPageSize, page + 1);
  }
}

// How many of the pages are in the file as store() left them.
std::uint64_t written(FileWorld& world, std::uint64_t first, std::uint64_t end) {
  const SimDisk::Bytes bytes = world.machine.disk().bytes(FileWorld::kPath);
  std::uint64_t count = 0;
  for (std::uint64_t page = first; page < end; ++page) {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes.data() + page * kPageSize, sizeof value);
    count += value == page + 1 ? 1 : 0;
  }
  return count;
}

TEST(FileBackground, StoresReachTheFileWithoutASyncWhenTheyAreOldEnough) {
  FileWorld world({.seed = 1}, 1024);
  prepare(world).run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    store(world, mapping, 10, 20);
    world.machine.sleep_ns(29 * kSecond);
    EXPECT_EQ(written(world, 10, 20), 0u) << "they are young";
    EXPECT_EQ(engine.stats().background_written, 0u);
    world.machine.sleep_ns(12 * kSecond);  // an age, and two intervals
    EXPECT_EQ(written(world, 10, 20), 10u);
    EXPECT_EQ(engine.stats().background_written, 10u);
    EXPECT_NE(engine.stats().to_string().find("10 pages written in the background"),
              std::string::npos);
    // What is stored from now on is told from what was written, and a sync has no more than that.
    store(world, mapping, 15, 16);
    world.set_word(mapping, 16 * kPageSize, 99);
    const std::uint64_t extents = world.machine.sim_stats().extents_written;
    ASSERT_TRUE(mapping.sync());
    EXPECT_EQ(world.machine.sim_stats().extents_written - extents, 1u);
    EXPECT_EQ(world.disk_word(16 * kPageSize), 99u);
    world.set_word(mapping, 17 * kPageSize, 98);
    world.machine.sleep_ns(41 * kSecond);
    EXPECT_EQ(world.disk_word(17 * kPageSize), 98u) << "and so on";
    EXPECT_EQ(engine.stats().background_written, 11u);
  });
}

TEST(FileBackground, MuchIsWrittenBeforeItIsOld) {
  FileWorld world({.seed = 1}, 1000);
  prepare(world).run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    // No neighbours come in: they might have changed, for all it knows.
    ASSERT_TRUE(mapping.advise(0, mapping.size(), Advice::random));
    store(world, mapping, 1, 81);
    world.machine.sleep_ns(11 * kSecond);
    EXPECT_EQ(written(world, 1, 81), 0u) << "less than a tenth of the budget";
    store(world, mapping, 100, 200);
    world.machine.sleep_ns(6 * kSecond);
    EXPECT_EQ(written(world, 1, 81), 80u);
    EXPECT_EQ(written(world, 100, 200), 100u);
  });
}

TEST(FileBackground, PagesAreWrittenInTheOrderOfTheFileAndManyAtOnce) {
  FileWorld world({.seed = 1}, 2048);
  prepare(world, {.interval_ms = 1000, .age_ms = 0}).run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    world.machine.disk().record();
    std::vector<std::byte> content(200 * kPageSize, std::byte{7});
    ASSERT_TRUE(world.machine.store(FileWorld::address(mapping, 10 * kPageSize), content.data(),
                                    content.size()));
    EXPECT_EQ(world.machine.disk().events(), 0u);
    world.machine.sleep_ns(3 * kSecond);
    sys::SimRandom random(1);
    const std::size_t events = world.machine.disk().events();
    SimDisk::Bytes before =
        world.machine.disk().after_crash(0, sys::CrashStyle::everything, random)[FileWorld::kPath];
    std::vector<std::pair<std::uint64_t, std::uint64_t>> requests;  // first page and pages
    for (std::size_t i = 1; i <= events; ++i) {
      const SimDisk::Bytes after = world.machine.disk().after_crash(i, sys::CrashStyle::everything,
                                                                    random)[FileWorld::kPath];
      std::uint64_t first = kPages;
      std::uint64_t end = 0;
      for (std::uint64_t page = 0; page < kPages; ++page) {
        const std::uint64_t at = page * kPageSize;
        if (std::memcmp(&before[at], &after[at], kPageSize) == 0) continue;
        first = std::min(first, page);
        end = page + 1;
      }
      if (end != 0) requests.emplace_back(first, end - first);
      before = after;
    }
    std::uint64_t next = 10;
    for (const auto& [first, pages] : requests) {
      EXPECT_EQ(first, next);
      next = first + pages;
    }
    EXPECT_EQ(next, 210u);
    EXPECT_LE(requests.size(), 5u) << "of up to 64 pages";
  });
}

TEST(FileBackground, SwitchedOffItWritesNothing) {
  FileWorld world({.seed = 1}, 1024);
  prepare(world, {.enabled = false}).run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    store(world, mapping, 1, 300);
    world.machine.sleep_ns(300 * kSecond);
    EXPECT_EQ(written(world, 1, 300), 0u);
    EXPECT_EQ(engine.stats().background_written, 0u);
    ASSERT_TRUE(mapping.sync());
    EXPECT_EQ(written(world, 1, 300), 299u);
  });
}

TEST(FileBackground, WhatIsNotCommittedOrPrivateStaysOutOfTheFile) {
  FileWorld world({.seed = 1}, 1024);
  prepare(world, kEager).run([&](Engine& engine) {
    const SimDisk::Bytes before = world.machine.disk().bytes(FileWorld::kPath);
    {
      FileMapping mapping = world.map(engine, {.commits = true});
      const FileMapping own = world.map(engine, {.mode = FileMode::private_copy});
      store(world, mapping, 0, 100);
      store(world, own, 100, 200);
      world.machine.sleep_ns(100 * kSecond);
      EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath), before);
      ASSERT_TRUE(mapping.rollback());
      store(world, mapping, 0, 50);
      ASSERT_TRUE(mapping.commit());
      EXPECT_EQ(written(world, 0, 100), 50u);
      EXPECT_EQ(written(world, 100, 200), 0u);
    }
    EXPECT_EQ(engine.stats().background_written, 0u);
  });
}

TEST(FileBackground, ADiskThatFailsIsAskedSeldomAndTellsTheNextSync) {
  for (const FailureKind kind : {FailureKind::file_write, FailureKind::file_full}) {
    FileWorld world({.seed = 1}, 1024);
    prepare(world, {.interval_ms = 100, .age_ms = 0}).run([&](Engine& engine) {
      FileMapping first = world.map(engine);
      FileMapping second = world.map(engine, {.offset = 8});
      world.machine.failures().fail_at(kind, 1, Repeat::forever);
      store(world, first, 0, 200);
      world.machine.sleep_ns(1000 * kSecond);
      const std::uint64_t tries = engine.stats().background_failed;
      EXPECT_GE(tries, 3u);
      EXPECT_LE(tries, 12u) << "1 s, 2 s, 4 s ... 300 s";
      EXPECT_EQ(engine.stats().background_written, 0u);
      for (std::uint64_t page = 0; page < 200; ++page) {
        ASSERT_EQ(world.word(first, page * kPageSize), page + 1) << "it stays in memory";
      }
      world.machine.failures().clear();
      const auto told = first.sync();
      ASSERT_FALSE(told);
      EXPECT_EQ(told.error().os_errno, kind == FailureKind::file_full ? ENOSPC : EIO);
      EXPECT_TRUE(first.sync()) << "once";
      EXPECT_FALSE(second.sync()) << "each";
      EXPECT_EQ(written(world, 0, 200), 200u);
    });
  }
}

TEST(FileBackground, APageThatCannotBeWrittenDoesNotKeepTheOthersFromTheFile) {
  FileWorld world({.seed = 1}, 1024);
  prepare(world, {.interval_ms = 100, .age_ms = 0}).run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.machine.failures().fail_at(FailureKind::file_write, 1, Repeat::once);
    store(world, mapping, 0, 200, 2);  // a request each
    world.machine.sleep_ns(kSecond * 9 / 10);
    EXPECT_EQ(engine.stats().background_failed, 1u);
    world.machine.sleep_ns(9 * kSecond);
    EXPECT_EQ(written(world, 0, 200), 100u) << "all of them, with that which failed at first";
    EXPECT_EQ(engine.stats().background_failed, 1u);
    // A pass without a failure has made all of it known: what is clean is not looked at any more.
    const std::uint64_t extents = world.machine.sim_stats().extents_written;
    EXPECT_FALSE(mapping.sync()) << "it was told";
    EXPECT_TRUE(mapping.sync());
    EXPECT_EQ(world.machine.sim_stats().extents_written, extents);
  });
}

// It goes by way of the kernel's cache, where a write succeeds that the disk never sees.
TEST(FileBackground, ALastPageThatCouldNotBeFlushedIsNotTakenForWritten) {
  FileWorld world({.seed = 1}, 1024);
  world.options.write_back = {.interval_ms = 100, .age_ms = 0};
  world.put_file(kPages * kPageSize + 100);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.machine.failures().fail_at(FailureKind::file_sync, 1, Repeat::once);
    world.set_word(mapping, kPages * kPageSize, 7);
    world.machine.sleep_ns(kSecond * 9 / 10);
    EXPECT_EQ(engine.stats().background_failed, 1u);
    EXPECT_EQ(engine.stats().background_written, 0u);
    EXPECT_FALSE(mapping.sync()) << "told";
    EXPECT_TRUE(mapping.sync()) << "once";
  });
}

// While a batch is on its way to a slow disk, evictions meet its turn; nobody is refused for that.
TEST(FileBackground, NobodyIsRefusedMemoryWhileASlowDiskIsWrittenTo) {
  FileWorld world({.seed = 1, .data_latency_ns_max = 20'000'000}, 128);
  prepare(world, kEager).run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    for (int round = 0; round < 3; ++round) store(world, mapping, 0, kPages);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(world.word(mapping, page * kPageSize), page + 1);
    }
    EXPECT_EQ(world.refusals, 0) << world.refused.message();
    EXPECT_GT(engine.stats().background_written, 0u);
  });
}

// A program by chance that maps, stores, syncs, makes the file longer and shorter, pushes pages out
// and unmaps while all of it is written in the background.
void change_all_the_time(std::uint64_t seed) {
  sys::SimOptions options{.seed = seed, .data_latency_ns_max = seed % 2 == 0 ? 0ULL : 300'000ULL};
  FileWorld world(options, 200);
  world.options.delivery = seed % 3 == 0 ? FaultDelivery::thread : FaultDelivery::signal;
  sys::SimRandom chance(seed);
  std::vector<std::uint64_t> model(kPages);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    model[page] = FileWorld::mark(page * kPageSize);
  }
  std::uint64_t pages = kPages;
  prepare(world, kEager).run([&](Engine& engine) {
    for (int round = 0; round < 4; ++round) {
      FileMapping mapping = world.map(engine, {.capacity = kPages * kPageSize});
      for (int step = 0; step < 60; ++step) {
        const std::uint64_t page = chance.below(pages);
        switch (chance.below(12)) {
          case 0: {
            const std::uint64_t next = 1 + chance.below(kPages);
            ASSERT_TRUE(mapping.resize(next * kPageSize));
            for (std::uint64_t cut = next; cut < kPages; ++cut) model[cut] = 0;
            pages = next;
            break;
          }
          case 1:
            ASSERT_TRUE(mapping.sync());
            break;
          case 2:
            (void)engine.reclaim(chance.below(40));
            break;
          case 3:
            world.machine.sleep_ns(chance.below(3'000'000));
            break;
          case 4:
            ASSERT_EQ(world.word(mapping, page * kPageSize), model[page]) << seed;
            break;
          default:
            model[page] = chance.next();
            world.set_word(mapping, page * kPageSize, model[page]);
        }
      }
      ASSERT_TRUE(mapping.unmap());
      for (std::uint64_t page = 0; page < pages; ++page) {
        ASSERT_EQ(world.disk_word(page * kPageSize), model[page]) << "page " << page << " " << seed;
      }
    }
    EXPECT_EQ(world.refusals, 0);
  });
}

TEST(FileBackground, FilesThatChangeMeanwhileAreAsTheModelSays) {
  const std::uint64_t seed = test_seed();
  HF_SEED_TRACE(seed);
  for (std::uint64_t i = 0; i < seed_count(60) && !testing::Test::HasFailure(); ++i) {
    change_all_the_time(seed + i);
  }
}

TEST(FileBackground, OptionsThatMakeNoSenseAreRefused) {
  FileWorld world;
  const auto refusal = [&](const WriteBack& how) {
    world.options.write_back = how;
    const auto made = engine::create_on(world.machine, world.options);
    return made ? Error{} : made.error();
  };
  EXPECT_EQ(refusal({.interval_ms = 0}).code, Errc::invalid_argument);
  EXPECT_EQ(refusal({.budget_percent = 101}).value, 101u);
  EXPECT_EQ(refusal({.budget_percent = 101}).limit, 100u);
}

// --- the decisions alone ---

constexpr WritePace kPace = {.interval_ns = 5, .age_ns = 30, .pages_max = 100};

TEST(WritePacer, LooksAtEachIntervalAndWritesWhatIsOldEnough) {
  WritePacer pacer(kPace, 1000);
  EXPECT_EQ(pacer.due_ns(), 1005u);
  pacer.looked(1005, 0, 50, 50);
  EXPECT_FALSE(pacer.is_writing());
  EXPECT_EQ(pacer.due_ns(), 1010u);
  std::uint64_t now = 1010;
  for (; now < 1035; now += 5) {  // changes that it sees at 1010 may be as old as 1005
    pacer.looked(now, 3, 50, 50);
    EXPECT_FALSE(pacer.is_writing()) << now;
    EXPECT_EQ(pacer.due_ns(), now + 5);
  }
  pacer.looked(now, 3, 50, 50);
  EXPECT_TRUE(pacer.is_writing());
  EXPECT_EQ(pacer.at(), 0u);
  EXPECT_EQ(pacer.due_ns(), now);
}

TEST(WritePacer, LooksAtASliceAtATimeAndNoFurtherThanToTooMany) {
  WritePacer pacer(kPace, 0);
  pacer.looked(5, 60, 1000, 4000);
  EXPECT_FALSE(pacer.is_writing());
  EXPECT_EQ(pacer.at(), 1000u);
  EXPECT_EQ(pacer.due_ns(), 5u) << "it goes on";
  pacer.looked(6, 41, 2000, 4000);
  EXPECT_TRUE(pacer.is_writing()) << "101";
  EXPECT_EQ(pacer.at(), 0u);
}

TEST(WritePacer, LeavesTheDiskToOthersForAsLongAsABatchTook) {
  WritePacer pacer(kPace, 0);
  pacer.looked(5, 101, 4000, 4000);
  pacer.wrote(10, 17, 0, 64, 4000, false);
  EXPECT_EQ(pacer.due_ns(), 24u);
  EXPECT_EQ(pacer.at(), 64u);
  pacer.wrote(24, 124, 0, 4000, 4000, false);
  EXPECT_FALSE(pacer.is_writing());
  EXPECT_EQ(pacer.due_ns(), 224u) << "also after the last one";
}

// What was written takes a fault with its next store: a rest in proportion, up to the age.
TEST(WritePacer, RestsForTheFaultsThatItCauses) {
  const WritePace pace = {
      .interval_ns = 5, .age_ns = 100 * WritePacer::kRestForPage, .pages_max = 10};
  WritePacer pacer(pace, 0);
  pacer.looked(5, 11, 200, 200);
  pacer.wrote(5, 5, 30, 100, 200, false);
  EXPECT_EQ(pacer.due_ns(), 5u);
  pacer.wrote(5, 5, 20, 200, 200, false);
  std::uint64_t now = 5 + 50 * WritePacer::kRestForPage;
  EXPECT_EQ(pacer.due_ns(), now);
  pacer.looked(now, 11, 200, 200);
  pacer.wrote(now, now, 200, 200, 200, false);
  EXPECT_EQ(pacer.due_ns(), now + pace.age_ns);
  now = pacer.due_ns();
  pacer.looked(now, 1, 200, 200);
  EXPECT_TRUE(pacer.is_writing()) << "it may be as old as that";
}

TEST(WritePacer, WaitsTwiceAsLongAfterEachFailureUntilAPassHasNone) {
  WritePacer pacer(kPace, 0);
  std::uint64_t now = 5;
  std::uint64_t pause = WritePacer::kPauseMin;
  for (int pass = 0; pass < 6; ++pass) {
    pacer.looked(now, 101, 128, 128);
    ASSERT_TRUE(pacer.is_writing());
    pacer.wrote(now, now, 0, 64, 128, true);
    EXPECT_EQ(pacer.due_ns(), now + pause);
    now = pacer.due_ns();
    pause = std::min(2 * pause, WritePacer::kPauseMax);
    pacer.wrote(now, now, 0, 128, 128, true);
    EXPECT_EQ(pacer.due_ns(), now + pause);
    now = pacer.due_ns();
    pause = std::min(2 * pause, WritePacer::kPauseMax);
  }
  EXPECT_EQ(pause, WritePacer::kPauseMax);
  pacer.looked(now, 1, 128, 128);
  ASSERT_TRUE(pacer.is_writing()) << "what could not be written is old";
  pacer.wrote(now, now, 0, 64, 128, false);
  EXPECT_EQ(pacer.due_ns(), now);
  pacer.wrote(now, now, 0, 128, 128, false);
  pacer.looked(now + 5, 101, 128, 128);
  pacer.wrote(now + 5, now + 5, 0, 64, 128, true);
  EXPECT_EQ(pacer.due_ns(), now + 5 + WritePacer::kPauseMin);
}

}  // namespace
}  // namespace holdfast::tests
