#include "command.h"

#include <cstdio>

namespace holdfast::bench {

Said run_command(const std::string& command) {
  Said said;
  std::FILE* const pipe = popen(command.c_str(), "re");
  if (pipe == nullptr) return said;
  char buffer[4096];
  for (std::size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) {
    said.text.append(buffer, got);
  }
  said.status = pclose(pipe);
  return said;
}

}  // namespace holdfast::bench
