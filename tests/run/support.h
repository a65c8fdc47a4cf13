// What the tests of `holdfast run` share: the command, and whether this machine allows it.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "run/program.h"
#include "support/run_program.h"

namespace holdfast::run::test {

[[nodiscard]] inline std::string bin(const std::string& name) {
  std::error_code error;
  return std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / name;
}

// `holdfast run` of a shell command line.
[[nodiscard]] inline tests::ProgramResult held(const std::string& memory,
                                               const std::string& command,
                                               const std::string& flags = "--quiet") {
  return tests::run_program("holdfast", "run " + flags + " --memory " + memory + " -- " + command);
}

// A shell command line.
[[nodiscard]] inline tests::ProgramResult shell(const std::string& command) {
  return tests::run_program("holdfast", "--version >/dev/null; exec 2>&1; " + command);
}

class Run : public testing::Test {
 protected:
  void SetUp() override {
    const int refused = userfault_refusal();
    if (refused != 0) {
      GTEST_SKIP() << "this machine gives no userfaultfd that serves system calls and tells of "
                      "forks: errno "
                   << refused;
    }
  }
};

}  // namespace holdfast::run::test
