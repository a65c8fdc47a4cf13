#include "sys/real/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "sys/real/text_file.h"

namespace holdfast::sys::real {
namespace {

// The limit in one file; kNoLimit for "max", for v1's huge number, and if there is no such file.
std::uint64_t limit_in(const std::string& path) {
  const auto text = read_text(path);
  if (!text) return kNoLimit;
  return parse_number(*text).value_or(kNoLimit);
}

// The least limit in `group` and the groups above it, up to `root`.
std::uint64_t least_limit(const std::string& root, std::string group, const char* file) {
  std::uint64_t least = limit_in(root + "/" + file);
  while (group.size() > 1) {
    least = std::min(least, limit_in(root + group + "/" + file));
    group.resize(group.rfind('/'));
  }
  return least;
}

// One line of /proc/self/cgroup: "number:controllers:/group".
struct Membership {
  std::string controllers;
  std::string group;
};

bool parse(const std::string& line, Membership& membership) {
  const std::size_t first = line.find(':');
  const std::size_t second = first == std::string::npos ? first : line.find(':', first + 1);
  if (second == std::string::npos || second + 1 >= line.size() || line[second + 1] != '/') {
    return false;
  }
  membership.controllers = line.substr(first + 1, second - first - 1);
  membership.group = line.substr(second + 1);
  return true;
}

bool has_memory(const std::string& controllers) {
  return ("," + controllers + ",").find(",memory,") != std::string::npos;
}

}  // namespace

std::uint64_t cgroup_memory_limit(const std::string& membership, const std::string& mount) {
  std::uint64_t least = kNoLimit;
  std::istringstream lines(membership);
  for (std::string line; std::getline(lines, line);) {
    Membership m;
    if (!parse(line, m)) continue;
    if (m.controllers.empty()) {
      // v2, alone or (with v1 beside it) under "unified".
      least = std::min(least, least_limit(mount, m.group, "memory.max"));
      least = std::min(least, least_limit(mount + "/unified", m.group, "memory.max"));
    } else if (has_memory(m.controllers)) {
      least = std::min(least, least_limit(mount + "/memory", m.group, "memory.limit_in_bytes"));
    }
  }
  return least;
}

std::uint64_t cgroup_memory_limit() {
  const auto membership = read_text("/proc/self/cgroup");
  return membership ? cgroup_memory_limit(*membership, "/sys/fs/cgroup") : kNoLimit;
}

std::uint64_t physical_memory_bytes() noexcept {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGE_SIZE);
  return pages > 0 && page_bytes > 0
             ? static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes)
             : 0;
}

}  // namespace holdfast::sys::real
