// Programs that the benchmark runs through the shell, and what they say.
#pragma once

#include <string>

namespace holdfast::bench {

struct Said {
  int status = -1;   // as waitpid() gives it; 0: it went well
  std::string text;  // its standard output
};

// Waits for the command. Not to be used where the program must end at once on a signal: a command
// that runs is waited for.
[[nodiscard]] Said run_command(const std::string& command);

}  // namespace holdfast::bench
