// File mappings: what they show, where stores go, and that one page of a file is one page.
#include <algorithm>

#include "files/file_world.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 400;  // more than the budget of 128

TEST(FileMapping, ShowsTheFileWhateverItsSize) {
  for (const std::uint64_t bytes : {8UL, 4096UL, 4104UL, 3 * 4096UL - 8, 70 * 4096UL + 16}) {
    FileWorld world;
    world.put_file(bytes);
    for (const FileMode mode : {FileMode::read_only, FileMode::shared, FileMode::private_copy}) {
      world.run([&](Engine& engine) {
        const FileMapping mapping = world.map(engine, {.mode = mode});
        EXPECT_EQ(mapping.size(), bytes);
        for (std::uint64_t at = 0; at < bytes; at += 8) {
          ASSERT_EQ(world.word(mapping, at), FileWorld::mark(at)) << at << " of " << bytes;
        }
        // The rest of the last page reads as zeros.
        const std::uint64_t end = pages_for(bytes).bytes();
        for (std::uint64_t at = bytes; at < end; at += 8) ASSERT_EQ(world.word(mapping, at), 0u);
      });
    }
    EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath).size(), bytes);
  }
}

TEST(FileMapping, BeginsAndEndsAtAnyByte) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine, {.offset = 5001, .bytes = 10'007});
    EXPECT_EQ(mapping.size(), 10'007u);
    EXPECT_EQ(world.word(mapping, 7), FileWorld::mark(5008));
    EXPECT_EQ(world.word(mapping, 9999), FileWorld::mark(15'000));
  });
}

TEST(FileMapping, CleanPagesAreDroppedAndReadAgain) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.machine.disk().record();
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    for (int round = 0; round < 3; ++round) {
      for (std::uint64_t at = 0; at < kPages * kPageSize; at += kPageSize) {
        ASSERT_EQ(world.word(mapping, at), FileWorld::mark(at));
      }
    }
    FileWorld::push_out(engine);
    const Stats stats = engine.stats();
    EXPECT_GT(stats.evicted_clean, 2 * kPages);
    EXPECT_EQ(stats.evicted_written, 0u) << "what was not changed is not written, nor swapped";
  });
  EXPECT_EQ(world.machine.disk().events(), 0u) << "nothing was written to the disk";
}

TEST(FileMapping, SharedStoresReachTheFileUnderPressureAndBySync) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      world.set_word(mapping, page * kPageSize + 8, page);
    }
    EXPECT_GT(engine.stats().evicted_written, 0u);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(world.word(mapping, page * kPageSize + 8), page);
      ASSERT_EQ(world.word(mapping, page * kPageSize + 16), FileWorld::mark(page * kPageSize + 16));
    }
    FileMapping mutable_mapping = world.map(engine);
    ASSERT_TRUE(mutable_mapping.sync());
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(world.disk_word(page * kPageSize + 8), page);
    }
  });
}

TEST(FileMapping, ASyncIsDurableAndWritesOnlyWhatChanged) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    for (std::uint64_t page = 0; page < 40; ++page) (void)world.word(mapping, page * kPageSize);
    ASSERT_TRUE(mapping.sync());
    world.set_word(mapping, 5 * kPageSize, 1);
    world.set_word(mapping, 6 * kPageSize, 2);
    world.set_word(mapping, 9 * kPageSize, FileWorld::mark(9 * kPageSize));  // as it was
    world.set_word(mapping, 20 * kPageSize, 3);
    world.machine.disk().record();
    ASSERT_TRUE(mapping.sync(0, 10 * kPageSize));
    sys::SimRandom random(1);
    const auto after = world.machine.disk().after_crash(world.machine.disk().events(),
                                                        sys::CrashStyle::nothing, random);
    EXPECT_EQ(world.machine.disk().events(), 2u) << "one write of two pages, one sync";
    std::uint64_t words[2];
    std::memcpy(words, after.at(FileWorld::kPath).data() + 5 * kPageSize, 8);
    std::memcpy(words + 1, after.at(FileWorld::kPath).data() + 6 * kPageSize, 8);
    EXPECT_EQ(words[0], 1u);
    EXPECT_EQ(words[1], 2u);
    EXPECT_EQ(world.disk_word(20 * kPageSize), FileWorld::mark(20 * kPageSize)) << "not asked for";
    world.machine.disk().record();
    ASSERT_TRUE(mapping.sync());
    EXPECT_EQ(world.machine.disk().events(), 2u);
    EXPECT_EQ(world.disk_word(20 * kPageSize), 3u);
    world.machine.disk().record();
    ASSERT_TRUE(mapping.sync());
    EXPECT_EQ(world.machine.disk().events(), 1u) << "nothing but the sync";
  });
}

// Evictions cannot write a page to its file while a sync does; whoever needs the memory waits.
TEST(FileMapping, NobodyIsRefusedMemoryWhileASyncWritesToASlowDisk) {
  constexpr std::uint64_t kMore = 400;
  FileWorld world({.seed = 1, .data_latency_ns_max = 20'000'000});
  world.put_file(kMore * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    bool done = false;
    auto& other = world.machine.spawn("sync", [&] {
      while (!done) EXPECT_TRUE(mapping.sync());
    });
    for (std::uint64_t page = 0; page < kMore; ++page) {
      world.set_word(mapping, page * kPageSize, page + 1);
    }
    done = true;
    world.machine.join(other);
    EXPECT_EQ(world.refusals, 0) << world.refused.message();
    for (std::uint64_t page = 0; page < kMore; ++page) {
      ASSERT_EQ(world.word(mapping, page * kPageSize), page + 1);
    }
  });
}

TEST(FileMapping, UnmappingWritesWhatChanged) {
  FileWorld world;
  world.put_file(3 * kPageSize + 40);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.set_word(mapping, 8, 1);
    world.set_word(mapping, 3 * kPageSize + 32, 2);
    world.set_word(mapping, 3 * kPageSize + 40, 3);  // behind the end: nobody's
    ASSERT_TRUE(mapping.unmap());
    EXPECT_FALSE(mapping);
  });
  EXPECT_EQ(world.disk_word(8), 1u);
  EXPECT_EQ(world.disk_word(3 * kPageSize + 32), 2u);
  EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath).size(), 3 * kPageSize + 40);
}

TEST(FileMapping, TwoMappingsOfAFileAreTheSameMemory) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping first = world.map(engine);
    FileMapping second = world.map(engine, {.offset = 100 * kPageSize + 8});
    const FileMapping third = world.map(engine, {.mode = FileMode::read_only});
    world.set_word(first, 100 * kPageSize + 16, 77);
    EXPECT_EQ(world.word(second, 8), 77u);
    EXPECT_EQ(world.word(third, 100 * kPageSize + 16), 77u);
    FileWorld::push_out(engine);
    world.set_word(second, 8, 78);
    EXPECT_EQ(world.word(first, 100 * kPageSize + 16), 78u);
    auto pin = engine.pin(first.data() + 100 * kPageSize, kPageSize);
    ASSERT_TRUE(pin);
    ASSERT_TRUE(first.unmap());
    pin->reset();
    EXPECT_EQ(world.word(second, 8), 78u) << "the file stays mapped as long as somebody has it";
  });
  EXPECT_EQ(world.disk_word(100 * kPageSize + 16), 78u);
}

TEST(FileMapping, PrivateStoresStayPrivateAndSeeWhatOthersHadStored) {
  FileWorld world;
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping shared = world.map(engine);
    world.set_word(shared, 8, 5);
    const FileMapping own = world.map(engine, {.mode = FileMode::private_copy});
    EXPECT_EQ(world.word(own, 8), 5u) << "stored before, not synced";
    for (std::uint64_t page = 0; page < kPages; ++page) {
      world.set_word(own, page * kPageSize + 16, page);
    }
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(world.word(own, page * kPageSize + 16), page);
      ASSERT_EQ(world.word(shared, page * kPageSize + 16), FileWorld::mark(page * kPageSize + 16));
    }
    const FileMapping other = world.map(engine, {.mode = FileMode::private_copy});
    EXPECT_EQ(world.word(other, 16), FileWorld::mark(16));
  });
  EXPECT_EQ(world.disk_word(16), FileWorld::mark(16));
}

TEST(FileMapping, ReadOnlyMappingsRefuseStores) {
  FileWorld world;
  world.put_file(2 * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.mode = FileMode::read_only});
    EXPECT_FALSE(world.can_store(mapping, 8));
    EXPECT_EQ(world.refused.code, Errc::permission);
    EXPECT_EQ(world.word(mapping, 8), FileWorld::mark(8));
    EXPECT_EQ(mapping.sync().error().code, Errc::invalid_argument);
    EXPECT_EQ(world.refusal(engine, {}), Errc::busy) << "shared, while it is mapped read-only";
  });
}

TEST(FileMapping, GrowsAndShrinksInPlace) {
  FileWorld world;
  world.run([&](Engine& engine) {
    FileMapping mapping =
        world.map(engine, {.create = true, .at_least = 100, .capacity = 50 * kPageSize});
    EXPECT_EQ(mapping.size(), 100u);
    world.set_word(mapping, 0, 1);
    const std::byte* const before = mapping.data();
    ASSERT_TRUE(mapping.resize(20 * kPageSize));
    EXPECT_EQ(mapping.data(), before);
    EXPECT_EQ(world.word(mapping, 19 * kPageSize), 0u);
    world.set_word(mapping, 19 * kPageSize, 2);
    FileWorld::push_out(engine);
    EXPECT_EQ(world.word(mapping, 19 * kPageSize), 2u);
    EXPECT_EQ(mapping.resize(51 * kPageSize).error().code, Errc::invalid_argument);
    EXPECT_EQ(mapping.resize(3 * kPageSize + 1).error().code, Errc::invalid_argument);
    ASSERT_TRUE(mapping.resize(3 * kPageSize));
    EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath).size(), 3 * kPageSize);
    EXPECT_FALSE(world.can_load(mapping, 19 * kPageSize));
    ASSERT_TRUE(mapping.resize(20 * kPageSize));
    EXPECT_EQ(world.word(mapping, 19 * kPageSize), 0u) << "what was cut off does not come back";
    EXPECT_EQ(world.word(mapping, 0), 1u);
    ASSERT_TRUE(mapping.sync());
  });
  EXPECT_EQ(world.disk_word(0), 1u);
  EXPECT_EQ(world.disk_word(19 * kPageSize), 0u);
}

TEST(FileMapping, FreeingMakesZerosInTheFile) {
  FileWorld world;
  world.put_file(20 * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    EXPECT_EQ(world.word(mapping, 4 * kPageSize), FileWorld::mark(4 * kPageSize));
    ASSERT_TRUE(mapping.advise(4 * kPageSize, 4 * kPageSize, Advice::free));
    EXPECT_EQ(world.word(mapping, 5 * kPageSize), 0u);
    ASSERT_TRUE(mapping.sync());
    FileWorld::push_out(engine);
    EXPECT_EQ(world.word(mapping, 6 * kPageSize), 0u);
  });
  EXPECT_EQ(world.disk_word(7 * kPageSize), 0u);
  EXPECT_EQ(world.disk_word(8 * kPageSize), FileWorld::mark(8 * kPageSize));
}

// A copy would share pages with the file, and change with it.
TEST(FileMapping, BadInputIsRefusedWithNothingDone) {
  FileWorld world;
  world.put_file(2 * kPageSize);
  world.machine.disk().put("/data/empty", {});
  world.run([&](Engine& engine) {
    EXPECT_EQ(world.refusal(engine, {}, "/data/none"), Errc::not_found);
    EXPECT_EQ(world.refusal(engine, {}, "/data/empty"), Errc::invalid_argument);
    EXPECT_EQ(world.refusal(engine, {.offset = 2 * kPageSize}), Errc::invalid_argument);
    EXPECT_EQ(world.refusal(engine, {.offset = 8, .bytes = 2 * kPageSize}), Errc::invalid_argument);
    EXPECT_EQ(world.refusal(engine, {.mode = FileMode::read_only, .create = true}),
              Errc::invalid_argument);
    EXPECT_EQ(world.refusal(engine, {.mode = FileMode::private_copy, .capacity = 1 << 20}),
              Errc::invalid_argument);
    FileMapping mapping = world.map(engine);
    EXPECT_EQ(mapping.sync(1, 2 * kPageSize).error().code, Errc::invalid_argument);
    EXPECT_EQ(mapping.sync(0, 0).error().code, Errc::invalid_argument);
    EXPECT_EQ(mapping.resize(0).error().code, Errc::invalid_argument);
    EXPECT_EQ(world.refusal(engine, {.capacity = 1 << 20}), Errc::busy);
    FileMapping none;
    EXPECT_EQ(none.sync().error().code, Errc::not_mapped);
    EXPECT_EQ(none.commit().error().code, Errc::not_mapped);
    EXPECT_EQ(none.unmap().error().code, Errc::not_mapped);
    EXPECT_EQ(none.data(), nullptr);
    const InterruptScope interrupt;
    EXPECT_EQ(mapping.sync().error().code, Errc::interrupt_context);
    EXPECT_EQ(world.refusal(engine, {}), Errc::interrupt_context);
  });
}

}  // namespace
}  // namespace holdfast::tests
