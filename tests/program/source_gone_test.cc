// A snapshot is looked at for the first time while the region that it is of goes away: on the
// simulated machine, over many schedules.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "engine/engine_on.h"
#include "holdfast/holdfast.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 8;

void read_while_the_source_is_unmapped(sys::SimMachine& machine) {
  Options options;
  options.memory_budget = Engine::kMinimumBudget / 8;
  options.window_pages = kPages;
  options.background_reclaim = false;
  auto engine = engine::create_on(machine, options);
  ASSERT_TRUE(engine);
  auto region = (*engine)->map_anonymous(kPages * kPageSize);
  ASSERT_TRUE(region);
  std::vector<std::byte> written(kPages * kPageSize);
  for (std::size_t i = 0; i < written.size(); ++i) written[i] = static_cast<std::byte>(i >> 7);
  const auto address = reinterpret_cast<Address>(region->data());
  ASSERT_TRUE(machine.store(address, written.data(), written.size()));
  auto snapshot = (*engine)->snapshot(*region);
  ASSERT_TRUE(snapshot) << snapshot.error().message();

  auto& other = machine.spawn("unmap", [&] { EXPECT_TRUE(region->unmap()); });
  std::vector<std::byte> read(written.size());
  ASSERT_TRUE(snapshot->read(0, read));
  EXPECT_TRUE(std::ranges::equal(read, written));
  machine.join(other);
  EXPECT_TRUE((*engine)->check_all());
}

TEST(SourceGone, a_snapshot_is_whole_though_its_region_is_unmapped_while_it_is_first_read) {
  const std::uint64_t first = std::getenv("HOLDFAST_SEED") != nullptr ? test_seed() : 1;
  const std::uint64_t seeds = seed_count(500);
  for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    HF_SEED_TRACE(seed);
    sys::SimOptions options;
    options.seed = seed;
    options.switch_per_1024 = 256;
    options.interleave_per_1024 = 256;
    sys::SimMachine machine(options);
    const auto outcome = machine.run([&] { read_while_the_source_is_unmapped(machine); });
    ASSERT_EQ(outcome, sys::RunOutcome::finished) << machine.report();
  }
}

}  // namespace
}  // namespace holdfast::tests
