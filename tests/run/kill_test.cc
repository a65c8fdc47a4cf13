// Whoever is killed, nobody is left and no wrong byte was read.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <random>
#include <sstream>

#include "run/process_files.h"
#include "run/run.h"
#include "run/support.h"
#include "support/temp_directory.h"

namespace holdfast::run::test {
namespace {

enum class Victim { guardian, pager, program };

class Kill : public Run {
 protected:
  // A run of the byte-checking program that is a child of ours; its process id.
  pid_t begin(unsigned seed) {
    output_ = directory_.file("output");
    const std::string program = bin("run_storm");
    const std::string command = bin("holdfast");
    const std::string number = std::to_string(seed);
    const pid_t guardian = ::fork();
    if (guardian != 0) return guardian;
    if (std::freopen(output_.c_str(), "w", stdout) == nullptr) ::_exit(1);
    ::dup2(1, 2);
    ::execl(command.c_str(), command.c_str(), "run", "--quiet", "--memory", "24M", "--",
            program.c_str(), number.c_str(), "2", "1000000", "64", "forks", nullptr);
    ::_exit(127);
  }

  // Whatever a test finds, its run does not outlive it. A guardian that has been waited for is
  // gone.
  struct Ended {
    pid_t guardian;
    ~Ended() {
      if (::waitpid(guardian, nullptr, WNOHANG) != 0) return;
      ::kill(guardian, SIGKILL);
      ::waitpid(guardian, nullptr, 0);
    }
  };

  // The only child of a process, as soon as there is one. It exits if the process ends before.
  static pid_t child_of(pid_t parent) {
    for (;;) {
      const std::vector<int> below = descendants(parent);
      if (!below.empty()) return below.front();
      if (program_of(parent).empty()) return 0;  // it has ended
    }
  }

  void strike(Victim victim, unsigned seed) {
    std::mt19937 chance(seed);
    const pid_t guardian = begin(seed);
    const Ended ended{guardian};
    const pid_t pager = child_of(guardian);
    const pid_t program = pager == 0 ? 0 : child_of(pager);
    ASSERT_NE(program, 0);
    // At a moment that is chosen by how far it has come: so much has been resident.
    const std::uint64_t mark = 1 + chance() % 12000;  // more than half: never reached
    std::uint64_t looks = chance() % 30000;
    while (resident_pages(program) < mark && looks > 0) --looks;
    const std::vector<int> before = descendants(guardian);
    ::kill(victim == Victim::guardian ? guardian
           : victim == Victim::pager  ? pager
                                      : program,
           SIGKILL);
    int status = 0;
    ASSERT_EQ(::waitpid(guardian, &status, 0), guardian);
    if (victim == Victim::pager) {
      EXPECT_EQ(WEXITSTATUS(status), kExitPagerFailed);
    }
    if (victim == Victim::program) {
      EXPECT_TRUE(WIFSIGNALED(status));
    }
    for (const int each : before) await_end(each);
    std::ifstream file(output_);
    std::stringstream text;
    text << file.rdbuf();
    EXPECT_EQ(text.str().find("WRONG"), std::string::npos) << "seed " << seed << text.str();
  }

  // Ends when the process has; that it does is what is tested, and a test that hangs fails.
  static void await_end(int pid) {
    while (::kill(pid, 0) == 0 && !program_of(pid).empty()) ::sched_yield();
  }

  tests::TempDirectory directory_;
  std::string output_;
};

TEST_F(Kill, of_the_pager_ends_the_program_before_a_wrong_byte) {
  const unsigned seed = std::random_device()();
  for (unsigned i = 0; i < 20; ++i) strike(Victim::pager, seed + i);
}
TEST_F(Kill, of_the_guardian_ends_pager_and_program) {
  const unsigned seed = std::random_device()();
  for (unsigned i = 0; i < 8; ++i) strike(Victim::guardian, seed + i);
}
TEST_F(Kill, of_the_program_ends_the_pager) {
  const unsigned seed = std::random_device()();
  for (unsigned i = 0; i < 8; ++i) strike(Victim::program, seed + i);
}

}  // namespace
}  // namespace holdfast::run::test
