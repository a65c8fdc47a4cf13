// How fast the simulated machine is, as numbers in the test's output. Nothing is asserted about
// time: 10^5 seeds of the engine's programs in minutes is what they are read for.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>

#include "sys/sim.h"

namespace holdfast::sys {
namespace {

double seconds_of(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(SimSpeed, switches_a_second_are_reported) {
  SimOptions options{.seed = 1, .switch_per_1024 = 1024};
  SimMachine machine(options);
  const double seconds = seconds_of([&] {
    const auto work = [&] {
      for (int i = 0; i < 200'000; ++i) machine.yield();
    };
    ASSERT_EQ(machine.run([&] {
      machine.spawn("other", work);
      work();
    }),
              RunOutcome::finished);
  });
  EXPECT_GT(machine.sim_stats().switches, 100'000U);
  std::printf("  %.1f million switches/s, %.1f million scheduling points/s\n",
              static_cast<double>(machine.sim_stats().switches) / seconds / 1e6,
              static_cast<double>(machine.sim_stats().steps) / seconds / 1e6);
}

TEST(SimSpeed, programs_a_second_are_reported) {
  constexpr int kPrograms = 2000;
  std::uint64_t stores = 0;
  const double seconds = seconds_of([&] {
    for (std::uint64_t seed = 1; seed <= kPrograms; ++seed) {
      SimMachine machine({.seed = seed});
      const Address region = machine.reserve(256 * kPageSize, kPageSize, Purpose::region).value();
      const Address pool = machine.reserve(256 * kPageSize, kPageSize, Purpose::pool).value();
      const auto work = [&] {
        for (std::uint64_t i = 0; i < 100; ++i) {
          ASSERT_TRUE(machine.store(region + machine.random_u64() % 256 * kPageSize, &i, sizeof i));
          if (i % 10 != 9) continue;
          ASSERT_EQ(machine.remap_out(pool, region, 256 * kPageSize), 0);
        }
      };
      ASSERT_EQ(machine.run([&] {
        machine.spawn("other", work);
        work();
      }),
                RunOutcome::finished);
      stores += machine.sim_stats().stores;
    }
  });
  EXPECT_EQ(stores, kPrograms * 200U);
  std::printf("  %.0f programs/s of 200 stores and 20 window moves\n", kPrograms / seconds);
}

}  // namespace
}  // namespace holdfast::sys
