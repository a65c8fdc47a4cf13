#include "run/process_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string_view>

namespace holdfast::run {
namespace {

std::string path_of(int pid, const char* file) {
  return "/proc/" + std::to_string(pid) + "/" + file;
}

struct CloseDirectory {
  void operator()(DIR* directory) const noexcept { ::closedir(directory); }
};

void add_children(int pid, std::vector<int>& all) {
  for (const int thread : threads_of(pid)) {
    const std::string text =
        file_contents(path_of(pid, "task/") + std::to_string(thread) + "/children");
    const char* at = text.c_str();
    for (;;) {
      char* end = nullptr;
      const long child = std::strtol(at, &end, 10);
      if (end == at) break;
      at = end;
      all.push_back(static_cast<int>(child));
    }
  }
}

std::uint64_t hexadecimal(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::string_view word(std::string_view& text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  const std::size_t length = std::min(text.find(' '), text.size());
  const std::string_view found = text.substr(0, length);
  text.remove_prefix(length);
  return found;
}

// "start-end perms offset device inode   name": adds the mapping if it can be managed.
void add_mapping(std::string_view line, ManageableMappings& mappings) {
  ManageableMapping mapping;
  mapping.range.start = hexadecimal(line);
  if (line.empty()) return;
  line.remove_prefix(1);
  mapping.range.end = hexadecimal(line);
  const std::string_view permissions = word(line);
  mapping.is_reserved = permissions == "---p";
  const bool is_open = permissions == "rw-p";
  if (!permissions.ends_with('p')) return;
  word(line);
  word(line);
  if (word(line) != "0") return;
  const std::string_view name = word(line);
  if (!is_open && is_manageable_name(name)) mappings.barred.push_back(mapping.range);
  if (!is_open && !mapping.is_reserved) return;
  if (name == "[stack]") mappings.main_stack = mapping.range;
  if (!is_manageable_name(name)) return;
  mapping.follows_guard = !mapping.is_reserved && !mappings.all.empty() &&
                          mappings.all.back().is_reserved &&
                          mappings.all.back().range.end == mapping.range.start;
  mappings.all.push_back(mapping);
}

// The fields of /proc/PID/stat after the name, which may hold anything.
std::string stat_fields(int pid) {
  const std::string text = file_contents(path_of(pid, "stat"));
  const std::size_t name_end = text.rfind(')');
  return name_end == std::string::npos ? std::string() : text.substr(name_end + 1);
}

}  // namespace

std::string file_contents(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return {};
  std::string text;
  std::size_t length = 0;
  for (;;) {
    text.resize(length + 16384);
    const ssize_t got = ::read(file, text.data() + length, text.size() - length);
    if (got <= 0) break;
    length += static_cast<std::size_t>(got);
  }
  ::close(file);
  text.resize(length);
  return text;
}

std::vector<int> threads_of(int pid) {
  std::vector<int> threads;
  const std::unique_ptr<DIR, CloseDirectory> directory(::opendir(path_of(pid, "task").c_str()));
  while (directory != nullptr) {
    const dirent* const entry = ::readdir(directory.get());
    if (entry == nullptr) break;
    const int thread = std::atoi(entry->d_name);
    if (thread > 0) threads.push_back(thread);
  }
  return threads;
}

bool is_manageable_name(std::string_view name) {
  return name.empty() || name == "[heap]" || name.starts_with("[anon:");
}

std::vector<int> descendants(int pid) {
  std::vector<int> all{pid};
  for (std::size_t i = 0; i < all.size(); ++i) add_children(all[i], all);
  all.erase(all.begin());
  return all;
}

bool descends_from(int pid, int ancestor) {
  constexpr int kGenerationsMax = 1000;
  for (int i = 0; i < kGenerationsMax && pid > 1; ++i) {
    int parent = 0;
    if (std::sscanf(stat_fields(pid).c_str(), " %*c %d", &parent) != 1) return false;
    if (parent == ancestor) return true;
    pid = parent;
  }
  return false;
}

MemoryCount memory_count(int pid) {
  const std::string text = file_contents(path_of(pid, "statm"));
  unsigned long long size = 0;
  unsigned long long resident = 0;
  unsigned long long shared = 0;
  unsigned long long data = 0;
  if (std::sscanf(text.c_str(), "%llu %llu %llu %*u %*u %llu", &size, &resident, &shared, &data) !=
      4) {
    return {};
  }
  return {.mapped = size, .writable = data, .resident = resident > shared ? resident - shared : 0};
}

std::uint64_t resident_pages(int pid) { return memory_count(pid).resident; }

std::uint64_t minor_faults(int pid) {
  unsigned long long faults = 0;
  const std::string fields = stat_fields(pid);
  const int found = std::sscanf(fields.c_str(), " %*c %*d %*d %*d %*d %*d %*u %llu", &faults);
  return found == 1 ? faults : 0;
}

bool is_stopped(int thread) {
  char state = 0;
  if (std::sscanf(stat_fields(thread).c_str(), " %c", &state) != 1) return false;
  return state == 'T' || state == 't';
}

std::uint64_t proportional_pages(int pid) {
  const std::string text = file_contents(path_of(pid, "smaps_rollup"));
  const std::size_t at = text.find("\nPss_Anon:");
  unsigned long long kib = 0;
  if (at == std::string::npos || std::sscanf(text.c_str() + at, "\nPss_Anon: %llu", &kib) != 1) {
    return 0;
  }
  return kib * 1024 / kPageSize;
}

ManageableMappings manageable_mappings(int pid) {
  ManageableMappings mappings;
  const std::string text = file_contents(path_of(pid, "maps"));
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    add_mapping(rest.substr(0, end), mappings);
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return mappings;
}

bool is_mapped(int pid, Range range) {
  const std::string text = file_contents(path_of(pid, "maps"));
  std::string_view rest = text;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const Address start = hexadecimal(line);
    if (!line.empty()) line.remove_prefix(1);
    if (start < range.end && hexadecimal(line) > range.start) return true;
  }
  return false;
}

std::optional<std::vector<RegisteredMapping>> registered_mappings(int pid) {
  constexpr std::string_view kFlags = "VmFlags:";
  std::vector<RegisteredMapping> found;
  const std::string text = file_contents(path_of(pid, "smaps"));
  if (text.empty()) return std::nullopt;
  std::string_view rest = text;
  Range range;
  while (!rest.empty()) {
    const std::size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    const auto has = [&](std::string_view flag) {
      return line.find(flag) != std::string_view::npos;
    };
    if (line.starts_with(kFlags)) {
      if (has(" um") || has(" uw")) found.push_back({.range = range, .is_wiped = has(" wf")});
    } else if (line.find(':') >
               line.find(' ')) {  // a mapping; what is told of it has its colon first
      range.start = hexadecimal(line);
      if (!line.empty()) line.remove_prefix(1);
      range.end = hexadecimal(line);
    }
  }
  return found;
}

std::vector<Address> thread_pages(int pid) {
  constexpr Address kAround = 256;  // the thread's id stands this close to its robust list
  std::vector<Address> pages;
  for (const int thread : threads_of(pid)) {
    std::uintptr_t head = 0;
    std::size_t length = 0;
    if (::syscall(SYS_get_robust_list, thread, &head, &length) != 0 || head == 0) continue;
    pages.push_back((head - kAround) & ~(kPageSize - 1));
    pages.push_back(head & ~(kPageSize - 1));
    pages.push_back((head + kAround) & ~(kPageSize - 1));
  }
  std::ranges::sort(pages);
  return pages;
}

std::string program_of(int pid) {
  std::string path(4096, '\0');
  const ssize_t length = ::readlink(path_of(pid, "exe").c_str(), path.data(), path.size());
  path.resize(length < 0 ? 0 : static_cast<std::size_t>(length));
  return path;
}

}  // namespace holdfast::run
