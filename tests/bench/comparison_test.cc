#include "bench/comparison.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "bench/report.h"
#include "bench/workload.h"

namespace holdfast::bench {
namespace {

Registry three() {
  Registry registry(3);
  registry[0].name = "paging/zram/random-read";
  registry[1].name = "paging/zram/random-read-pinned";
  registry[2].name = "paging/hit";
  return registry;
}

std::vector<std::string> names_of(const std::vector<const Comparison*>& chosen) {
  std::vector<std::string> names;
  for (const Comparison* one : chosen) names.push_back(one->name);
  return names;
}

TEST(Comparison, a_full_name_selects_itself_alone_and_a_folder_all_below_it) {
  const Registry registry = three();
  using Names = std::vector<std::string>;
  EXPECT_EQ(names_of(select(registry, "paging/zram/random-read")),
            Names({"paging/zram/random-read"}));
  EXPECT_EQ(names_of(select(registry, "paging/zram")),
            Names({"paging/zram/random-read", "paging/zram/random-read-pinned"}));
  EXPECT_EQ(select(registry, "paging").size(), 3u);
  EXPECT_TRUE(select(registry, "pag").empty());
}

TEST(Comparison, the_median_is_the_middle_whatever_the_order) {
  EXPECT_DOUBLE_EQ(median({9, 1, 5}), 5);
  EXPECT_DOUBLE_EQ(median({4, 1, 100, 2}), 3);
}

TEST(Comparison, the_ratio_says_how_many_times_better_we_are) {
  const Series series{.ours = {2, 2, 50}, .peer = {6, 5, 1}};
  EXPECT_DOUBLE_EQ(ratio_of(series, Better::less), 2.5);
  EXPECT_DOUBLE_EQ(ratio_of(series, Better::more), 0.4);
}

TEST(Report, a_result_is_one_line_and_says_met_or_short) {
  const Comparison comparison{.name = "a/b", .target = 2, .about = "", .run = {}};
  Outcome outcome{.unit = "us/op", .series = {.ours = {2}, .peer = {4}}};
  std::string line = result_line(comparison, outcome, bench::Run{});
  EXPECT_TRUE(line.starts_with("a/b ours=2.000 us/op peer=4.000 us/op ratio=2.00 target=2.00 met"))
      << line;
  EXPECT_EQ(line.find("scaled"), std::string::npos);
  outcome.series.peer = {3.99};
  line = result_line(comparison, outcome, bench::Run{.scale = 4});
  EXPECT_NE(line.find(" target=2.00 short scaled"), std::string::npos) << line;
}

TEST(Report, a_peer_that_did_not_get_to_the_end_has_no_figure_and_has_lost) {
  const Comparison comparison{.name = "a/b", .target = 2, .about = "", .run = {}};
  const Outcome outcome{
      .unit = "s", .series = {.ours = {2}, .peer = {}}, .peer_lost = "killed by the kernel"};
  const std::string line = result_line(comparison, outcome, bench::Run{});
  EXPECT_TRUE(line.starts_with("a/b ours=2.000 s peer=killed by the kernel target=2.00 met"))
      << line;
}

TEST(Comparison, sides_take_turns_and_who_begins_changes) {
  std::string order;
  const auto turn = [&](char who) {
    return [&order, who]() -> Result<double> {
      order += who;
      return 1.0;
    };
  };
  const auto series = interleave(bench::Run{.rounds = 3}, turn('o'), turn('p'));
  ASSERT_TRUE(series);
  EXPECT_EQ(order, "oppoop");
  EXPECT_EQ(series->ours.size(), 3u);
  EXPECT_EQ(series->peer.size(), 3u);
}

TEST(Report, what_cannot_run_has_a_reason_and_no_figure) {
  const Comparison comparison{.name = "a/b", .target = 1, .about = "", .run = {}};
  EXPECT_EQ(trouble_line(comparison, {TroubleKind::skipped, "no zram"}), "a/b skipped: no zram");
}

TEST(Workload, loads_find_the_tags_that_fill_wrote_and_nothing_else_passes) {
  constexpr std::uint64_t kPages = 64;
  std::vector<std::uint64_t> memory(kPages * kPageBytes / 8);
  auto* const base = reinterpret_cast<std::byte*>(memory.data());
  Workload workload(base, 0, kPages, 1);
  workload.fill();
  EXPECT_EQ(workload.run(Work::sequential, kPages).wrong, 0u);
  EXPECT_EQ(workload.run(Work::random_mixed, 1000).wrong, 0u);
  EXPECT_EQ(workload.run(Work::random_read, 1000).wrong, 0u);
  memory[kPageBytes / 8] ^= 1;
  EXPECT_EQ(workload.run(Work::sequential, kPages).wrong, 1u);
}

TEST(Workload, one_seed_gives_one_pattern) {
  std::vector<std::uint64_t> memory(kPageBytes / 8);
  auto* const base = reinterpret_cast<std::byte*>(memory.data());
  Workload first(base, 0, 1000, 7), second(base, 0, 1000, 7), other(base, 0, 1000, 8);
  int different = 0;
  for (int step = 0; step < 100; ++step) {
    const std::uint64_t page = first.next_page(Work::random_read);
    ASSERT_LT(page, 1000u);
    EXPECT_EQ(page, second.next_page(Work::random_read));
    different += page != other.next_page(Work::random_read);
  }
  EXPECT_GT(different, 50);
}

}  // namespace
}  // namespace holdfast::bench
