// Content survives being pushed out, whatever the delivery, the pmap's means and the tiers.
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <tuple>

#include "engine/real_engine.h"
#include "support/seed.h"

namespace holdfast::engine::test {
namespace {

using Way = std::tuple<FaultDelivery, bool, Tiers>;

std::string way_name(const testing::TestParamInfo<Way>& info) {
  const auto [delivery, use_move, tiers] = info.param;
  return std::string(delivery == FaultDelivery::signal ? "signal" : "thread") +
         (use_move ? "_move_" : "_copy_") + name(tiers);
}

class EngineContent : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    const auto [delivery, use_move, tiers] = GetParam();
    Options options = small_options(delivery);
    options.use_move = use_move;
    options.swap = tiers_of(tiers);
    options.window_pages = use_move ? 32 : 512;
    if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
    engine = make_engine(options);
    ASSERT_NE(engine, nullptr);
  }
  std::unique_ptr<Engine> engine;
};

TEST_P(EngineContent, it_survives_four_times_the_budget) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  const std::uint64_t pages = 4 * kBudget / kPageSize;
  const Region region = map(*engine, pages * kPageSize);
  write_pages(region, 0, pages, 7);
  EXPECT_EQ(wrong_pages(region, 0, pages, 7), 0u);

  // A third is written anew, in random order, then everything is read in another one.
  std::mt19937_64 chance(seed);
  std::vector<std::uint64_t> order(pages);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), chance);
  std::vector<std::uint64_t> key(pages, 7);
  for (std::size_t i = 0; i < pages / 3; ++i) {
    key[order[i]] = 1'000'000;
    write_page(page_at(region, order[i]), 1'000'000 + order[i]);
  }
  std::shuffle(order.begin(), order.end(), chance);
  std::uint64_t wrong = 0;
  for (const std::uint64_t p : order) {
    wrong += page_holds(page_at(region, p), key[p] + p) ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0u);
  const Stats stats = engine->stats();
  EXPECT_GT(stats.faults_swap, pages / 4);
  EXPECT_GT(stats.evicted_written, pages / 2);
  EXPECT_EQ(stats.faults_refused, 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_P(EngineContent, every_tier_in_the_stack_is_used) {
  const std::uint64_t pages = 4 * kBudget / kPageSize;
  const Region region = map(*engine, pages * kPageSize);
  write_pages(region, 0, pages, 99);
  push_out(*engine);
  const Stats stats = engine->stats();
  for (const SwapTierStats& tier : stats.tiers) {
    EXPECT_GT(tier.stores, 0u) << tier.kind;
    EXPECT_EQ(tier.write_errors + tier.read_errors, 0u) << tier.kind;
  }
  EXPECT_EQ(wrong_pages(region, 0, pages, 99), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

INSTANTIATE_TEST_SUITE_P(
    Ways, EngineContent,
    testing::Combine(testing::Values(FaultDelivery::signal, FaultDelivery::thread), testing::Bool(),
                     testing::Values(Tiers::ram_lz4, Tiers::ram_zstd, Tiers::file_ring,
                                     Tiers::file_plain, Tiers::ram_file, Tiers::file_ram)),
    way_name);

}  // namespace
}  // namespace holdfast::engine::test
