#include "run/mappings.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>

#include "run/process_files.h"

namespace holdfast::run {
namespace {

constexpr Address kArenaBytes = Address{64} << 20;  // glibc's HEAP_MAX_SIZE, and their alignment

struct KindText {
  const char* name;
  const char* why_not;
};
constexpr std::array<KindText, 10> kKinds{{
    {"heap", ""},
    {"malloc arena", ""},
    {"thread stack", ""},
    {"anonymous", ""},
    {"main stack", "the kernel grows it by itself, and a signal may need it at any time"},
    {"anonymous, not writable", "reserved, a guard, or code"},
    {"file", "the kernel drops and reads such pages by itself"},
    {"shared memory", "not private: others may have it mapped too"},
    {"kernel", "the kernel's own"},
    {"holdfast's own", "the shim and its helper live there"},
}};

std::uint64_t hexadecimal(std::string_view& text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, 16);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

std::string_view word(std::string_view& text) {
  text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
  const std::string_view found = text.substr(0, text.find(' '));
  text.remove_prefix(found.size());
  return found;
}

MappingKind kind_of(std::string_view permissions, bool has_file, std::string_view name) {
  if (permissions.size() > 3 && permissions[3] == 's') {
    const bool no_file = !has_file || name.starts_with("/memfd:") || name.starts_with("/SYSV") ||
                         name.starts_with("/dev/zero");
    return no_file ? MappingKind::shared : MappingKind::file;
  }
  if (has_file) return MappingKind::file;
  if (name == "[stack]") return MappingKind::main_stack;
  if (!is_manageable_name(name)) return MappingKind::special;
  if (permissions != "rw-p") return MappingKind::read_only;
  return name == "[heap]" ? MappingKind::heap : MappingKind::anonymous;
}

// "start-end permissions offset device inode   name"
Mapping parse_line(std::string_view line) {
  Mapping mapping;
  mapping.range.start = hexadecimal(line);
  if (!line.empty()) line.remove_prefix(1);
  mapping.range.end = hexadecimal(line);
  mapping.permissions = word(line);
  word(line);
  word(line);
  const bool has_file = word(line) != "0";
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  mapping.kind = kind_of(mapping.permissions, has_file, line);
  if (line.starts_with("[anon:") && line.ends_with("]")) {
    mapping.name = line.substr(6, line.size() - 7);
  } else if (!line.starts_with("[")) {
    mapping.name = line;
  }
  return mapping;
}

bool joins(const Mapping& one, const Mapping& next) {
  return one.range.end == next.range.start && one.kind == next.kind && one.name == next.name;
}

void join_neighbours(std::vector<Mapping>& all) {
  std::vector<Mapping> joined;
  for (Mapping& next : all) {
    if (!joined.empty() && joins(joined.back(), next)) {
      joined.back().range.end = next.range.end;
    } else {
      joined.push_back(std::move(next));
    }
  }
  all = std::move(joined);
}

// Where malloc has an arena: 64 MiB, aligned to as much, of which the front can be written.
void tell_arenas(std::vector<Mapping>& all) {
  for (std::size_t i = 0; i < all.size(); ++i) {
    Mapping& mapping = all[i];
    const Address start = mapping.range.start;
    if (mapping.kind != MappingKind::anonymous || start % kArenaBytes != 0) continue;
    if (!mapping.name.empty() && !mapping.name.starts_with("glibc: malloc arena")) continue;
    const Range rest = i + 1 < all.size() ? all[i + 1].range : Range{};
    const bool reserved = rest.start == mapping.range.end && rest.end == start + kArenaBytes &&
                          all[i + 1].permissions == "---p";
    if (reserved || mapping.range.bytes() == kArenaBytes) mapping.kind = MappingKind::arena;
  }
}

Mapping* find(std::vector<Mapping>& all, Address address) {
  const auto after = std::ranges::upper_bound(
      all, address, {}, [](const Mapping& mapping) { return mapping.range.start; });
  if (after == all.begin()) return nullptr;
  Mapping& mapping = *std::prev(after);
  return address < mapping.range.end ? &mapping : nullptr;
}

// libc keeps a thread's own data, and its robust list in that, on top of the thread's stack.
void tell_thread_stacks(int pid, std::vector<Mapping>& all) {
  for (const int thread : threads_of(pid)) {
    std::uintptr_t head = 0;
    std::size_t length = 0;
    if (thread == pid || ::syscall(SYS_get_robust_list, thread, &head, &length) != 0) continue;
    Mapping* const mapping = find(all, head);
    if (mapping == nullptr || mapping->kind != MappingKind::anonymous) continue;
    mapping->kind = MappingKind::thread_stack;
    std::string comm =
        file_contents("/proc/" + std::to_string(pid) + "/task/" + std::to_string(thread) + "/comm");
    if (comm.ends_with('\n')) comm.pop_back();
    mapping->name = comm;
  }
}

}  // namespace

bool is_managed(MappingKind kind) noexcept { return *why_not(kind) == '\0'; }

const char* name(MappingKind kind) noexcept { return kKinds[static_cast<std::size_t>(kind)].name; }

const char* why_not(MappingKind kind) noexcept {
  return kKinds[static_cast<std::size_t>(kind)].why_not;
}

std::vector<Mapping> parse_mappings(std::string_view maps) {
  std::vector<Mapping> all;
  while (!maps.empty()) {
    const std::size_t end = std::min(maps.find('\n'), maps.size());
    all.push_back(parse_line(maps.substr(0, end)));
    maps.remove_prefix(std::min(end + 1, maps.size()));
  }
  tell_arenas(all);
  return all;
}

std::vector<Mapping> mappings_of(int pid) {
  std::vector<Mapping> all =
      parse_mappings(file_contents("/proc/" + std::to_string(pid) + "/maps"));
  tell_thread_stacks(pid, all);
  join_neighbours(all);
  return all;
}

}  // namespace holdfast::run
