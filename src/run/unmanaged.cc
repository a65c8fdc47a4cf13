#include "run/unmanaged.h"

#include <cstdio>
#include <filesystem>

#include "run/process_files.h"
#include "run/program_file.h"

namespace holdfast::run {
namespace {

uid_t user_of(int pid) {
  const std::string text = file_contents("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = text.find("\nUid:");
  unsigned user = 0;
  if (at != std::string::npos) std::sscanf(text.c_str() + at, "\nUid: %u", &user);
  return user;
}

}  // namespace

// Empty: none that can be told.
std::string Unmanaged::reason(int pid, const std::string& program) const {
  const std::string file = "/proc/" + std::to_string(pid) + "/exe";
  const ProgramFile inspected = inspect_program(file, user_of(pid));
  if (const std::string why = why_unmanaged(inspected.preload); !why.empty()) return why;
  // Of a `holdfast run` inside this one the pager has no pager, and its programs have another.
  if (program.ends_with("/holdfast")) return "";
  const std::string environment = '\0' + file_contents("/proc/" + std::to_string(pid) + "/environ");
  const std::string variable = pager_.substr(0, pager_.find('=') + 1);
  if (environment.find('\0' + variable) != std::string::npos) return "";
  // What has gone meanwhile has no environment either.
  return program_of(pid) == program ? "it was started without the environment that holdfast had set"
                                    : "";
}

void Unmanaged::tell(const std::string& program, const std::string& who, const std::string& why) {
  told_.insert(program);
  machine_.print_line(
      ("holdfast: " + who + " runs unmanaged: " + why + "; its memory counts for the budget")
          .c_str());
}

void Unmanaged::look_ahead(const std::string& command) {
  const ProgramFile program = follow_interpreter(find_program(command));
  const std::string why = why_unmanaged(program.preload);
  if (why.empty()) return;
  std::error_code error;
  const std::string path = std::filesystem::canonical(program.path, error).string();
  tell(error ? program.path : path, program.path, why);
}

void Unmanaged::look(const std::vector<int>& tree, Registry& registry) {
  std::set<int> managed;
  for (const Registry::Use& client : registry.all()) managed.insert(client->pid());
  std::map<int, std::string> now;
  for (const int pid : tree) {
    if (managed.contains(pid)) continue;
    const std::string program = program_of(pid);
    if (program.empty() || told_.contains(program)) continue;
    const auto before = seen_.find(pid);
    if (before != seen_.end() && before->second == program) {
      now.emplace(pid, program);
      const std::string why = reason(pid, program);
      if (why.empty()) continue;
      tell(program, program + " (" + std::to_string(pid) + ")", why);
    } else {
      now.emplace(pid, program);
    }
  }
  seen_ = std::move(now);
}

}  // namespace holdfast::run
