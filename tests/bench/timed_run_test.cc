// Whole programs, timed and compared by what they print.
#include "running/timed_run.h"

#include <gtest/gtest.h>

#include <string>

#include "running/programs.h"

namespace holdfast::bench {
namespace {

TimedRun timed(const ProgramCommand& command, const Admit& admit = {}) {
  auto run = run_timed(command, admit);
  EXPECT_TRUE(run) << run.error().why;
  return run ? std::move(*run) : TimedRun{};
}

TimedRun shell(const std::string& line) { return timed({.words = {"sh", "-c", line}}); }

TEST(TimedRun, the_same_output_has_the_same_hash_however_it_is_cut) {
  const TimedRun whole = shell("printf abcdef");
  const TimedRun cut = shell("printf abc; printf def");
  EXPECT_TRUE(whole.succeeded());
  EXPECT_EQ(whole.hash, cut.hash);
  EXPECT_EQ(whole.output_bytes, 6u);
  EXPECT_NE(whole.hash, shell("printf abcdeg").hash);
  EXPECT_NE(whole.hash, shell("printf abcdef; printf x").hash);
  EXPECT_GT(whole.seconds, 0);
}

TEST(TimedRun, one_changed_byte_far_into_the_output_changes_the_hash) {
  const std::string zeros = "head -c 3000000 /dev/zero";
  const TimedRun same = shell(zeros);
  EXPECT_EQ(same.output_bytes, 3'000'000u);
  EXPECT_EQ(same.hash, shell(zeros).hash);
  EXPECT_NE(same.hash,
            shell("head -c 1500000 /dev/zero; printf x; head -c 1499999 /dev/zero").hash);
}

TEST(TimedRun, how_a_program_ends_is_told) {
  const TimedRun failed = shell("echo nothing fits >&2; exit 3");
  EXPECT_FALSE(failed.succeeded());
  EXPECT_EQ(failed.ending(), "exit status 3: nothing fits\n");
  EXPECT_EQ(shell("kill -9 $$").ending(), "killed by signal 9");
  const TimedRun missing = timed({.words = {"/no/such/program"}});
  EXPECT_TRUE(missing.ending().starts_with("exit status 127: /no/such/program"))
      << missing.ending();
}

TEST(TimedRun, every_run_reads_its_input_from_the_start) {
  auto input = MemoryFile::create("test");
  ASSERT_TRUE(input);
  ASSERT_TRUE((*input)->append("abcdef", 6));
  const ProgramCommand copy{.words = {"cat"}, .input = *input};
  EXPECT_EQ(timed(copy).hash, shell("printf abcdef").hash);
  EXPECT_EQ(timed(copy).output_bytes, 6u);
}

TEST(TimedRun, a_program_is_admitted_before_it_begins_and_not_run_if_it_is_not) {
  pid_t seen = 0;
  const ProgramCommand own_pid{.words = {"sh", "-c", "echo $$"}};
  const TimedRun run = timed(own_pid, [&](pid_t pid) -> Result<void> {
    seen = pid;
    return {};
  });
  EXPECT_EQ(run.hash, shell("echo " + std::to_string(seen)).hash);
  const auto refused = run_timed(own_pid, [](pid_t) -> Result<void> { return skip("no room"); });
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().why, "no room");
}

TEST(BenchPrograms, random_lines_are_whole_and_the_same_every_time) {
  constexpr std::uint64_t kBytes = 3 << 20;
  const auto lines = random_lines(kBytes);
  ASSERT_TRUE(lines);
  const TimedRun copy = timed({.words = {"cat"}, .input = *lines});
  EXPECT_EQ(copy.output_bytes, kBytes);
  const auto again = random_lines(kBytes);
  ASSERT_TRUE(again);
  EXPECT_EQ(copy.hash, timed({.words = {"cat"}, .input = *again}).hash);
  const TimedRun sorted = timed({.words = {"sort"}, .input = *lines});
  EXPECT_EQ(sorted.output_bytes, kBytes);
  EXPECT_NE(sorted.hash, copy.hash);
  EXPECT_EQ(timed({.words = {"sort", "-u"}, .input = *lines}).hash, sorted.hash);
}

TEST(BenchPrograms, each_prints_the_same_whenever_it_is_run) {
  for (const BenchProgram& program : bench_programs()) {
    const auto command = program.command(bench::Run{.scale = 16}, Medium::file);
    if (!command) {
      EXPECT_EQ(command.error().kind, TroubleKind::skipped) << command.error().why;
      continue;
    }
    const TimedRun first = timed(*command);
    EXPECT_TRUE(first.succeeded()) << program.name << ": " << first.ending();
    EXPECT_GT(first.output_bytes, 0u) << program.name;
    EXPECT_EQ(first.hash, timed(*command).hash) << program.name;
  }
}

}  // namespace
}  // namespace holdfast::bench
