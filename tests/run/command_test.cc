// What a person sees of `holdfast run`: exit statuses, output, errors.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "run/run.h"
#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

class RunCommand : public Run {};

TEST_F(RunCommand, output_and_exit_status_are_the_programs) {
  const auto result = held("64M", "sh -c 'echo out; echo err >&2; exit 7'");
  EXPECT_EQ(result.status, 7);
  EXPECT_EQ(result.output, "out\nerr\n");
}

TEST_F(RunCommand, a_program_that_is_killed_looks_killed) {
  // The shell that runs it says 128 + signal.
  EXPECT_EQ(held("64M", "sh -c 'kill -TERM $$'; exit $?").status, 128 + 15);
}

TEST_F(RunCommand, a_signal_sent_to_it_reaches_the_program) {
  const auto result =
      held("64M",
           "sh -c 'trap \"echo caught; exit 3\" TERM; kill -TERM $(ps -o ppid= $(ps -o "
           "ppid= $$)); while :; do sleep 0.1; done'");
  EXPECT_EQ(result.status, 3) << result.output;
  EXPECT_EQ(result.output, "caught\n");
}

TEST_F(RunCommand, a_program_that_is_not_there_or_no_program_is_told) {
  auto result = held("64M", "/no/such/program");
  EXPECT_EQ(result.status, kExitNotFound);
  EXPECT_NE(result.output.find("/no/such/program: No such file"), std::string::npos)
      << result.output;
  result = held("64M", "/etc/passwd");
  EXPECT_EQ(result.status, kExitNotExecutable);
  EXPECT_NE(result.output.find("Permission denied"), std::string::npos) << result.output;
}

TEST_F(RunCommand, a_budget_too_small_names_the_minimum) {
  const auto result = held("1M", "true");
  EXPECT_EQ(result.status, kExitUsage);
  EXPECT_NE(result.output.find("16M"), std::string::npos) << result.output;
}

TEST_F(RunCommand, bad_tiers_are_told) {
  EXPECT_EQ(held("64M", "true", "--swap tape").status, kExitUsage);
  EXPECT_EQ(held("64M", "true", "--swap ram:gzip").status, kExitUsage);
  const auto result = held("64M", "true", "--swap file:/no/such/folder");
  EXPECT_EQ(result.status, kExitUsage);
  EXPECT_NE(result.output.find("swap"), std::string::npos) << result.output;
}

TEST_F(RunCommand, what_follows_the_two_dashes_is_the_programs_whatever_stands_before_them) {
  const std::string before = "run --quiet --memory 64M ";
  for (const char* flags : {"--swap ram", "--swap ram --swap ram:zstd", "--limit-compressed 8M"}) {
    const auto result = tests::run_program("holdfast", before + flags + " -- sh -c 'echo $0' -x");
    EXPECT_EQ(result.status, 0) << flags;
    EXPECT_EQ(result.output, "-x\n") << flags;
  }
}

TEST_F(RunCommand, a_summary_comes_at_the_end_and_only_there) {
  const auto result = held("64M", "echo first", "");
  EXPECT_TRUE(result.output.starts_with("first\n")) << result.output;
  EXPECT_NE(result.output.find("holdfast: peak resident"), std::string::npos) << result.output;
}

TEST_F(RunCommand, a_report_is_json) {
  tests::TempDirectory directory;
  const std::string path = directory.file("report");
  ASSERT_EQ(held("64M", "true", "--quiet --report " + path).status, 0);
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_EQ(json["budget_bytes"], 64 << 20);
  EXPECT_EQ(json["tiers"].size(), 2U);
}

TEST_F(RunCommand, a_report_by_its_suffix_is_a_page) {
  tests::TempDirectory directory;
  const std::string path = directory.file("report.html");
  ASSERT_EQ(held("64M", "true", "--quiet --report " + path).status, 0);
  std::ifstream file(path);
  std::string first;
  ASSERT_TRUE(std::getline(file, first));
  EXPECT_EQ(first, "<!doctype html>");
}

TEST_F(RunCommand, a_report_that_cannot_be_written_is_told_before_anything_runs) {
  const auto result = held("64M", "echo ran", "--quiet --report /no/such/folder/report.html");
  EXPECT_EQ(result.status, kExitUsage);
  EXPECT_NE(result.output.find("--report /no/such/folder/report.html: No such file"),
            std::string::npos)
      << result.output;
  EXPECT_EQ(result.output.find("ran\n"), std::string::npos) << result.output;
}

TEST_F(RunCommand, a_report_maps_what_is_out) {
  tests::TempDirectory directory;
  const std::string path = directory.file("report.json");
  ASSERT_EQ(held("32M", bin("run_storm") + " 5 1 400 256", "--quiet --report " + path).status, 0);
  std::ifstream file(path);
  const auto json = nlohmann::json::parse(file, nullptr, false);
  ASSERT_FALSE(json.is_discarded());
  EXPECT_GT(json["peak_wanted_bytes"], json["budget_bytes"]);
  EXPECT_GT(json["stalled_ns"], 0);
  EXPECT_LE(json["stalled_ns"], json["elapsed_ns"]);
  EXPECT_GT(json["samples"]["time_ms"].size(), 2U);
  std::uint64_t out = 0;
  for (const auto& map : json["maps"]) {
    for (const auto& process : map["processes"])
      out += process["swapped_bytes"].get<std::uint64_t>();
  }
  EXPECT_GT(out, 0U);
}

TEST_F(RunCommand, what_the_program_starts_is_managed_too) {
  // A shell, in it a pipe of two programs; both ends see what they would see without Holdfast.
  const auto result = held("64M", "sh -c 'seq 1 200000 | sort -rn | head -n 1'");
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "200000\n");
}

TEST_F(RunCommand, it_nests) {
  const auto result = held("64M", bin("holdfast") + " run --quiet --memory 32M -- echo inner");
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "inner\n");
}

TEST_F(RunCommand, full_swap_ends_the_program_with_a_reason) {
  const auto result = held("32M", bin("run_storm") + " 5 1 400 256",
                           "--quiet --swap ram --limit-compressed 4M --swap-full-wait 1");
  EXPECT_EQ(result.status, kExitSwapFull) << result.output;
  EXPECT_NE(result.output.find("swap is full"), std::string::npos) << result.output;
}

}  // namespace
}  // namespace holdfast::run::test
