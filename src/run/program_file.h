// Whether a library can be preloaded into a program, by what its file is.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace holdfast::run {

enum class Preload : std::uint8_t {
  works,
  script,         // what runs is its interpreter
  static_linked,  // nothing loads libraries into it
  set_user,       // it gets privileges: the loader ignores what others preload
  other_machine,  // not 64-bit x86
  not_a_program,
  not_executable,
  not_found,
};

struct ProgramFile {
  std::string path;  // as it would be executed; what was asked for, if it is not found
  Preload preload = Preload::not_found;
  std::string loader = {};       // of a dynamically linked program
  std::string interpreter = {};  // of a script, and the argument that its first line gives
  std::string argument = {};
};

// As execvp() would find it: a name with no slash is looked for in $PATH.
[[nodiscard]] ProgramFile find_program(const std::string& name);
// `user`: the real user id of whoever runs it.
[[nodiscard]] ProgramFile inspect_program(const std::string& path, uid_t user);

// As a recording of its run knows it: links and folders resolved.
[[nodiscard]] std::string recorded_program(const std::string& name);

// The program that runs in the end: of a script, its interpreter, or what `env` runs.
[[nodiscard]] ProgramFile follow_interpreter(ProgramFile program);

// Why it runs unmanaged; empty: it need not.
[[nodiscard]] const char* why_unmanaged(Preload preload) noexcept;

}  // namespace holdfast::run
