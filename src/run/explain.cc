// `holdfast run --explain`: what would be managed, and why not.
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "run/mappings.h"
#include "run/memory_map.h"
#include "run/needs.h"
#include "run/process_files.h"
#include "run/program_file.h"
#include "run/run.h"
#include "run/text.h"
#include "run/tiers.h"

namespace holdfast::run {
namespace {

void line(const char* key, const std::string& text) {
  std::fputs(fmt::format("{:<12} {}\n", key, text).c_str(), stdout);
}

std::string linkage(const ProgramFile& program) {
  switch (program.preload) {
    case Preload::works:
      return program.loader.empty() ? "a program that may not be read"
                                    : "dynamically linked, by " + program.loader;
    case Preload::script:
      return "a script for " + program.interpreter +
             (program.argument.empty() ? "" : " " + program.argument);
    case Preload::static_linked:
      return "statically linked";
    case Preload::set_user:
      return "set-uid, set-gid, or with capabilities";
    case Preload::other_machine:
      return "not for 64-bit x86";
    case Preload::not_a_program:
      return "no program and no script";
    case Preload::not_executable:
      return "may not be executed";
    case Preload::not_found:
      return "not found";
  }
  return {};
}

std::string preloaded() {
  const char* const preload = std::getenv("LD_PRELOAD");
  return preload == nullptr || *preload == '\0'
             ? "LD_PRELOAD is free"
             : std::string("LD_PRELOAD has ") + preload + ", which stays, behind ours";
}

std::string tier_text(const swap::TierOptions& tier) {
  if (tier.kind == swap::TierKind::ram) {
    const char* const how = tier.compression == swap::Compression::zstd ? "zstd" : "lz4";
    return fmt::format("compressed memory ({}{})", how,
                       tier.limit_bytes == 0 ? "" : ", at most " + bytes_text(tier.limit_bytes));
  }
  if (tier.kind == swap::TierKind::rados) {
    return fmt::format(
        "far memory (pool {}{} of the cluster of {}, as user {})", tier.far.pool,
        tier.far.name_space.empty() ? "" : ", namespace " + tier.far.name_space,
        tier.far.configuration.empty() ? "/etc/ceph/ceph.conf" : tier.far.configuration,
        tier.far.user);
  }
  struct statvfs room{};
  const bool known = ::statvfs(tier.directory.c_str(), &room) == 0;
  return fmt::format("a file in {} ({}{})", tier.directory,
                     known ? bytes_text(room.f_bavail * room.f_frsize) + " free there"
                           : std::string(std::strerror(errno)),
                     tier.limit_bytes == 0 ? "" : ", at most " + bytes_text(tier.limit_bytes));
}

void explain_budget(const RunOptions& options) {
  if (options.memory_bytes == 0) {
    return line("memory", "no --memory: no budget to judge");
  }
  const std::uint64_t machine = sys::real_machine().memory_bytes();
  line("memory",
       fmt::format("{} for all its processes, compressed pages included; this machine has {}",
                   bytes_text(options.memory_bytes), bytes_text(machine)));
  const char* key = "swap";
  for (const swap::TierOptions& tier : tiers_or_default(options)) {
    line(key, tier_text(tier));
    key = "  then";
  }
}

// What run() would say, and do, instead of running it.
int refused(const RunOptions& options, const ProgramFile& program) {
  if (program.preload == Preload::not_found) return kExitNotFound;
  if (program.preload == Preload::not_executable) return kExitNotExecutable;
  if (options.memory_bytes != 0 && options.memory_bytes < Budget::kLeast) {
    line("refused", fmt::format("--memory {} is too small to run anything in: give at least {}",
                                bytes_text(options.memory_bytes), bytes_text(Budget::kLeast)));
    return kExitUsage;
  }
  const std::string why = refusal(probe_needs(options.shim));
  if (why.empty()) return 0;
  line("refused", why);
  return kExitUsage;
}

struct Group {
  std::uint64_t mappings = 0;
  std::uint64_t bytes = 0;
  std::uint64_t resident_pages = 0;
};

std::map<MappingKind, Group> group(int pid, const std::vector<Mapping>& mappings) {
  std::map<MappingKind, Group> groups;
  for (const Mapping& mapping : mappings) {
    Group& one = groups[mapping.kind];
    ++one.mappings;
    one.bytes += mapping.range.bytes();
    one.resident_pages += resident_in(pid, mapping.range);
  }
  return groups;
}

}  // namespace

int explain(const RunOptions& options) {
  const ProgramFile asked = find_program(options.command.front());
  line("program", asked.path + ": " + linkage(asked));
  const ProgramFile program = follow_interpreter(asked);
  if (asked.preload == Preload::script) line("  runs", program.path + ": " + linkage(program));
  line("environment", preloaded());
  const Needs needs = probe_needs(options.shim);
  line("shim", needs.shim.empty() ? "not there" : needs.shim);
  line("kernel", needs.met() ? "userfaultfd with events, UFFDIO_MOVE, PAGEMAP_SCAN: all there"
                             : "something is missing; `holdfast doctor` lists what");
  explain_budget(options);
  if (const int exit = refused(options, program); exit != 0) return exit;
  const std::string why = why_unmanaged(program.preload);
  if (!why.empty()) {
    line("unmanaged", why);
    line("", "its memory counts for the budget, and what it starts may be managed");
    return 1;
  }
  line("managed", "heap, malloc arenas, anonymous mappings, thread stacks, of it and its children");
  line("not managed", "files and shared memory, the main thread's stack, locked pages, and");
  line("", "programs among its children that are statically linked or set-uid");
  return 0;
}

int explain_process(int pid) {
  const std::vector<Mapping> mappings = mappings_of(pid);
  if (mappings.empty()) {
    const bool is_there = ::access(("/proc/" + std::to_string(pid)).c_str(), F_OK) == 0;
    std::fprintf(stderr, "holdfast: run: --pid %d: %s\n", pid,
                 is_there ? "its mappings cannot be read: run as its user, or as root"
                          : "there is no such process");
    return 1;
  }
  const std::string path = program_of(pid);
  line("process", fmt::format("{}: {}", pid, path));
  const ProgramFile file = inspect_program("/proc/" + std::to_string(pid) + "/exe", ::getuid());
  line("program", linkage(file));
  std::fputs(fmt::format("\n{:<24} {:>8} {:>10} {:>10}  {}\n", "mappings", "number", "size",
                         "resident", "managed")
                 .c_str(),
             stdout);
  for (const auto& [kind, one] : group(pid, mappings)) {
    std::fputs(fmt::format("{:<24} {:>8} {:>10} {:>10}  {}\n", name(kind), one.mappings,
                           bytes_text(one.bytes), bytes_text(one.resident_pages * kPageSize),
                           is_managed(kind) ? "yes" : std::string("no: ") + why_not(kind))
                   .c_str(),
               stdout);
  }
  const std::string why = why_unmanaged(file.preload);
  if (!why.empty()) line("\nunmanaged", "as a whole: " + why);
  return why.empty() ? 0 : 1;
}

}  // namespace holdfast::run
