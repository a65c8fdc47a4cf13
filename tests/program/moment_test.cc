// Regions are copied while other threads write to leaves that nobody has touched: on the simulated
// machine, over many schedules. A copy is of one moment: what was written because of an earlier
// write is in no copy without it.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "engine/engine_on.h"
#include "holdfast/holdfast.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kLeafBytes = std::uint64_t{2} << 20;
constexpr std::uint64_t kLeaves = 8;
constexpr std::uint64_t kCopies = 4;

// Two regions: in one a leaf after the other is written to for the first time, in the other stands
// how many have been.
struct Regions {
  Region leaves, count;
};

class Writer {
 public:
  Writer(sys::SimMachine& machine, const Regions& regions)
      : machine_(machine),
        leaves_(reinterpret_cast<Address>(regions.leaves.data())),
        count_(reinterpret_cast<Address>(regions.count.data())) {}

  void write(std::uint64_t leaf) {
    const std::uint64_t value = leaf + 1;
    EXPECT_TRUE(machine_.store(leaves_ + leaf * kLeafBytes, &value, sizeof value));
    EXPECT_TRUE(machine_.store(count_, &value, sizeof value));
  }
  // Another page of the same leaf, at about the same time: of two who touch a leaf one pays.
  void write_beside(std::uint64_t leaf) {
    const std::uint64_t value = leaf + 1;
    EXPECT_TRUE(machine_.store(leaves_ + leaf * kLeafBytes + kPageSize, &value, sizeof value));
  }

 private:
  sys::SimMachine& machine_;
  const Address leaves_, count_;
};

std::uint64_t value_at(const Snapshot& snapshot, std::uint64_t offset) {
  std::uint64_t value = ~std::uint64_t{0};
  EXPECT_TRUE(snapshot.read(offset, std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

void expect_one_moment(const std::vector<Snapshot>& copy) {
  const std::uint64_t count = value_at(copy[1], 0);
  ASSERT_LE(count, kLeaves);
  for (std::uint64_t leaf = 0; leaf < count; ++leaf) {
    EXPECT_EQ(value_at(copy[0], leaf * kLeafBytes), leaf + 1)
        << "leaf " << leaf << " of " << count << " that had been written to";
  }
}

void copy_while_leaves_are_touched(sys::SimMachine& machine, bool with_base) {
  Options options;
  options.memory_budget = Engine::kMinimumBudget / 8;
  options.window_pages = 8;
  auto engine = engine::create_on(machine, options);
  ASSERT_TRUE(engine);
  Regions regions;
  auto leaves = (*engine)->map_anonymous(kLeaves * kLeafBytes);
  auto count = (*engine)->map_anonymous(kPageSize);
  ASSERT_TRUE(leaves && count);
  regions.leaves = std::move(*leaves);
  regions.count = std::move(*count);
  Region root;
  if (with_base) {  // each leaf has content from the beginning, of another region
    const std::uint64_t old = 0;
    for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) {
      const auto at = reinterpret_cast<Address>(regions.leaves.data()) + leaf * kLeafBytes;
      ASSERT_TRUE(machine.store(at, &old, sizeof old));
    }
    root = std::move(regions.leaves);
    auto clone = (*engine)->clone(root);
    ASSERT_TRUE(clone);
    regions.leaves = std::move(*clone);
  }
  Writer writer(machine, regions);
  auto& first = machine.spawn("writer", [&] {
    for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) writer.write(leaf);
  });
  auto& second = machine.spawn("beside", [&] {
    for (std::uint64_t leaf = 0; leaf < kLeaves; ++leaf) writer.write_beside(leaf);
  });
  const Source sources[] = {regions.leaves, regions.count};
  std::vector<std::vector<Snapshot>> copies;
  for (std::uint64_t i = 0; i < kCopies; ++i) {
    auto made = (*engine)->snapshot(sources);
    ASSERT_TRUE(made) << made.error().message();
    copies.push_back(std::move(*made));
  }
  machine.join(first);
  machine.join(second);
  for (const auto& copy : copies) expect_one_moment(copy);
  EXPECT_TRUE((*engine)->check_all());
}

void explore(bool with_base) {
  const std::uint64_t first = std::getenv("HOLDFAST_SEED") != nullptr ? test_seed() : 1;
  const std::uint64_t seeds = seed_count(500);
  for (std::uint64_t seed = first; seed < first + seeds && !testing::Test::HasFailure(); ++seed) {
    HF_SEED_TRACE(seed);
    sys::SimOptions options;
    options.seed = seed;
    options.switch_per_1024 = 256;
    options.interleave_per_1024 = 384;
    sys::SimMachine machine(options);
    const auto outcome = machine.run([&] { copy_while_leaves_are_touched(machine, with_base); });
    ASSERT_EQ(outcome, sys::RunOutcome::finished) << machine.report();
  }
}

TEST(Moment, a_first_touch_of_a_leaf_lands_before_a_copy_or_after_it) { explore(false); }

TEST(Moment, a_first_touch_of_a_leaf_that_a_clone_shares_lands_before_a_copy_or_after_it) {
  explore(true);
}

}  // namespace
}  // namespace holdfast::tests
