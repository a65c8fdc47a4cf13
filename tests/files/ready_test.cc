// Waiting for pages in coroutines: what was waited for is there, all of it is read together, errors
// reach who waits, and whoever goes away meanwhile is not missed.
#include <atomic>
#include <random>
#include <vector>

#include "files/file_world.h"
#include "support/page_waits.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 1024;
constexpr std::uint64_t kBudget = 1024;

constexpr std::uint64_t kFar = 397;  // scattered pages

TEST(Ready, WhatWasWaitedForIsThereWithoutAFault) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize - 100);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine, {.offset = 8});
    Waits stretch(1);
    stretch.all[0] = {.page = 100, .bytes = 200 * kPageSize, .outcome = {}};
    stretch.run(mapping);
    EXPECT_EQ(stretch.all[0].outcome->value_or(0), 201u) << "the mapping begins inside a page";
    Waits waits(32, kFar);
    waits.all[0] = stretch.all[0];
    waits.all[1] = {.page = kPages - 1, .bytes = 8, .outcome = {}};  // the file ends in it
    waits.run(mapping);
    EXPECT_EQ(waits.good(), 32u);
    EXPECT_EQ(waits.all[0].outcome->value_or(7), 0u);
    EXPECT_EQ(waits.all[1].outcome->value_or(7), 1u);
    const std::uint64_t faults = engine.stats().faults;
    for (const Wait& wait : waits.all) {
      for (std::uint64_t at = wait.page * kPageSize; at < wait.page * kPageSize + wait.bytes;
           at += kPageSize) {
        EXPECT_EQ(world.word(mapping, at), FileWorld::mark(at + 8)) << at;
      }
    }
    EXPECT_EQ(engine.stats().faults, faults);
    waits.run(mapping);
    for (const Wait& wait : waits.all) EXPECT_EQ(wait.outcome->value_or(7), 0u) << wait.page;
  });
}

TEST(Ready, ManyAreInFlightAtOnce) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    Waits waits(64, kFar);
    waits.run(mapping);
    EXPECT_EQ(waits.good(), 64u);
    EXPECT_EQ(engine.stats().faults, 0u);
    EXPECT_GE(world.machine.sim_stats().in_flight_max, 32u);
  });
}

TEST(Ready, SeveralThatWaitForOnePageAllGoOn) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    Waits waits(40);
    for (Wait& wait : waits.all) wait.page = 5;
    waits.run(mapping);
    EXPECT_EQ(waits.good(), 40u);
    EXPECT_EQ(engine.stats().faults_source, 1u);
  });
}

TEST(Ready, MemoryWithoutAFileIsThereToo) {
  FileWorld world({.seed = 1}, 256);
  world.run([&](Engine& engine) {
    auto region = engine.map_anonymous(kPages * kPageSize);
    ASSERT_TRUE(region);
    const auto base = reinterpret_cast<Address>(region->data());
    for (std::uint64_t page = 0; page < 64; ++page) {
      ASSERT_TRUE(world.machine.store(base + page * kPageSize, &page, sizeof page));
    }
    FileWorld::push_out(engine);
    Waits waits(33);
    for (std::size_t i = 0; i < 32; ++i) waits.all[i].page = i * 2;  // in swap
    waits.all[32].page = 500;                                        // never touched
    waits.run(*region);
    EXPECT_EQ(waits.good(), 33u);
    const std::uint64_t faults = engine.stats().faults;
    for (const Wait& wait : waits.all) {
      std::uint64_t value = 1;
      EXPECT_TRUE(world.machine.load(base + wait.page * kPageSize, &value, sizeof value));
      EXPECT_EQ(value, wait.page < 64 ? wait.page : 0);
    }
    EXPECT_EQ(engine.stats().faults, faults);
  });
}

// --- errors ---

TEST(Ready, WhatCannotBeReadIsToldToWhoWaits) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    world.machine.failures().fail_at(FailureKind::file_read, 1, Repeat::forever);
    Waits waits(32, kFar);
    waits.run(mapping);
    for (const Wait& wait : waits.all) {
      ASSERT_FALSE(*wait.outcome);
      EXPECT_EQ(wait.outcome->error().code, Errc::io_error);
      EXPECT_EQ(wait.outcome->error().os_errno, EIO);
      EXPECT_EQ(wait.outcome->error().value, wait.page * kPageSize);
    }
    EXPECT_EQ(world.refusals, 0) << "nobody has touched anything";
    world.machine.failures().clear();
    Waits again(32, kFar);
    again.run(mapping);
    EXPECT_EQ(again.good(), 32u);
  });
}

// The n-th read fails, whichever it is: nobody is told, as reading it again helps; and what came is
// what the file has.
TEST(Ready, AReadThatFailsOnceSpoilsNothing) {
  for (int nth = 1; nth <= 33; ++nth) {
    FileWorld world({.seed = 1}, kBudget);
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      const FileMapping mapping = world.map(engine);
      world.machine.failures().fail_at(FailureKind::file_read, std::uint64_t(nth), Repeat::once);
      Waits waits(32, kFar);
      waits.run(mapping);
      // The first one is alone, and is read once.
      EXPECT_GE(waits.good(), 31u) << nth;
      EXPECT_EQ(waits.good() + waits.count(Errc::io_error), 32u);
      for (const Wait& wait : waits.all) {
        const std::uint64_t at = wait.page * kPageSize;
        EXPECT_EQ(world.word(mapping, at), FileWorld::mark(at));
      }
    });
  }
}

TEST(Ready, AFileThatWasCutShortIsAnErrorBehindItsNewEnd) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    world.put_file(kPages / 2 * kPageSize);
    Waits waits(32, kFar);
    waits.run(mapping);
    for (const Wait& wait : waits.all) {
      EXPECT_EQ(wait.outcome->has_value(), wait.page < kPages / 2) << wait.page;
    }
    EXPECT_GT(waits.count(Errc::io_error), 0u);
  });
}

TEST(Ready, WhatMakesNoSenseIsRefusedAtOnce) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    const auto refusal = [&](const auto& memory, std::uint64_t page, std::uint64_t bytes) {
      Wait wait{.page = page, .bytes = bytes, .outcome = {}};
      std::atomic<std::uint32_t> ended{0};
      wait_for(memory, wait, ended);
      EXPECT_EQ(ended, 1u);
      EXPECT_FALSE(*wait.outcome);
      return wait.outcome->error().code;
    };
    EXPECT_EQ(refusal(mapping, 0, 0), Errc::invalid_argument);
    EXPECT_EQ(refusal(mapping, kPages, 1), Errc::invalid_argument);
    EXPECT_EQ(refusal(mapping, kPages - 1, kPageSize + 1), Errc::invalid_argument);
    EXPECT_EQ(refusal(mapping, 1, ~std::uint64_t{0}), Errc::invalid_argument);
    EXPECT_EQ(refusal(mapping, 0, kPages * kPageSize), Errc::budget_exceeded);
    EXPECT_EQ(refusal(FileMapping(), 0, 1), Errc::not_mapped);
    EXPECT_EQ(refusal(Region(), 0, 1), Errc::not_mapped);
    const InterruptScope interrupt;
    EXPECT_EQ(refusal(mapping, 0, 1), Errc::interrupt_context);
  });
}

// --- going away ---

TEST(Ready, UnmappingTellsThoseWhoWait) {
  std::uint64_t told = 0;
  const std::uint64_t seed = test_seed();
  for (std::uint64_t turn = 0; turn < seed_count(8); ++turn) {
    HF_SEED_TRACE(seed + turn);
    FileWorld world({.seed = seed + turn}, kBudget);
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      FileMapping mapping = world.map(engine);
      auto region = engine.map_anonymous(kPages * kPageSize);
      Waits waits(48, kFar);
      waits.all[7].bytes = 300 * kPageSize;
      waits.all[7].page = 0;
      Waits others(16, kFar);
      waits.begin(mapping);
      others.begin(*region);
      for (std::uint64_t i = 0; i < (seed + turn) % 8; ++i) sync::parking().relax();
      ASSERT_TRUE(mapping.unmap());
      ASSERT_TRUE(region->unmap());
      waits.finish(48);
      others.finish(16);
      EXPECT_EQ(waits.good() + waits.count(Errc::not_mapped), 48u);
      EXPECT_EQ(others.good() + others.count(Errc::not_mapped), 16u);
      told += waits.count(Errc::not_mapped);
    });
  }
  EXPECT_GT(told, 0u);
}

Detached unmap_when_ready(FileMapping& mapping, std::atomic<std::uint32_t>& ended) {
  (void)co_await mapping.ready(9 * kPageSize, 1);
  EXPECT_TRUE(mapping.unmap());
  ++ended;
}

TEST(Ready, ACoroutineMayUnmapWhatOthersWaitFor) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    FileMapping mapping = world.map(engine);
    Waits waits(48, kFar);
    waits.all[5].bytes = 400 * kPageSize;
    waits.all[5].page = 300;
    unmap_when_ready(mapping, waits.ended);
    waits.begin(mapping);
    waits.finish(49);
    EXPECT_GT(waits.count(Errc::not_mapped), 0u) << "the long one, at least";
    EXPECT_EQ(waits.good() + waits.count(Errc::not_mapped), 48u);
  });
}

// A long range is in flight for many rounds: it is known to wait.
TEST(Ready, ACoroutineMayBeDestroyedWhileItWaits) {
  const std::uint64_t seed = test_seed();
  for (std::uint64_t turn = 0; turn < seed_count(8); ++turn) {
    HF_SEED_TRACE(seed + turn);
    FileWorld world({.seed = seed + turn}, kBudget);
    world.put_file(kPages * kPageSize);
    world.run([&](Engine& engine) {
      const FileMapping mapping = world.map(engine);
      Waits longer(2);
      for (Wait& wait : longer.all) wait.bytes = 500 * kPageSize;
      longer.all[1].page = 512;
      longer.begin(mapping);
      for (std::uint64_t i = 0; i < (seed + turn) % 16; ++i) sync::parking().relax();
      longer.handles[0].destroy();
      longer.finish(1);
      EXPECT_FALSE(longer.all[0].outcome) << "it has not gone on";
      EXPECT_EQ(longer.good(), 1u);
    });
  }
}

Detached destroy_others(const FileMapping& mapping, Waits& waits) {
  (void)co_await mapping.ready(9 * kPageSize, 1);
  for (std::size_t i = 0; i < waits.all.size(); ++i) {
    if (i % 2 == 0 && !waits.all[i].outcome) {
      waits.handles[i].destroy();
      ++waits.ended;
    }
  }
}

TEST(Ready, ACoroutineMayDestroyOthersThatWait) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    Waits waits(64, kFar);
    destroy_others(mapping, waits);
    waits.begin(mapping);
    waits.finish(64);
    EXPECT_GE(waits.good(), 32u) << "every other one";
    EXPECT_LT(waits.good(), 64u);
  });
}

Detached wait_by_name(Ready& ready, Wait& wait, std::atomic<std::uint32_t>& ended) {
  wait.outcome = co_await ready;
  ++ended;
}

TEST(Ready, AWaitThatIsCancelledEndsWithThat) {
  FileWorld world({.seed = 1}, kBudget);
  world.put_file(kPages * kPageSize);
  world.run([&](Engine& engine) {
    const FileMapping mapping = world.map(engine);
    Waits waits(2);
    Ready long_one = mapping.ready(0, 500 * kPageSize);
    Ready short_one = mapping.ready(600 * kPageSize, 1);
    wait_by_name(long_one, waits.all[0], waits.ended);
    wait_by_name(short_one, waits.all[1], waits.ended);
    long_one.cancel();
    waits.finish(2);
    EXPECT_EQ(waits.count(Errc::cancelled), 1u);
    EXPECT_EQ(waits.good(), 1u);
    long_one.cancel();  // it is over
    short_one.cancel();
    wait_by_name(long_one, waits.all[0], waits.ended);
    wait_by_name(short_one, waits.all[1], waits.ended);
    waits.finish(4);
    EXPECT_EQ(waits.good(), 2u) << "and may be waited for again";
    EXPECT_EQ(waits.all[1].outcome->value_or(7), 0u);
    wait_by_name(long_one, waits.all[0], waits.ended);
    EXPECT_EQ(waits.ended, 5u);
    EXPECT_EQ(waits.all[0].outcome->value_or(7), 0u) << "it is there";
  });
}

// --- little memory, many coroutines, stores among them ---

Detached work(FileWorld& world, const FileMapping& mapping, std::vector<std::uint64_t>& model,
              std::uint64_t seed, int steps, std::atomic<std::uint32_t>& ended) {
  std::mt19937_64 chance(seed);
  for (int step = 0; step < steps; ++step) {
    const std::uint64_t page = chance() % kPages;
    const std::uint64_t most = std::min<std::uint64_t>(1 + chance() % 4, kPages - page);
    const auto came = co_await mapping.ready(page * kPageSize, most * kPageSize);
    EXPECT_TRUE(came) << came.error().message();
    for (std::uint64_t i = page; i < page + most; ++i) {
      EXPECT_EQ(world.word(mapping, i * kPageSize), model[i]) << i;
    }
    if (chance() % 3 != 0) continue;
    model[page] = chance();
    world.set_word(mapping, page * kPageSize, model[page]);
  }
  ++ended;
}

// Begun on the engine's thread, on which only one of them runs at a time.
Detached begin_work(FileWorld& world, const FileMapping& mapping, std::vector<std::uint64_t>& model,
                    std::uint64_t seed, std::uint32_t workers, std::atomic<std::uint32_t>& ended) {
  (void)co_await mapping.ready(0, 1);
  for (std::uint32_t w = 0; w < workers; ++w) {
    work(world, mapping, model, seed * workers + w, 40, ended);
  }
}

TEST(Ready, CoroutinesFindWhatWasStoredInLittleMemory) {
  const std::uint64_t seed = test_seed();
  for (std::uint64_t turn = 0; turn < seed_count(4); ++turn) {
    for (const FileMode mode : {FileMode::shared, FileMode::private_copy}) {
      HF_SEED_TRACE(seed + turn);
      FileWorld world({.seed = seed + turn}, 256);
      world.put_file(kPages * kPageSize);
      world.run([&](Engine& engine) {
        const FileMapping mapping = world.map(engine, {.mode = mode});
        std::vector<std::uint64_t> model(kPages);
        for (std::uint64_t i = 0; i < kPages; ++i) model[i] = FileWorld::mark(i * kPageSize);
        std::atomic<std::uint32_t> ended{0};
        constexpr std::uint32_t kWorkers = 32;
        begin_work(world, mapping, model, seed + turn, kWorkers, ended);
        while (ended < kWorkers) sync::parking().relax();
      });
    }
  }
}

}  // namespace
}  // namespace holdfast::tests
