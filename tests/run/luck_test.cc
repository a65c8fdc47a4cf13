// Bad luck: disks that fill up or lie. Nothing is lost, and no wrong byte is read: the
// program goes on, or it is told why not.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>

#include "run/execution.h"
#include "run/private_disk.h"
#include "run/process_files.h"
#include "run/run.h"
#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

constexpr std::uint64_t kMebibyte = std::uint64_t{1} << 20;

class Luck : public Run {
 protected:
  // The byte-checking program, with three times its budget.
  static std::string storm(const char* more = "200 96 forks") {
    return bin("run_storm") + " 3 2 " + more;
  }
  static void expect_right(const tests::ProgramResult& result) {
    EXPECT_EQ(result.status, 0) << result.output;
    EXPECT_NE(result.output.find("every byte was right"), std::string::npos) << result.output;
  }
  static void expect_ended_for_full_swap(const tests::ProgramResult& result) {
    EXPECT_EQ(result.status, kExitSwapFull) << result.output;
    EXPECT_NE(result.output.find("swap is full: the program waits"), std::string::npos)
        << result.output;
    EXPECT_NE(result.output.find("swap is full: the program was ended"), std::string::npos)
        << result.output;
    EXPECT_EQ(result.output.find("WRONG"), std::string::npos) << result.output;
  }

  // The descriptor of the pager's that is open on a file without a name in a folder; empty: none
  // yet.
  static std::string swap_file_of(int pager, const std::string& folder) {
    std::error_code error;
    const std::string all = "/proc/" + std::to_string(pager) + "/fd";
    for (const auto& each : std::filesystem::directory_iterator(all, error)) {
      if (std::filesystem::read_symlink(each.path(), error).string().starts_with(folder + "/")) {
        return each.path();
      }
    }
    return {};
  }
  tests::TempDirectory directory_;
};

TEST_F(Luck, a_full_disk_loses_nothing_where_another_tier_has_room) {
  const PrivateDisk disk(8 * kMebibyte);
  if (!disk.refused().empty()) GTEST_SKIP() << disk.refused();
  expect_right(held("32M", storm(),
                    "--quiet --swap ram --limit-compressed 4M --swap file:" + disk.path() +
                        " --swap file:" + directory_.path()));
}

TEST_F(Luck, a_full_disk_without_another_tier_ends_the_program_with_its_reason) {
  const PrivateDisk disk(8 * kMebibyte);
  if (!disk.refused().empty()) GTEST_SKIP() << disk.refused();
  expect_ended_for_full_swap(
      held("32M", storm("1000000 96"), "--quiet --swap-full-wait 1 --swap file:" + disk.path()));
}

// Whoever finds it first: the evictor, or a fork, which shares what still stands in buffers.
TEST_F(Luck, a_full_swap_ends_a_program_that_forks_and_the_pager_goes_on_to_say_so) {
  for (const char* const seed : {"1", "2", "3", "4"}) {
    const auto result =
        held("24M", bin("run_storm") + " " + seed + " 2 1000000 64 forks",
             "--quiet --swap-full-wait 1 --swap file:" + directory_.path() + ":20M");
    EXPECT_EQ(result.status, kExitSwapFull) << result.output;
    EXPECT_EQ(result.output.find("check failed"), std::string::npos) << result.output;
    EXPECT_EQ(result.output.find("WRONG"), std::string::npos) << result.output;
  }
}

TEST_F(Luck, a_file_of_a_given_size_is_full_when_it_has_that_size) {
  expect_ended_for_full_swap(
      held("32M", storm("1000000 96"),
           "--quiet --swap-full-wait 0 --swap file:" + directory_.path() + ":8M"));
}

TEST_F(Luck, a_disk_that_lies_ends_the_program_before_it_reads_a_wrong_byte) {
  const std::string swap = directory_.file("swap");
  std::filesystem::create_directory(swap);
  const pid_t guardian = start({bin("holdfast"), "run", "--quiet", "--memory", "24M", "--swap",
                                "file:" + swap, "--", bin("run_storm"), "4", "1", "1000000", "64"},
                               directory_.path());
  // Somebody overwrites the swap, again and again, once it holds something.
  const std::string garbage(4 * kMebibyte, 'G');
  while (!program_of(guardian).empty()) {
    const std::vector<int> below = descendants(guardian);
    const std::string path = below.empty() ? "" : swap_file_of(below.front(), swap);
    struct stat now{};
    if (path.empty() || ::stat(path.c_str(), &now) != 0 || now.st_blocks < 2048) continue;
    const int file = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (file < 0) continue;
    for (off_t at = 0; at < now.st_size; at += static_cast<off_t>(garbage.size())) {
      [[maybe_unused]] const ssize_t written = ::pwrite(file, garbage.data(), garbage.size(), at);
    }
    ::close(file);
  }
  const Execution run = await(guardian, directory_.path());
  EXPECT_TRUE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == kExitPagerFailed)
      << run.status << run.output << run.error;
  EXPECT_NE(run.error.find("cannot be read back from swap"), std::string::npos) << run.error;
  EXPECT_EQ(run.output.find("WRONG"), std::string::npos) << run.output;
}

}  // namespace
}  // namespace holdfast::run::test
