// What /proc tells of other processes: who descends from whom, how much memory each has, which of
// its mappings could be managed, and where its threads keep what the kernel writes to as they end.
//
// Task context; allocates. Processes come and go meanwhile: what has gone is left out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run/remote_memory.h"

namespace holdfast::run {

// All descendants of a process, parents before children. Zombies are left out.
[[nodiscard]] std::vector<int> descendants(int pid);

// Whether the process is a child of that other, of any generation.
[[nodiscard]] bool descends_from(int pid, int ancestor);

// Resident anonymous pages, as the kernel counts them; 0: it has gone.
[[nodiscard]] std::uint64_t resident_pages(int pid);
// The same, a page that several processes share counted in parts: about 30 ns a page.
[[nodiscard]] std::uint64_t proportional_pages(int pid);

// The private anonymous mappings that can be read and written, stacks of main threads apart.
[[nodiscard]] std::vector<Range> manageable_mappings(int pid);

// A mapping that is not in the child of a fork what it is in its parent: it is empty there
// (MADV_WIPEONFORK), or is not there at all (MADV_DONTFORK).
struct Uninherited {
  Range range;
  bool is_absent = false;
};
// About 30 ns a resident page.
[[nodiscard]] std::vector<Uninherited> uninherited_mappings(int pid);

// The pages that the kernel writes to when a thread ends, at a moment when it can wait for nobody:
// thread ids and robust lists. Such a page must stay where it is. Sorted.
[[nodiscard]] std::vector<Address> thread_pages(int pid);

// The file that the process runs; empty: not known.
[[nodiscard]] std::string program_of(int pid);

}  // namespace holdfast::run
