// A region is copied while pins of its pages go, and the pages with them: on the simulated machine,
// over many schedules.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "engine/engine_on.h"
#include "holdfast/holdfast.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 8;  // one window

using Bytes = std::array<std::byte, kPages * kPageSize>;

void snapshot_while_pins_go(sys::SimMachine& machine) {
  Options options;
  options.memory_budget = Engine::kMinimumBudget / 8;
  options.window_pages = kPages;
  options.background_reclaim = false;
  auto engine = engine::create_on(machine, options);
  ASSERT_TRUE(engine);
  auto region = (*engine)->map_anonymous(kPages * kPageSize);
  ASSERT_TRUE(region);
  Bytes written;
  for (std::size_t i = 0; i < written.size(); ++i) written[i] = static_cast<std::byte>(i >> 6);
  const auto address = reinterpret_cast<Address>(region->data());
  ASSERT_TRUE(machine.store(address, written.data(), written.size()));
  auto pin = (*engine)->pin(region->data(), region->size());
  ASSERT_TRUE(pin);

  auto& other = machine.spawn("unpin", [&] {
    pin->reset();
    (void)(*engine)->reclaim(kPages);
  });
  auto snapshot = (*engine)->snapshot(*region);
  machine.join(other);
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  Bytes read;
  ASSERT_TRUE(snapshot->read(0, read));
  EXPECT_TRUE(std::ranges::equal(read, written));
  ASSERT_TRUE(machine.load(address, read.data(), read.size()));
  EXPECT_TRUE(std::ranges::equal(read, written));
  EXPECT_TRUE((*engine)->check_all());
}

TEST(PinnedCopy, a_snapshot_is_whole_though_pinned_pages_are_let_go_and_evicted_meanwhile) {
  const std::uint64_t first = std::getenv("HOLDFAST_SEED") != nullptr ? test_seed() : 1;
  const std::uint64_t seeds = seed_count(500);
  for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    HF_SEED_TRACE(seed);
    sys::SimOptions options;
    options.seed = seed;
    options.switch_per_1024 = 256;
    options.interleave_per_1024 = 64;
    sys::SimMachine machine(options);
    const auto outcome = machine.run([&] { snapshot_while_pins_go(machine); });
    ASSERT_EQ(outcome, sys::RunOutcome::finished) << machine.report();
  }
}

}  // namespace
}  // namespace holdfast::tests
