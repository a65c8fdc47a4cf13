// `holdfast image list POOL` and `holdfast image rm NAME`: images in a pool of Ceph. Files have ls
// and rm.
#pragma once

#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace holdfast::cli {

struct ImagePoolCommand {
  CLI::App* list = nullptr;
  CLI::App* remove = nullptr;
  std::string pool;
  std::string user = "admin";
  std::vector<std::string> names;
  bool json = false;
  bool force = false;
};

// Adds both to `holdfast image`.
void declare(CLI::App& app, ImagePoolCommand& command);
// Exit status: 0, 1 the answer is no, 2 wrong usage.
[[nodiscard]] int run(const ImagePoolCommand& command);

}  // namespace holdfast::cli
