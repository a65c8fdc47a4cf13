// Runs a command, and keeps all that can be seen of it from outside.
#pragma once

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace holdfast::run::test {

struct Execution {
  int status = -1;               // as of wait()
  std::string output;            // standard output
  std::string error;             // standard error
  std::uint64_t peak_bytes = 0;  // resident, of the largest process that was waited for

  [[nodiscard]] bool succeeded() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
};

[[nodiscard]] inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// In a child of ours that was forked: becomes the command.
[[noreturn]] inline void become(const std::vector<std::string>& command) {
  std::vector<char*> arguments;
  for (const std::string& each : command) arguments.push_back(const_cast<char*>(each.c_str()));
  arguments.push_back(nullptr);
  ::execvp(arguments[0], arguments.data());
  ::_exit(127);
}

// Starts it in a directory, where its two streams go to files named out and err.
[[nodiscard]] inline pid_t start(const std::vector<std::string>& command,
                                 const std::string& directory) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  constexpr int kFlags = O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC;
  if (::chdir(directory.c_str()) != 0) ::_exit(127);
  if (::dup2(::open("/dev/null", O_RDONLY | O_CLOEXEC), 0) < 0) ::_exit(127);
  if (::dup2(::open("out", kFlags, 0644), 1) < 0) ::_exit(127);
  if (::dup2(::open("err", kFlags, 0644), 2) < 0) ::_exit(127);
  become(command);
}

[[nodiscard]] inline Execution await(pid_t pid, const std::string& directory) {
  Execution execution;
  rusage used{};
  if (::wait4(pid, &execution.status, 0, &used) != pid) return execution;
  execution.peak_bytes = static_cast<std::uint64_t>(used.ru_maxrss) * 1024;
  execution.output = contents(directory + "/out");
  execution.error = contents(directory + "/err");
  return execution;
}

[[nodiscard]] inline Execution execute(const std::vector<std::string>& command,
                                       const std::string& directory) {
  return await(start(command, directory), directory);
}

}  // namespace holdfast::run::test
