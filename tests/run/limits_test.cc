// What a program can do to be seen late: what then holds of the budget, and of what it sees.
#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

class Limits : public Run {
 protected:
  // Runs it under the budget; what the report has then.
  nlohmann::json report_of(const std::string& command, unsigned budget_mib, std::string& output) {
    const std::string path = directory_.file("report");
    const auto result =
        held(std::to_string(budget_mib) + "M", bin(command), "--quiet --report " + path);
    EXPECT_EQ(result.status, 0) << result.output;
    output = result.output;
    std::ifstream file(path);
    return nlohmann::json::parse(file, nullptr, false);
  }
  // Runs run_burst under the budget. Bytes above it, as the report has them.
  std::uint64_t overshoot_of(const std::string& arguments, unsigned budget_mib) {
    std::string output;
    const auto json = report_of("run_burst " + arguments, budget_mib, output);
    EXPECT_NE(output.find("every byte was right"), std::string::npos) << output;
    if (json.is_discarded() || !json.contains("overshoot_bytes")) return ~std::uint64_t{0};
    return json["overshoot_bytes"];
  }
  static constexpr unsigned kBudgetMib = 128;
  // Whoever shares the machine's CPUs can keep the pager from looking for a while. What these
  // programs take without asking is three times the budget and more: not held, they would be over
  // it by nearly as much.
  static constexpr std::uint64_t kMost = std::uint64_t{kBudgetMib} << 20;

 private:
  tests::TempDirectory directory_;
};

TEST_F(Limits, threads_with_fresh_memory_are_held_near_the_budget) {
  EXPECT_LE(overshoot_of("threads 512", kBudgetMib), kMost);
}

TEST_F(Limits, copies_after_a_fork_are_held_near_the_budget) {
  EXPECT_LE(overshoot_of("forks 120", kBudgetMib), kMost);
}

// Most of the budget is taken by what cannot leave. Trying that again for each page that the child
// needs would be most of what is done: millions of pages refused. Once it can leave it does.
TEST_F(Limits, memory_that_cannot_leave_is_not_tried_before_it_can) {
  std::string output;
  const auto json = report_of("run_barred 20 16", 32, output);
  ASSERT_TRUE(json.contains("busy")) << output;
  unsigned barred = 0;
  unsigned left = 0;
  ASSERT_EQ(std::sscanf(output.c_str(), "%u %u", &barred, &left), 2) << output;
  EXPECT_GT(barred, 4000U) << "pages that were in memory while they could not leave";
  EXPECT_LT(json["busy"].get<std::uint64_t>(), 4U * barred)
      << "before a scan has seen it, if at all";
  EXPECT_LT(left, barred / 2) << "pages that were in memory when others were used for long";
}

TEST_F(Limits, mappings_side_by_side_are_moved_in_one_call_at_any_time) {
  const auto result = held("32M", bin("run_burst") + " spans 96");
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_EQ(result.output, "every byte was right\n");
}

TEST_F(Limits, closed_streams_stay_closed_and_nothing_of_ours_takes_their_place) {
  const auto result = shell(
      "( " + bin("holdfast") +
      " run --memory 64M -- sh -c 'test -e /proc/$$/fd/2 && echo open || echo closed' 2>&- )");
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "closed\n");
}

}  // namespace
}  // namespace holdfast::run::test
