// Runs a program that the same build made, and keeps what it printed.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace holdfast::tests {

struct ProgramResult {
  int status = -1;     // exit status; 128 + n: killed by signal n; -1: it could not be run
  std::string output;  // standard output and standard error together
};

// `name`: a program of the build's bin/ folder, where the tests are too. `arguments`: for the
// shell.
[[nodiscard]] inline ProgramResult run_program(const std::string& name,
                                               const std::string& arguments) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  const auto program = self.parent_path() / name;
  if (!std::filesystem::exists(program, error)) {
    return {-1, program.string() + " is not there: build it first"};
  }
  const std::string command = "'" + program.string() + "' " + arguments + " 2>&1 </dev/null";
  ProgramResult result;
  std::FILE* const pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) != 0;) {
    result.output.append(buffer, got);
  }
  const int status = pclose(pipe);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace holdfast::tests
