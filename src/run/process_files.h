// What /proc tells of other processes: who descends from whom, how much memory each has, which of
// its mappings could be managed, and where its threads keep what the kernel writes to as they end.
//
// Task context; allocates. Processes come and go meanwhile: what has gone is left out.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "run/remote_memory.h"

namespace holdfast::run {

// The whole file; empty: it cannot be read.
[[nodiscard]] std::string file_contents(const std::string& path);

// The threads of a process.
[[nodiscard]] std::vector<int> threads_of(int pid);

// All descendants of a process, parents before children. Zombies are left out.
[[nodiscard]] std::vector<int> descendants(int pid);

// Whether the process is a child of that other, of any generation.
[[nodiscard]] bool descends_from(int pid, int ancestor);

// Resident anonymous pages, as the kernel counts them; 0: it has gone.
[[nodiscard]] std::uint64_t resident_pages(int pid);
// The same, a page that several processes share counted in parts: about 30 ns a page.
[[nodiscard]] std::uint64_t proportional_pages(int pid);

// What the process has mapped, and how much of it is resident, pages: cheap to ask.
struct MemoryCount {
  std::uint64_t mapped = 0;
  std::uint64_t writable = 0;  // private, stacks included
  std::uint64_t resident = 0;  // anonymous
  friend bool operator==(const MemoryCount&, const MemoryCount&) noexcept = default;
};
[[nodiscard]] MemoryCount memory_count(int pid);
// Page faults that were served without reading a file, so far: each copy made since a fork is one.
[[nodiscard]] std::uint64_t minor_faults(int pid);
// Whether a thread (or a whole process, by its id) is stopped, by a signal or a debugger.
[[nodiscard]] bool is_stopped(int thread);

// Whether a private, writable mapping of no file can be managed, by its name in /proc/PID/maps.
[[nodiscard]] bool is_manageable_name(std::string_view name);

// A private anonymous mapping that can be managed.
struct ManageableMapping {
  Range range;
  bool is_reserved = false;    // neither readable nor writable yet: parts of it will be
  bool follows_guard = false;  // right above one that is: so lie the stacks of threads
};
struct ManageableMappings {
  std::vector<ManageableMapping> all;  // in address order
  // Of the same kind, but not readable and writable as they stand, the reserved among them: no page
  // can be moved out of them. In address order.
  std::vector<Range> barred;
  Range main_stack;  // apart: it may be write-protected, and never leaves
};
[[nodiscard]] ManageableMappings manageable_mappings(int pid);

// Whether anything is mapped in the range: much sooner told than of what kind.
[[nodiscard]] bool is_mapped(int pid, Range range);

// A mapping that is registered with a userfaultfd.
struct RegisteredMapping {
  Range range;
  bool is_wiped = false;  // empty in the child of a fork (MADV_WIPEONFORK), and so in this one
};
// In address order; nothing: the process cannot be looked at, or has gone. About 30 ns a resident
// page.
[[nodiscard]] std::optional<std::vector<RegisteredMapping>> registered_mappings(int pid);

// The pages that the kernel writes to when a thread ends, at a moment when it can wait for nobody:
// thread ids and robust lists. Such a page must stay where it is. Sorted.
[[nodiscard]] std::vector<Address> thread_pages(int pid);

// The file that the process runs; empty: not known.
[[nodiscard]] std::string program_of(int pid);

}  // namespace holdfast::run
