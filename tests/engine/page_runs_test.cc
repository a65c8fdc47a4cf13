#include "engine/page_runs.h"

#include <gtest/gtest.h>

#include <vector>

namespace holdfast::engine {
namespace {

struct Taken {
  std::uint64_t first, pages;
  friend bool operator==(const Taken&, const Taken&) = default;
};

struct RecordingTaker final : PageTaker {
  bool give_back(std::uint64_t first, std::uint64_t pages) noexcept override {
    taken.push_back({first, pages});
    return accept;
  }
  std::vector<Taken> taken;
  bool accept = true;
};

TEST(PageRuns, fresh_pages_are_handed_out_in_order) {
  RecordingTaker taker;
  PageRuns runs(512, 100, taker);
  EXPECT_EQ(runs.allocate(3, 1), 512u);
  EXPECT_EQ(runs.allocate(5, 1), 515u);
  EXPECT_EQ(runs.used_pages(), 8u);
  runs.check();
}

TEST(PageRuns, what_alignment_skips_can_be_used_for_something_smaller) {
  RecordingTaker taker;
  PageRuns runs(512, 100, taker);
  EXPECT_EQ(runs.allocate(1, 1), 512u);
  EXPECT_EQ(runs.allocate(16, 16), 528u);
  EXPECT_EQ(runs.allocate(15, 1), 513u);
  EXPECT_EQ(runs.run_count(), 0u);
  runs.check();
}

TEST(PageRuns, neighbours_coalesce_on_both_sides) {
  RecordingTaker taker;
  PageRuns runs(0, 30, taker);
  const auto a = *runs.allocate(10, 1), b = *runs.allocate(10, 1), c = *runs.allocate(10, 1);
  runs.free(a, 10);
  runs.free(c, 10);
  EXPECT_EQ(runs.run_count(), 2u);
  EXPECT_FALSE(runs.allocate(11, 1).has_value());
  runs.free(b, 10);
  EXPECT_EQ(runs.run_count(), 1u);
  EXPECT_EQ(runs.allocate(30, 1), 0u);
  runs.check();
}

TEST(PageRuns, a_short_run_is_kept_and_goes_back_once_it_has_grown) {
  RecordingTaker taker;
  PageRuns runs(0, 64, taker);
  const auto a = *runs.allocate(8, 1), b = *runs.allocate(8, 1), c = *runs.allocate(8, 1);
  runs.free(a, 8);
  EXPECT_TRUE(taker.taken.empty());
  runs.free(b, 8);
  EXPECT_EQ(taker.taken, (std::vector<Taken>{{0, 16}}));
  runs.free(c, 8);  // the neighbour was given back already: only the new part goes
  EXPECT_EQ(taker.taken, (std::vector<Taken>{{0, 16}, {16, 8}}));
}

TEST(PageRuns, what_could_not_be_given_back_is_offered_again) {
  RecordingTaker taker;
  PageRuns runs(0, 64, taker);
  const auto a = *runs.allocate(16, 1), b = *runs.allocate(16, 1);
  taker.accept = false;
  runs.free(a, 16);
  taker.accept = true;
  runs.free(b, 16);
  EXPECT_EQ(taker.taken, (std::vector<Taken>{{0, 16}, {0, 32}}));
}

TEST(PageRuns, best_fit_takes_the_shortest_run_that_fits) {
  RecordingTaker taker;
  PageRuns runs(0, 100, taker);
  const auto big = *runs.allocate(20, 1);
  (void)runs.allocate(1, 1);
  const auto small = *runs.allocate(5, 1);
  (void)runs.allocate(1, 1);
  runs.free(big, 20);
  runs.free(small, 5);
  EXPECT_EQ(runs.allocate(4, 1), small);
}

TEST(PageRuns, fresh_pages_join_the_free_run_before_them_when_neither_is_long_enough) {
  RecordingTaker taker;
  PageRuns runs(0, 30, taker);
  runs.free(*runs.allocate(20, 1), 20);
  EXPECT_EQ(runs.allocate(30, 1), 0u);
  runs.check();
}

TEST(PageRuns, a_request_larger_than_the_range_or_overflowing_is_refused) {
  RecordingTaker taker;
  PageRuns runs(512, 10, taker);
  EXPECT_FALSE(runs.allocate(11, 1).has_value());
  EXPECT_FALSE(runs.allocate(~std::uint64_t{0}, 1).has_value());
  EXPECT_FALSE(runs.allocate(1, std::uint64_t{1} << 63).has_value());
  EXPECT_EQ(runs.used_pages(), 0u);
  runs.check();
}

TEST(PageRunsDeath, a_double_free_is_named) {
  RecordingTaker taker;
  PageRuns runs(0, 64, taker);
  const auto a = *runs.allocate(4, 1);
  (void)runs.allocate(1, 1);
  runs.free(a, 4);
  EXPECT_DEATH(runs.free(a + 1, 2), "page_runs");
}

}  // namespace
}  // namespace holdfast::engine
