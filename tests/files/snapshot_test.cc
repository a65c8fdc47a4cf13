// Snapshots and clones of mapped files: as the file was shown at their moment, whatever is stored
// to it, written, committed, freed or cut off afterwards.
#include <algorithm>
#include <array>
#include <map>
#include <vector>

#include "file/file.h"
#include "files/file_world.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 300;  // more than the budget
const std::string kJournalPath = file::Journal::path_for(FileWorld::kPath);

class FileSnapshot : public testing::Test {
 protected:
  FileSnapshot() { world.put_file(kPages * kPageSize); }

  // What a snapshot or clone shows, as memory.
  template <class Copy>
  std::uint64_t word_of(const Copy& copy, std::uint64_t offset) {
    std::uint64_t value = 0;
    EXPECT_TRUE(world.machine.load(reinterpret_cast<Address>(copy.data()) + offset, &value, 8));
    return value;
  }
  // The same by read().
  static std::uint64_t read_of(const Snapshot& snapshot, std::uint64_t offset) {
    std::uint64_t value = 0;
    const auto done = snapshot.read(offset, std::as_writable_bytes(std::span(&value, 1)));
    EXPECT_TRUE(done) << done.error().message();
    return value;
  }
  void store_all(const FileMapping& mapping, std::uint64_t value) {
    for (std::uint64_t page = 0; page < kPages; ++page) {
      world.set_word(mapping, page * kPageSize + 8, value + page);
    }
  }
  // Every page of it holds what the file held first, but for `other` at byte 8 of some.
  void expect_first(const Snapshot& snapshot, const std::map<std::uint64_t, std::uint64_t>& other) {
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const std::uint64_t offset = page * kPageSize + 8;
      const auto found = other.find(page);
      const std::uint64_t wanted = found == other.end() ? FileWorld::mark(offset) : found->second;
      ASSERT_EQ(page % 2 == 0 ? word_of(snapshot, offset) : read_of(snapshot, offset), wanted)
          << "page " << page;
      ASSERT_EQ(word_of(snapshot, offset + 16), FileWorld::mark(offset + 16)) << "page " << page;
    }
  }

  FileWorld world;
};

TEST_F(FileSnapshot, KeepsWhatTheFileHeldWhileAllOfItIsStoredToAndWritten) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    (void)world.word(mapping, 5 * kPageSize);       // in memory, and clean
    world.set_word(mapping, 7 * kPageSize + 8, 7);  // in memory, and changed
    world.set_word(mapping, 9 * kPageSize + 8, 9);  // written, and in memory
    ASSERT_TRUE(mapping.sync(9 * kPageSize, kPageSize));
    auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot) << snapshot.error().message();
    EXPECT_EQ(snapshot->size(), kPages * kPageSize);
    store_all(mapping, 1000);
    ASSERT_TRUE(mapping.sync());
    FileWorld::push_out(engine);
    expect_first(*snapshot, {{7, 7}, {9, 9}});
    for (std::uint64_t page = 0; page < kPages; ++page) {
      ASSERT_EQ(world.disk_word(page * kPageSize + 8), 1000 + page);
      ASSERT_EQ(world.word(mapping, page * kPageSize + 8), 1000 + page);
    }
  });
}

TEST_F(FileSnapshot, KeepsItWhereEvictionsWriteTheFile) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot) << snapshot.error().message();
    for (int round = 1; round < 4; ++round) {
      store_all(mapping, 1000 * static_cast<std::uint64_t>(round));
      FileWorld::push_out(engine);
      expect_first(*snapshot, {});
    }
    EXPECT_EQ(world.disk_word(8), 3000u);
  });
}

TEST_F(FileSnapshot, TakesNoSlotForWhatIsAsTheFileHasIt) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    for (std::uint64_t page = 0; page < 60; ++page) (void)world.word(mapping, page * kPageSize);
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    world.set_word(mapping, 8, 1);
    EXPECT_EQ(engine.stats().slots_used, 1u) << "of the page that was stored to";
    FileWorld::push_out(engine);
    EXPECT_EQ(engine.stats().slots_used, 1u);
    expect_first(*snapshot, {});
  });
}

TEST_F(FileSnapshot, NeedsNoDiskForWhatIsInMemory) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    for (std::uint64_t page = 0; page < 40; ++page) (void)world.word(mapping, page * kPageSize);
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    world.set_word(mapping, 8, 1);
    world.machine.failures().fail_at(FailureKind::file_read, 1, Repeat::forever);
    for (std::uint64_t page = 0; page < 40; page += 2) {
      const std::uint64_t offset = page * kPageSize + 8;
      ASSERT_EQ(read_of(*snapshot, offset), FileWorld::mark(offset));
      ASSERT_EQ(word_of(*snapshot, offset + kPageSize), FileWorld::mark(offset + kPageSize));
    }
    // What has to come from there says so.
    std::byte byte{};
    EXPECT_FALSE(snapshot->read(200 * kPageSize, std::span(&byte, 1)));
    world.machine.failures().clear();
    EXPECT_EQ(read_of(*snapshot, 200 * kPageSize + 8), FileWorld::mark(200 * kPageSize + 8));
  });
}

TEST_F(FileSnapshot, SeveralKeepWhatEachSawInWhateverOrderTheyGo) {
  for (int order = 0; order < 6; ++order) {
    FileWorld world_of_order;
    world_of_order.put_file(kPages * kPageSize);
    world_of_order.run([&](Engine& engine) {
      FileMapping mapping = world_of_order.map(engine);
      std::vector<Snapshot> snapshots;
      // Page 0 is stored to before each of them, page 1 before the second, page 2 after all.
      for (std::uint64_t i = 0; i < 3; ++i) {
        world_of_order.set_word(mapping, 8, 10 + i);
        if (i == 1) world_of_order.set_word(mapping, kPageSize + 8, 20);
        ASSERT_TRUE(mapping.sync());
        snapshots.push_back(engine.snapshot(mapping).value());
        FileWorld::push_out(engine);
      }
      world_of_order.set_word(mapping, 8, 99);
      world_of_order.set_word(mapping, kPageSize + 8, 99);
      world_of_order.set_word(mapping, 2 * kPageSize + 8, 99);
      ASSERT_TRUE(mapping.sync());
      std::array<std::size_t, 3> next = {0, 1, 2};
      for (int i = 0; i < order; ++i) std::next_permutation(next.begin(), next.end());
      for (const std::size_t gone : next) {
        for (std::uint64_t i = 0; i < 3; ++i) {
          if (!snapshots[i]) continue;
          ASSERT_EQ(read_of(snapshots[i], 8), 10 + i) << "order " << order;
          ASSERT_EQ(read_of(snapshots[i], kPageSize + 8),
                    i == 0 ? FileWorld::mark(kPageSize + 8) : 20);
          ASSERT_EQ(read_of(snapshots[i], 2 * kPageSize + 8), FileWorld::mark(2 * kPageSize + 8));
        }
        ASSERT_TRUE(snapshots[gone].drop());
        ASSERT_TRUE(engine.check_all());
      }
      EXPECT_EQ(engine.stats().slots_used, 0u);
    });
  }
}

TEST_F(FileSnapshot, ASyncAfterItWritesAllThatWasStoredBeforeIt) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    for (std::uint64_t page = 0; page < 60; ++page) {
      world.set_word(mapping, page * kPageSize + 8, page);
    }
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    ASSERT_TRUE(mapping.sync());
    for (std::uint64_t page = 0; page < 60; ++page) {
      ASSERT_EQ(world.disk_word(page * kPageSize + 8), page);
    }
  });
}

TEST_F(FileSnapshot, ACloneIsWritableAndNeverReachesTheFile) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    store_all(mapping, 1000);
    auto clone = engine.clone(mapping);     // with what was stored
    auto of_old = engine.clone(*snapshot);  // without
    ASSERT_TRUE(clone && of_old);
    const std::uint64_t own = 5;
    ASSERT_TRUE(world.machine.store(reinterpret_cast<Address>(clone->data()) + 8, &own, 8));
    store_all(mapping, 2000);
    ASSERT_TRUE(mapping.sync());
    FileWorld::push_out(engine);
    EXPECT_EQ(word_of(*clone, 8), own);
    EXPECT_EQ(word_of(*of_old, 8), FileWorld::mark(8));
    for (std::uint64_t page = 1; page < kPages; ++page) {
      ASSERT_EQ(word_of(*clone, page * kPageSize + 8), 1000 + page);
      ASSERT_EQ(word_of(*of_old, page * kPageSize + 8), FileWorld::mark(page * kPageSize + 8));
      ASSERT_EQ(world.disk_word(page * kPageSize + 8), 2000 + page);
    }
    EXPECT_EQ(world.disk_word(8), 2000u);
  });
}

TEST_F(FileSnapshot, KeepsWhatIsFreedAndWhatIsCutOff) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.set_word(mapping, 30 * kPageSize + 8, 30);
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    ASSERT_TRUE(mapping.advise(10 * kPageSize, 40 * kPageSize, Advice::free));
    EXPECT_EQ(world.word(mapping, 30 * kPageSize + 8), 0u);
    const auto cut = mapping.resize(200 * kPageSize);
    ASSERT_TRUE(cut) << cut.error().message();
    ASSERT_TRUE(mapping.sync());
    EXPECT_EQ(world.machine.disk().bytes(FileWorld::kPath).size(), 200 * kPageSize);
    EXPECT_EQ(world.disk_word(12 * kPageSize + 8), 0u);
    expect_first(*snapshot, {{30, 30}});
  });
}

TEST_F(FileSnapshot, OutlivesTheMappingAndTheNextOne) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    world.set_word(mapping, 8, 1);
    auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    world.set_word(mapping, 8, 2);
    world.set_word(mapping, 4 * kPageSize + 8, 2);
    ASSERT_TRUE(mapping.unmap());
    EXPECT_EQ(world.disk_word(8), 2u) << "written by unmapping, snapshot or not";
    mapping = world.map(engine);
    EXPECT_EQ(world.word(mapping, 8), 2u);
    store_all(mapping, 1000);
    ASSERT_TRUE(mapping.sync());
    ASSERT_TRUE(mapping.unmap());
    expect_first(*snapshot, {{0, 1}});
    ASSERT_TRUE(snapshot->drop());
    EXPECT_EQ(engine.stats().slots_used, 0u);
    EXPECT_EQ(world.disk_word(8), 1000u);
  });
}

TEST_F(FileSnapshot, ShowsOneMomentWhileOthersCommitAndRollBack) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    world.set_word(mapping, 8, 1);
    ASSERT_TRUE(mapping.commit());
    world.set_word(mapping, 2 * kPageSize + 8, 1);  // stored, and never committed
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    ASSERT_TRUE(mapping.rollback());
    EXPECT_EQ(world.word(mapping, 2 * kPageSize + 8), FileWorld::mark(2 * kPageSize + 8));
    for (std::uint64_t round = 1; round < 4; ++round) {
      store_all(mapping, 1000 * round);
      if (round == 2) FileWorld::push_out(engine);
      ASSERT_TRUE(mapping.commit());
      expect_first(*snapshot, {{0, 1}, {2, 1}});
    }
    FileWorld::push_out(engine);
    expect_first(*snapshot, {{0, 1}, {2, 1}});
    EXPECT_EQ(world.disk_word(8), 3000u);
  });
}

TEST_F(FileSnapshot, HoldsTheClaimAndTheJournalUntilItGoes) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.commits = true});
    world.set_word(mapping, 8, 1);
    ASSERT_TRUE(mapping.commit());
    auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    world.set_word(mapping, 8, 2);  // never committed
    ASSERT_TRUE(mapping.unmap());
    EXPECT_TRUE(world.machine.disk().has(kJournalPath));
    EXPECT_EQ(world.refusal(engine, {}), Errc::busy) << "it has commits";
    mapping = world.map(engine, {.commits = true});
    EXPECT_EQ(world.word(mapping, 8), 1u) << "what was not committed is gone";
    ASSERT_TRUE(mapping.unmap());
    EXPECT_EQ(read_of(*snapshot, 8), 1u);
    ASSERT_TRUE(snapshot->drop());
    EXPECT_FALSE(world.machine.disk().has(kJournalPath));
    EXPECT_TRUE(world.map(engine).unmap());
  });
}

TEST_F(FileSnapshot, IsTakenBetweenTransactionsOfAllItsFiles) {
  world.machine.disk().put("/data/other", SimDisk::Bytes(20 * kPageSize));
  world.run([&](Engine& engine) {
    FileMapping one = world.map(engine, {.commits = true});
    FileMapping other = map_file(engine, "/data/other", {.commits = true}).value();
    bool ended = false;
    auto& worker = world.machine.spawn("worker", [&] {
      for (std::uint64_t round = 1; round < 40; ++round) {
        // In either order: whoever waits for both must not keep the second from beginning.
        FileMapping& first = round % 2 == 0 ? one : other;
        FileMapping& second = round % 2 == 0 ? other : one;
        const Transaction outer = first.begin().value();
        world.set_word(first, 8, round);
        const Transaction inner = second.begin().value();
        world.set_word(second, 8, round);
      }
      ended = true;
    });
    while (!ended) {
      const Source sources[] = {one, other, one};
      const auto snapshots = engine.snapshot(sources);
      ASSERT_TRUE(snapshots) << snapshots.error().message();
      const std::uint64_t seen = read_of((*snapshots)[0], 8);
      if (seen != FileWorld::mark(8)) {
        ASSERT_EQ(read_of((*snapshots)[1], 8), seen);
      }
      ASSERT_EQ(read_of((*snapshots)[2], 8), seen);
      world.machine.yield();
    }
    world.machine.join(worker);
  });
}

TEST_F(FileSnapshot, LeavesPinnedPagesToTheirOwner) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    auto pin = engine.pin(mapping.data() + 3 * kPageSize, kPageSize);
    ASSERT_TRUE(pin);
    auto first = engine.snapshot(mapping);
    ASSERT_TRUE(first);
    world.set_word(mapping, 3 * kPageSize + 8, 1);  // as a device would
    auto second = engine.snapshot(mapping);
    ASSERT_TRUE(second);
    world.set_word(mapping, 3 * kPageSize + 8, 2);
    pin->reset();
    world.set_word(mapping, 3 * kPageSize + 8, 3);
    ASSERT_TRUE(mapping.sync());
    FileWorld::push_out(engine);
    EXPECT_EQ(read_of(*first, 3 * kPageSize + 8), FileWorld::mark(3 * kPageSize + 8));
    EXPECT_EQ(read_of(*second, 3 * kPageSize + 8), 1u);
    ASSERT_TRUE(second->drop());
    expect_first(*first, {});
    EXPECT_EQ(world.disk_word(3 * kPageSize + 8), 3u);
  });
}

TEST_F(FileSnapshot, TellsWhatChangedBetweenTwoMoments) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    const auto first = engine.snapshot(mapping);
    world.set_word(mapping, 20 * kPageSize + 8, 1);
    world.set_word(mapping, 21 * kPageSize + 8, 1);
    ASSERT_TRUE(mapping.sync());
    const auto second = engine.snapshot(mapping);
    ASSERT_TRUE(first && second);
    world.set_word(mapping, 100 * kPageSize + 8, 1);
    ASSERT_TRUE(mapping.sync());
    FileWorld::push_out(engine);
    const auto changed = second->diff(*first);
    ASSERT_TRUE(changed) << changed.error().message();
    const std::vector<holdfast::Run> expected = {{20 * kPageSize, 2 * kPageSize, RunKind::data}};
    EXPECT_EQ(*changed, expected);
  });
}

TEST_F(FileSnapshot, OfAFileThatEndsInsideAPageIsFilledUpWithZeros) {
  world.put_file(2 * kPageSize + 100 * 8);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.capacity = 9 * kPageSize});
    const auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot);
    EXPECT_EQ(snapshot->size(), 3 * kPageSize);
    ASSERT_TRUE(mapping.resize(9 * kPageSize));
    for (std::uint64_t page = 0; page < 9; ++page)
      world.set_word(mapping, page * kPageSize + 2000, 1);
    ASSERT_TRUE(mapping.sync());
    FileWorld::push_out(engine);
    EXPECT_EQ(word_of(*snapshot, kPageSize + 2000), FileWorld::mark(kPageSize + 2000));
    EXPECT_EQ(word_of(*snapshot, 2 * kPageSize + 8), FileWorld::mark(2 * kPageSize + 8));
    EXPECT_EQ(word_of(*snapshot, 2 * kPageSize + 2000), 0u);
  });
}

TEST_F(FileSnapshot, OfAReadOnlyMappingIsTheFile) {
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine, {.mode = FileMode::read_only});
    (void)world.word(mapping, 8);
    auto snapshot = engine.snapshot(mapping);
    ASSERT_TRUE(snapshot) << snapshot.error().message();
    ASSERT_TRUE(mapping.unmap());
    EXPECT_EQ(world.refusal(engine, {}), Errc::busy);
    expect_first(*snapshot, {});
    ASSERT_TRUE(snapshot->drop());
    EXPECT_TRUE(world.map(engine).unmap());
  });
}

TEST_F(FileSnapshot, OfNoMappingOrAnotherEnginesIsRefused) {
  world.run([&](Engine& engine) {
    auto other = engine::create_on(world.machine, world.options);
    ASSERT_TRUE(other) << other.error().message();
    FileMapping theirs = world.map(**other);
    const FileMapping none;
    for (const FileMapping* mapping : {&none, &std::as_const(theirs)}) {
      const auto refused = engine.snapshot(*mapping);
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, Errc::not_mapped);
    }
    EXPECT_TRUE((*other)->snapshot(theirs));
    ASSERT_TRUE(theirs.unmap());
  });
}

}  // namespace
}  // namespace holdfast::tests
