// What the simulated scheduler promises: determinism from the seed, deadlock and livelock told, the
// semantics of a futex, time that passes only in the simulation.
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "sync/sync.h"
#include "sys/sim.h"

namespace holdfast::sys {
namespace {

// Two threads that count under a lock and park on a word; returns the hash of all that happened.
std::uint64_t traced_run(const SimOptions& options) {
  SimMachine machine(options);
  sync::Mutex<sync::Rank::cache> mutex;
  int counter = 0;
  const auto work = [&] {
    for (int i = 0; i < 50; ++i) {
      sync::MutexGuard guard(mutex);
      const int seen = counter;
      machine.yield();
      counter = seen + 1;
    }
  };
  EXPECT_EQ(machine.run([&] {
    machine.spawn("other", work);
    work();
  }),
            RunOutcome::finished)
      << machine.report();
  EXPECT_EQ(counter, 100);
  return machine.trace_hash();
}

TEST(SimScheduler, the_same_seed_gives_the_same_trace) {
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    const SimOptions options = SimOptions::swarm(seed);
    EXPECT_EQ(traced_run(options), traced_run(options));
  }
}

TEST(SimScheduler, different_seeds_give_different_traces) {
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) hashes.insert(traced_run({.seed = seed}));
  EXPECT_GT(hashes.size(), 190U);  // a few never switch until the first thread has ended
}

TEST(SimScheduler, a_lost_update_is_found_without_a_lock) {
  int lost = 0;
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    SimMachine machine({.seed = seed});
    int counter = 0;
    const auto work = [&] {
      for (int i = 0; i < 10; ++i) {
        const int seen = counter;
        machine.yield();
        counter = seen + 1;
      }
    };
    ASSERT_EQ(machine.run([&] {
      machine.spawn("other", work);
      work();
    }),
              RunOutcome::finished);
    lost += counter < 20 ? 1 : 0;
  }
  EXPECT_GT(lost, 20);
}

TEST(SimScheduler, a_deadlock_is_told_with_names_and_what_they_wait_for) {
  bool found = false;
  for (std::uint64_t seed = 1; seed <= 100 && !found; ++seed) {
    SimMachine machine({.seed = seed, .switch_per_1024 = 512, .spurious_wake_per_1024 = 0});
    std::atomic<std::uint32_t> a{0};
    std::atomic<std::uint32_t> b{0};
    const auto take = [&](std::atomic<std::uint32_t>& word) {
      while (word.exchange(1) == 1) sync::parking().wait(word, 1, 0);
      machine.yield();
    };
    const RunOutcome outcome = machine.run([&] {
      machine.spawn("crosswise", [&] {
        take(b);
        take(a);
        a = b = 0;
        sync::parking().wake(a, 1);
        sync::parking().wake(b, 1);
      });
      take(a);
      take(b);
      a = b = 0;
      sync::parking().wake(a, 1);
      sync::parking().wake(b, 1);
    });
    if (outcome != RunOutcome::deadlock) continue;
    found = true;
    EXPECT_NE(machine.report().find("deadlock"), std::string::npos);
    EXPECT_NE(machine.report().find("\"crosswise\" waits for a word"), std::string::npos);
    EXPECT_NE(machine.report().find("\"main\" waits for a word"), std::string::npos);
  }
  EXPECT_TRUE(found);
}

TEST(SimScheduler, a_livelock_ends_at_the_step_limit) {
  SimMachine machine({.seed = 7, .step_limit = 10'000});
  EXPECT_EQ(machine.run([&] {
    for (;;) sync::parking().relax();
  }),
            RunOutcome::livelock);
  EXPECT_NE(machine.report().find("livelock"), std::string::npos);
}

TEST(SimScheduler, a_spinner_of_any_policy_lets_through_whom_it_spins_for) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    SimMachine machine(SimOptions::swarm(seed));
    std::atomic<bool> ready{false};
    EXPECT_EQ(machine.run([&] {
      machine.spawn("slow", [&] {
        machine.sleep_ns(5'000'000);
        ready = true;
      });
      while (!ready) sync::parking().relax();
    }),
              RunOutcome::finished)
        << seed << machine.report();
    EXPECT_LT(machine.sim_stats().steps, 100'000U);
  }
}

TEST(SimScheduler, a_wait_on_a_word_that_differs_returns_at_once) {
  SimMachine machine({.seed = 1});
  std::atomic<std::uint32_t> word{5};
  EXPECT_EQ(machine.run([&] { sync::parking().wait(word, 4, 0); }), RunOutcome::finished);
  EXPECT_EQ(machine.sim_stats().waits, 0U);
}

TEST(SimScheduler, a_timed_wait_ends_when_its_time_has_passed_and_not_before) {
  SimMachine machine({.seed = 1, .spurious_wake_per_1024 = 0});
  std::atomic<std::uint32_t> word{0};
  std::uint64_t waited = 0;
  EXPECT_EQ(machine.run([&] {
    const std::uint64_t start = machine.now_ns();
    sync::parking().wait(word, 0, 3'000'000'000);
    waited = machine.now_ns() - start;
  }),
            RunOutcome::finished);
  EXPECT_GE(waited, 3'000'000'000U);
  EXPECT_LT(waited, 3'001'000'000U);
  EXPECT_EQ(machine.sim_stats().timeouts, 1U);
}

TEST(SimScheduler, wake_wakes_as_many_as_it_was_told) {
  for (std::uint64_t seed = 1; seed <= 50; ++seed) {
    SimMachine machine({.seed = seed, .spurious_wake_per_1024 = 0});
    std::atomic<std::uint32_t> word{0};
    int woken = 0;
    int woken_by_two = 0;
    EXPECT_EQ(machine.run([&] {
      for (int i = 0; i < 4; ++i) {
        machine.spawn("waiter", [&] {
          sync::parking().wait(word, 0, 0);
          ++woken;
        });
      }
      machine.sleep_ns(1'000'000);  // all four wait now
      sync::parking().wake(word, 2);
      machine.sleep_ns(1'000'000);
      woken_by_two = woken;
      sync::parking().wake(word, sync::kWakeAll);
    }),
              RunOutcome::finished)
        << machine.report();
    EXPECT_EQ(woken_by_two, 2);
    EXPECT_EQ(woken, 4);
  }
}

TEST(SimScheduler, each_thread_has_its_own_context) {
  SimMachine machine({.seed = 3, .switch_per_1024 = 1024});
  std::vector<int> depths;
  EXPECT_EQ(machine.run([&] {
    machine.spawn("outside", [&] {
      for (int i = 0; i < 20; ++i) {
        depths.push_back(sync::this_thread().engine_depth);
        machine.yield();
      }
    });
    sync::EngineScope scope;
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(sync::in_interrupt());
      machine.yield();
    }
  }),
            RunOutcome::finished);
  EXPECT_EQ(depths, std::vector<int>(20, 0));
  EXPECT_FALSE(sync::in_interrupt());
}

TEST(SimScheduler, the_interrupt_handler_runs_inside_and_outside_the_engine_but_not_in_itself) {
  SimOptions options{.seed = 5};
  options.interrupt_per_1024 = 256;
  SimMachine machine(options);
  int depth = 0;
  int runs = 0;
  machine.set_interrupt_handler([&] {
    EXPECT_EQ(++depth, 1);
    ++runs;
    machine.yield();  // others may run meanwhile, and be interrupted themselves
    --depth;
  });
  EXPECT_EQ(machine.run([&] {
    for (int i = 0; i < 200; ++i) {
      machine.yield();
      sync::EngineScope scope;
      machine.yield();
    }
  }),
            RunOutcome::finished);
  const SimStats& stats = machine.sim_stats();
  EXPECT_EQ(stats.interrupts, static_cast<std::uint64_t>(runs));
  EXPECT_GT(stats.interrupts_inside, 10U);
  EXPECT_GT(stats.interrupts - stats.interrupts_inside, 10U);
}

TEST(SimScheduler, an_engine_thread_is_never_interrupted) {
  SimOptions options{.seed = 5};
  options.interrupt_per_1024 = 1024;
  SimMachine machine(options);
  std::uint64_t before = 0;
  EXPECT_EQ(machine.run([&] {
    auto thread = machine.start_thread(
        "engine",
        [](void* m) {
          for (int i = 0; i < 100; ++i) static_cast<SimMachine*>(m)->yield();
        },
        &machine);
    ASSERT_TRUE(thread);
    machine.set_interrupt_handler([&] { ++before; });
    (*thread)->join();
    machine.set_interrupt_handler(nullptr);
  }),
            RunOutcome::finished);
  EXPECT_LE(before, 3U);  // those of main, on its way into join()
}

TEST(SimScheduler, threads_migrate_between_the_cpus_that_there_are) {
  SimOptions options{.seed = 9, .cpus = 3};
  options.migrate_per_1024 = 512;
  SimMachine machine(options);
  std::set<std::uint32_t> seen;
  EXPECT_EQ(machine.run([&] {
    for (int i = 0; i < 100; ++i) seen.insert(machine.current_cpu());
  }),
            RunOutcome::finished);
  EXPECT_EQ(seen, (std::set<std::uint32_t>{0, 1, 2}));
}

TEST(SimScheduler, a_thread_start_that_is_made_to_fail_says_so) {
  SimMachine machine({.seed = 1});
  machine.failures().fail_at(FailureKind::thread_start, 1, Repeat::once);
  EXPECT_EQ(machine.run([&] {
    auto thread = machine.start_thread("never", [](void*) { FAIL(); }, nullptr);
    ASSERT_FALSE(thread);
    EXPECT_EQ(thread.error().os_errno, EAGAIN);
  }),
            RunOutcome::finished);
}

TEST(SimSchedulerDeathTest, a_wait_in_an_interrupt_handler_is_a_bug) {
  SimOptions options{.seed = 1};
  options.interrupt_per_1024 = 1024;
  EXPECT_DEATH(
      {
        SimMachine machine(options);
        std::atomic<std::uint32_t> word{0};
        machine.set_interrupt_handler([&] { sync::parking().wait(word, 0, 0); });
        machine.run([&] { machine.yield(); });
      },
      "in_handler_");
}

}  // namespace
}  // namespace holdfast::sys
