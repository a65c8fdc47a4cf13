// `holdfast run`: any program, with all that it starts, under a memory budget.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace holdfast::cli {

// As it was asked.
struct RunCommand {
  std::string memory;
  std::vector<std::string> swap;  // "ram", "ram:zstd", "file:DIR", "file:DIR:SIZE", "rados:POOL"
  std::string limit_compressed;   // of the first compressed-RAM tier
  unsigned swap_full_wait_seconds = 10;
  unsigned far_wait_seconds = 60;
  std::string far_user = "admin";
  bool encrypt_swap = false;
  std::string shim;
  std::string report;
  std::string record;
  std::string replay;
  bool quiet = false;
  bool explain = false;
  int pid = 0;  // to be explained; 0: none
  std::vector<std::string> command;
};

// Defines the command's flags.
void declare(CLI::App& app, RunCommand& command);
// Does it; the exit status.
[[nodiscard]] int run(const RunCommand& command);

}  // namespace holdfast::cli
