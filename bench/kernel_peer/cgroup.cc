#include "kernel_peer/cgroup.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <sstream>

#include "kernel_peer/text_file.h"

namespace holdfast::bench {
namespace {

enum class Version : unsigned char { one, two };

struct Hierarchy {
  Version version;
  std::string mount;
};

bool has_word(const std::string& list, const std::string& word, char separator) {
  std::istringstream words(list);
  for (std::string one; std::getline(words, one, separator);) {
    if (one == word) return true;
  }
  return false;
}

// Where the memory controller is: a v1 mount with the option "memory", or a v2 mount that offers it
// to its children.
Result<Hierarchy> find_hierarchy() {
  const auto mounts = read_text("/proc/self/mounts");
  if (!mounts) return std::unexpected(mounts.error());
  std::istringstream lines(*mounts);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string device, mount, type, options;
    fields >> device >> mount >> type >> options;
    if (type == "cgroup" && has_word(options, "memory", ',')) {
      return Hierarchy{Version::one, mount};
    }
    if (type != "cgroup2") continue;
    const auto offered = read_text(mount + "/cgroup.subtree_control");
    if (offered && has_word(*offered, "memory", ' ')) return Hierarchy{Version::two, mount};
  }
  return skip("no memory cgroup controller is mounted");
}

}  // namespace

Result<std::unique_ptr<MemoryCgroup>> MemoryCgroup::create(std::uint64_t limit_bytes) {
  const auto hierarchy = find_hierarchy();
  if (!hierarchy) return std::unexpected(hierarchy.error());
  const bool first = hierarchy->version == Version::one;
  const std::string directory = fmt::format("{}/holdfast-bench-{}", hierarchy->mount, getpid());
  if (mkdir(directory.c_str(), 0755) != 0) return system_trouble("mkdir " + directory);

  const std::string limit_name = first ? "memory.limit_in_bytes" : "memory.max";
  std::string description =
      fmt::format("cgroup v{}, {} {}", first ? 1 : 2, limit_name, limit_bytes);
  if (first) description += ", swappiness 100";
  std::unique_ptr<MemoryCgroup> made(new MemoryCgroup(directory, description));
  if (auto set = write_text(directory + "/" + limit_name, std::to_string(limit_bytes)); !set) {
    return std::unexpected(set.error());
  }
  if (first) {
    if (auto set = write_text(directory + "/memory.swappiness", "100"); !set) {
      return std::unexpected(set.error());
    }
  }
  return made;
}

MemoryCgroup::~MemoryCgroup() {
  if (rmdir(directory_.c_str()) != 0) std::perror(("rmdir " + directory_).c_str());
}

Result<void> MemoryCgroup::add(pid_t process) {
  return write_text(directory_ + "/cgroup.procs", std::to_string(process));
}

std::uint64_t MemoryCgroup::oom_kills() const {
  for (const char* const file : {"/memory.oom_control", "/memory.events"}) {  // v1, v2
    const auto text = read_text(directory_ + file);
    std::istringstream words(text.value_or(""));
    for (std::string word; words >> word;) {
      std::uint64_t count = 0;
      if (word == "oom_kill" && words >> count) return count;
    }
  }
  return 0;
}

}  // namespace holdfast::bench
