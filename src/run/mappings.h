// The mappings of a process, each with what it is for and whether `holdfast run` would manage it.
//
// For people who look: what is managed in the end is decided by manageable_mappings()
// (process_files.h), which is asked a thousand times as often.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "run/remote_memory.h"

namespace holdfast::run {

enum class MappingKind : std::uint8_t {
  heap,          // [heap]: the program break
  arena,         // of malloc, for one thread or several
  thread_stack,  // of a thread that libc has started
  anonymous,     // any other private anonymous memory
  main_stack,    // [stack]
  read_only,     // anonymous, and not both readable and writable
  file,          // a file's, private or shared
  shared,        // shared memory of no file, System V or memfd
  special,       // the kernel's own: [vdso], [vvar]
  own,           // the shim's
};

struct Mapping {
  Range range;
  MappingKind kind = MappingKind::anonymous;
  std::string name;  // a file's path, a name that the program gave, a thread's; may be empty
  std::string permissions;
};

// In address order; neighbours of one kind and name are one. Empty: the process has gone, or may
// not be looked at.
[[nodiscard]] std::vector<Mapping> mappings_of(int pid);

// What /proc/PID/maps says, without the threads' stacks.
[[nodiscard]] std::vector<Mapping> parse_mappings(std::string_view maps);

[[nodiscard]] bool is_managed(MappingKind kind) noexcept;
[[nodiscard]] const char* name(MappingKind kind) noexcept;
// Why mappings of this kind are not managed; empty: they are.
[[nodiscard]] const char* why_not(MappingKind kind) noexcept;

}  // namespace holdfast::run
