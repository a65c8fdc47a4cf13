// Whoever is killed, nobody is left, no swap is left, and no wrong byte was read.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cerrno>
#include <random>

#include "run/execution.h"
#include "run/private_disk.h"
#include "run/process_files.h"
#include "run/run.h"
#include "run/support.h"
#include "support/seed.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

enum class Victim { guardian, pager, program };

class Kill : public Run {
 protected:
  void SetUp() override {
    Run::SetUp();
    // Whoever loses its parent becomes a child of ours: so we see whether anybody is left.
    ASSERT_EQ(::prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  }
  // Whatever a test finds, its run does not outlive it.
  void TearDown() override {
    for (const int pid : descendants(::getpid())) ::kill(pid, SIGKILL);
    await_all();
  }

  // Ends when there is nobody left to wait for; if there always is, the test hangs, and fails.
  static void await_all() {
    while (::waitpid(-1, nullptr, 0) > 0 || errno == EINTR) {
    }
  }

  // A run of the byte-checking program, which would take for ever.
  [[nodiscard]] pid_t begin(std::uint64_t seed, const std::vector<std::string>& flags) const {
    std::vector<std::string> command{bin("holdfast"), "run", "--quiet", "--memory", "24M"};
    command.insert(command.end(), flags.begin(), flags.end());
    for (const std::string& each :
         {std::string("--"), bin("run_storm"), std::to_string(seed), std::string("2"),
          std::string("1000000"), std::string("64"), std::string("forks")}) {
      command.push_back(each);
    }
    return start(command, directory_.path());
  }

  // The only child of a process, as soon as there is one; 0: the process has ended before.
  static pid_t child_of(pid_t parent) {
    for (;;) {
      const std::vector<int> below = descendants(parent);
      if (!below.empty()) return below.front();
      if (program_of(parent).empty()) return 0;
    }
  }

  void strike(Victim victim, std::uint64_t seed, const std::vector<std::string>& flags = {}) {
    HF_SEED_TRACE(seed);
    std::mt19937_64 chance(seed);
    const pid_t guardian = begin(seed % 1000000, flags);
    const pid_t pager = child_of(guardian);
    const pid_t program = pager == 0 ? 0 : child_of(pager);
    ASSERT_NE(program, 0);
    // At a moment that is chosen by how far it has come: so much has been resident.
    const std::uint64_t mark = 1 + chance() % 12000;  // more than half: never reached
    std::uint64_t looks = chance() % 30000;
    while (resident_pages(program) < mark && looks > 0) --looks;
    ::kill(victim == Victim::guardian ? guardian
           : victim == Victim::pager  ? pager
                                      : program,
           SIGKILL);
    const Execution run = await(guardian, directory_.path());
    EXPECT_EQ(run.output.find("WRONG"), std::string::npos) << run.output;
    if (victim == Victim::guardian) return await_all();  // the pager sees to it
    EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1) << "somebody is left behind";
    if (victim == Victim::pager) {
      EXPECT_TRUE(WIFEXITED(run.status) && WEXITSTATUS(run.status) == kExitPagerFailed)
          << run.status << run.output << run.error;
    } else {
      EXPECT_TRUE(WIFSIGNALED(run.status) && WTERMSIG(run.status) == SIGKILL) << run.status;
    }
  }
  void strike_often(Victim victim, std::uint64_t usual,
                    const std::vector<std::string>& flags = {}) {
    const std::uint64_t seed = tests::test_seed();
    const std::uint64_t times = tests::seed_count(usual);
    for (std::uint64_t i = 0; i < times && !HasFailure(); ++i) strike(victim, seed + i, flags);
  }

  tests::TempDirectory directory_;
};

TEST_F(Kill, of_the_pager_two_hundred_times_ends_the_program_before_a_wrong_byte) {
  strike_often(Victim::pager, 200);
}
TEST_F(Kill, of_the_guardian_ends_pager_and_program) { strike_often(Victim::guardian, 20); }
TEST_F(Kill, of_the_program_ends_the_pager) { strike_often(Victim::program, 20); }

TEST_F(Kill, of_anybody_leaves_no_swap) {
  const PrivateDisk disk(std::uint64_t{512} << 20);
  if (!disk.refused().empty()) GTEST_SKIP() << disk.refused();
  const std::uint64_t before = disk.used();
  std::uint64_t most = 0;
  for (const Victim victim : {Victim::program, Victim::pager, Victim::guardian}) {
    for (int i = 0; i < 4; ++i) {
      const pid_t guardian = begin(17, {"--swap", "file:" + disk.path()});
      const pid_t pager = child_of(guardian);
      const pid_t program = pager == 0 ? 0 : child_of(pager);
      ASSERT_NE(program, 0);
      while (disk.used() < before + (16 << 20)) ASSERT_FALSE(program_of(program).empty());
      most = std::max(most, disk.used());
      ::kill(victim == Victim::guardian ? guardian
             : victim == Victim::pager  ? pager
                                        : program,
             SIGKILL);
      await_all();
      // The kernel gives the file back when the last that had it open is gone, or soon after.
      while (disk.used() != before) ::sched_yield();
    }
  }
  EXPECT_GE(most, before + (16 << 20));
}

}  // namespace
}  // namespace holdfast::run::test
