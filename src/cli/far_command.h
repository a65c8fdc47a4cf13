// `holdfast far list|gc POOL`: what engines keep in a pool, and the removal of what dead ones left.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace holdfast::cli {

// As it was asked.
struct FarCommand {
  std::string pool;  // "POOL[/NAMESPACE][@CONF]"
  std::string user = "admin";
  std::vector<std::string> sessions;  // gc: these alone; empty: all that are dead
  bool json = false;
  CLI::App* list = nullptr;
  CLI::App* gc = nullptr;
};

// Defines the commands and their flags.
void declare(CLI::App& app, FarCommand& command);
// Does it; the exit status: 0, 1 where the pool cannot be reached or something could not be
// removed, 2.
[[nodiscard]] int run(const FarCommand& command);

}  // namespace holdfast::cli
