// The map in a file is killed again and again while it is filled, and holds after each kill what
// was durable, and at most the one change more that was under way.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <map>
#include <random>
#include <sstream>

#include "support/run_program.h"
#include "support/seed.h"
#include "support/temp_directory.h"

namespace holdfast {
namespace {

using tests::run_program;

class PersistExample : public testing::Test {
 protected:
  [[nodiscard]] tests::ProgramResult run(const std::string& what) const {
    return run_program("persist", path + " " + what);
  }
  // Fills until it has told of so many entries, kills it, and returns how many it told of in all.
  [[nodiscard]] std::uint64_t fill_and_kill(std::uint64_t told) const {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    const std::string program = self.parent_path() / "persist";
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::close(ends[0]);
      ::close(ends[1]);
      ::execl(program.c_str(), "persist", path.c_str(), "fill", "--count", "1000000", nullptr);
      ::_exit(127);
    }
    ::close(ends[1]);
    std::FILE* const lines = ::fdopen(ends[0], "r");
    std::uint64_t heard = 0;
    char line[64];
    while (heard < told && std::fgets(line, sizeof line, lines) != nullptr) ++heard;
    ::kill(pid, SIGKILL);
    while (std::fgets(line, sizeof line, lines) != nullptr) ++heard;
    std::fclose(lines);
    int status = 0;
    ::waitpid(pid, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself with " << WEXITSTATUS(status);
    return heard;
  }
  // What the map must hold when so many entries were put.
  static std::map<std::string, std::string> expected(std::uint64_t count) {
    std::map<std::string, std::string> all{{"next", std::to_string(count)}};
    for (std::uint64_t i = 0; i < count; ++i) {
      const bool erased = i % 3 == 1 && i + 1 < count;
      if (erased) continue;
      all["key " + std::to_string(i)] = std::string(100 + i % 400, 'a' + static_cast<char>(i % 26));
    }
    return all;
  }
  [[nodiscard]] std::map<std::string, std::string> list() const {
    std::map<std::string, std::string> all;
    std::istringstream lines(run("list").output);
    for (std::string line; std::getline(lines, line);) {
      const std::size_t tab = line.find('\t');
      EXPECT_NE(tab, std::string::npos) << line;
      all[line.substr(0, tab)] = line.substr(tab + 1);
    }
    return all;
  }

  tests::TempDirectory directory;
  const std::string path = directory.file("map");
};

TEST_F(PersistExample, keeps_what_is_put_and_loses_what_is_erased) {
  EXPECT_EQ(run("put fruit apple").status, 0);
  EXPECT_EQ(run("put tree oak").status, 0);
  EXPECT_EQ(run("put fruit quince").status, 0);
  EXPECT_EQ(run("get fruit").output, "quince\n");
  EXPECT_EQ(run("erase tree").status, 0);
  EXPECT_EQ(run("get tree").status, 1);
  EXPECT_EQ(run("check").output, "1 entries, sound\n");
  EXPECT_EQ(run("surgery").status, 2);
  EXPECT_EQ(directory.names().size(), 1u) << "the journal goes with the process";
}

TEST_F(PersistExample, survives_being_killed_at_any_instant) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  std::uint64_t durable = 0;
  for (int round = 0; round < 15 && !HasFailure(); ++round) {
    const std::uint64_t told = durable + fill_and_kill(chance() % 150);
    const auto check = run("check");
    ASSERT_EQ(check.status, 0) << check.output;
    const auto found = list();
    const auto next = found.find("next");
    durable = next == found.end() ? 0 : std::stoull(next->second);
    ASSERT_TRUE(durable == told || durable == told + 1) << durable << " of " << told;
    ASSERT_TRUE(durable == 0 ? found.empty() : found == expected(durable)) << durable;
  }
  EXPECT_GT(durable, 100u);
}

}  // namespace
}  // namespace holdfast
