// holdfast-bench as a user meets it. Figures are never judged here, only their form.
#include <gtest/gtest.h>

#include <regex>
#include <sstream>
#include <string>

#include "support/run_program.h"

namespace holdfast::bench {
namespace {

using tests::run_program;

TEST(Program, the_list_has_every_comparison) {
  const auto result = run_program("holdfast-bench", "--list");
  EXPECT_EQ(result.status, 0) << result.output;
  for (const char* name : {"paging/zram/random-read ",
                           "paging/zram/random-write ",
                           "paging/zram/sequential ",
                           "paging/zram/random-read-pinned ",
                           "paging/file/random-read ",
                           "paging/file/random-write ",
                           "paging/file/sequential ",
                           "paging/hit ",
                           "paging/first-touch ",
                           "paging/threads ",
                           "paging/metadata ",
                           "paging/map-1T ",
                           "free/owner ",
                           "free/churn/lock ",
                           "free/churn/linux24 ",
                           "pin/resident ",
                           "aio/read ",
                           "aio/write ",
                           "aio/pressure ",
                           "capture/rate ",
                           "cow/memory ",
                           "cow/kv ",
                           "cow/save ",
                           "file/scan ",
                           "file/scan-direct ",
                           "file/random ",
                           "file/random-32 ",
                           "file/sort ",
                           "file/hot ",
                           "file/stall ",
                           "file/commit/16 ",
                           "file/commit/4096 ",
                           "file/recovery ",
                           "file/shadow/16 ",
                           "file/shadow/4096 ",
                           "file/shadow/journal-16 ",
                           "file/shadow/journal-4096 ",
                           "file/shadow/scan ",
                           "run/sort-zram ",
                           "run/sort-file ",
                           "run/numpy-zram ",
                           "run/numpy-file ",
                           "run/sqlite-zram ",
                           "run/sqlite-file ",
                           "run/random-zram ",
                           "run/random-file ",
                           "run/fits-sort ",
                           "run/fits-numpy ",
                           "run/fits-sqlite ",
                           "run/fits-random ",
                           "far/write ",
                           "far/read ",
                           "far/stream ",
                           "far/packed ",
                           "far/restore "}) {
    EXPECT_NE(result.output.find(name), std::string::npos) << name;
  }
}

TEST(Program, a_name_that_nothing_has_is_a_usage_error) {
  const auto result = run_program("holdfast-bench", "paging/nothing");
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.output.find("paging/nothing"), std::string::npos) << result.output;
  EXPECT_EQ(run_program("holdfast-bench", "").status, 2);
  EXPECT_EQ(run_program("holdfast-bench", "--no-such-option").status, 2);
  EXPECT_EQ(run_program("holdfast-bench", "paging/hit --json /no/such/folder/x").status, 2);
}

TEST(Program, a_scaled_comparison_ends_in_one_marked_line_or_says_why_not) {
  const auto result = run_program("holdfast-bench", "paging/hit --scale 16 --rounds 1");
  ASSERT_EQ(result.status, 0) << result.output;
  const std::regex form(
      "paging/hit (skipped: .+|ours=[0-9.]+ ns peer=[0-9.]+ ns ratio=[0-9.]+ target=1\\.00 "
      "(met|short) scaled few-rounds( debug-build)?)");
  std::istringstream lines(result.output);
  int results = 0;
  for (std::string line; std::getline(lines, line);) results += std::regex_match(line, form);
  EXPECT_EQ(results, 1) << result.output;
}

TEST(Program, a_scaled_program_under_a_budget_prints_what_it_prints_without_or_says_why_not) {
  // Of a chase through 64 MiB; the kernel's side is skipped where it may not have its cgroup.
  for (const std::string name : {"run/fits-random", "run/random-zram"}) {
    const auto result = run_program("holdfast-bench", name + " --scale 16 --rounds 1");
    EXPECT_EQ(result.status, 0) << result.output;
    const std::regex form(name +
                          " (skipped: .+|ours=[0-9.]+ s peer=.+ target=[0-9.]+ (met|short) scaled "
                          "few-rounds( debug-build)?)");
    std::istringstream lines(result.output);
    int results = 0;
    for (std::string line; std::getline(lines, line);) results += std::regex_match(line, form);
    EXPECT_EQ(results, 1) << result.output;
  }
}

TEST(Program, scaled_files_are_compared_or_it_says_why_not) {
  // Every loop checks what it reads; the kernel's side is skipped where it may not have its cgroup.
  for (const std::string name :
       {"file/scan", "file/random-32", "file/stall", "file/commit/16", "file/recovery",
        "file/shadow/16", "file/shadow/journal-4096", "file/shadow/scan"}) {
    const auto result = run_program("holdfast-bench", name + " --scale 16 --rounds 1");
    EXPECT_EQ(result.status, 0) << result.output;
    const std::regex form(name +
                          " (skipped: .+|ours=[0-9.]+ .+ (met|short|reported) scaled few-rounds"
                          "( debug-build)?)");
    std::istringstream lines(result.output);
    int results = 0;
    for (std::string line; std::getline(lines, line);) results += std::regex_match(line, form);
    EXPECT_EQ(results, 1) << result.output;
  }
}

}  // namespace
}  // namespace holdfast::bench
