// The program of a run: found, started, and told what it must know.
#pragma once

#include <string>
#include <vector>

#include "base/base.h"

namespace holdfast::run {

// Where the shim is: the file asked for, or the one beside this executable or in its ../lib.
[[nodiscard]] std::string find_shim(const std::string& asked);

// Starts the command with the shim preloaded and `pager` ("NAME=value") in its environment. The
// process id; or minus the errno by which it could not be executed.
[[nodiscard]] int start_program(const std::vector<std::string>& command, const std::string& shim,
                                const std::string& pager);

// Whatever this process starts from now on, and what that starts, finds its memory at the same
// addresses every time. errno.
[[nodiscard]] int fix_addresses();

// Opens a userfaultfd that serves faults in system calls. errno.
[[nodiscard]] int open_userfault(int& descriptor);
// Whether one can be had, and tells of forks. errno.
[[nodiscard]] int userfault_refusal();

// Kills every descendant and reaps what is left of them, until there is none.
void kill_descendants();

}  // namespace holdfast::run
