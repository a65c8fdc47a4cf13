#include "running/programs.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string_view>

#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGiB = 1 << 30;

std::string find_in_path(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

// --- run/sort ---

constexpr std::size_t kLineBytes = 1024;
constexpr std::array<std::string_view, 32> kWords = {
    "page",   "frame",  "owner",   "holder", "count",   "reference", "list",   "cache",
    "swap",   "slot",   "window",  "fault",  "handler", "thread",    "signal", "lock",
    "region", "table",  "entry",   "clone",  "copy",    "write",     "read",   "evict",
    "store",  "rescue", "address", "budget", "memory",  "kernel",    "device", "buffer"};

void write_line(char* line, Random& random) {
  const std::string key = fmt::format("{:016x} ", random.next());
  std::size_t at = key.copy(line, key.size());
  while (at < kLineBytes - 1) {
    const std::string_view word = kWords[random.below(kWords.size())];
    at += word.copy(line + at, kLineBytes - 1 - at);
    if (at < kLineBytes - 1) line[at++] = ' ';
  }
  line[at] = '\n';
}

Result<ProgramCommand> sort_command(const Run& run, Medium) {
  const std::string sort = find_in_path("sort");
  if (sort.empty()) return skip("no sort (Debian package coreutils)");
  auto lines = random_lines(run.scaled(kGiB));
  if (!lines) return std::unexpected(lines.error());
  return ProgramCommand{.words = {"env", "LC_ALL=C", sort, "-S", "2G"}, .input = *lines};
}

// --- run/numpy ---

// Rows are sorted one by one: an argsort of the whole array at once goes through it at random for
// each of its 2^27 elements, and takes hours on both sides.
constexpr std::string_view kArrayProgram = R"(
import sys, numpy
rows, columns = int(sys.argv[1]), 1024
numbers = numpy.random.default_rng(5).integers(0, 1 << 16, size=(rows, columns))
places = numpy.arange(columns)
check = 0
for first in range(0, rows, 1024):
    order = numpy.argsort(numbers[first:first + 1024], axis=1)
    check = (check * 31 + int((order * places).sum())) % (1 << 61)
print(numbers.nbytes, check, numbers.sum())
)";

Result<ProgramCommand> numpy_command(const Run& run, Medium) {
  const std::uint64_t rows = run.scaled(kGiB) / 1024 / 8;
  for (const std::string& python : {std::string("/usr/bin/python3"), find_in_path("python3")}) {
    ProgramCommand command{.words = {python, "-c", "import numpy"}};
    const auto tried = run_timed(command);
    if (!tried) return std::unexpected(tried.error());
    if (!tried->succeeded()) continue;
    command.words = {python, "-c", std::string(kArrayProgram), std::to_string(rows)};
    return command;
  }
  return skip("no python3 with numpy (Debian package python3-numpy)");
}

// --- run/sqlite ---

constexpr std::uint64_t kRowBytes = 512;  // about: with what sqlite3 keeps of each

// The indexes are sorted in memory as well; without that pragma, in files of /var/tmp.
constexpr const char* kTablesProgram = R"(
PRAGMA temp_store = MEMORY;
CREATE TABLE text(line TEXT);
INSERT INTO text VALUES('whoever holds a page holds a reference of its own, so an owner can free its page at any time, from any context, and never meets a lock. the machine itself is just one more holder, which frees its share later, lazily, when nobody waits for it. what was evicted comes back when it is touched, and what has changed is told by its hash. nothing is lost when a device fails: the page stays, the slot is retired, and the next tier is tried. with no tier left, new memory is refused first, and whoever asks is told why, in one line, with the numbers that matter to somebody who has to decide.');
CREATE TABLE shop(id INTEGER PRIMARY KEY, city INTEGER);
CREATE TABLE item(id INTEGER PRIMARY KEY, shop INTEGER, price INTEGER, name TEXT, about TEXT);
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 4999)
INSERT INTO shop SELECT i, i * 7919 % 100 FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {0} - 1)
INSERT INTO item SELECT i, (i * 2654435761 >> 7) % 5000, i * 40503 % 99991,
  printf('%08x', i * 2246822519 & 4294967295),
  printf('%08x%08x ', i * 2654435761 & 4294967295, i * 3266489917 & 4294967295) || substr(line, i * 613 % 150, 400)
  FROM n, text;
CREATE INDEX by_shop ON item(shop);
CREATE INDEX by_name ON item(name);
SELECT count(*), sum(length(about)) FROM item;
SELECT city, count(*), sum(price), min(about) FROM shop JOIN item ON item.shop = shop.id
  WHERE city < 5 GROUP BY city;
SELECT count(*), sum(b.price) FROM item a JOIN item b
  ON b.name = printf('%08x', (a.id * 40503 % {0}) * 2246822519 & 4294967295) WHERE a.shop < 100;
)";

Result<ProgramCommand> sqlite_command(const Run& run, Medium) {
  const std::string sqlite = find_in_path("sqlite3");
  if (sqlite.empty()) return skip("no sqlite3 (Debian package sqlite3)");
  const std::uint64_t rows = run.scaled(kGiB) / kRowBytes;
  return ProgramCommand{
      .words = {sqlite, ":memory:", fmt::format(fmt::runtime(kTablesProgram), rows)}};
}

// --- run/random ---

constexpr std::uint64_t kSteps = 500'000;
constexpr std::uint64_t kStepsFile = 100'000;  // a disk takes ten times as long for one

Result<ProgramCommand> chase_command(const Run& run, Medium medium) {
  const auto chase = built_program("holdfast-bench-chase");
  if (!chase) return std::unexpected(chase.error());
  const std::uint64_t steps = run.scaled(medium == Medium::file ? kStepsFile : kSteps);
  return ProgramCommand{
      .words = {*chase, std::to_string(run.scaled(kGiB) / kMiB), std::to_string(steps)}};
}

}  // namespace

const std::vector<BenchProgram>& bench_programs() {
  static const std::vector<BenchProgram> programs = {
      {.name = "sort",
       .about = "GNU sort of 1 GiB of random lines with -S 2G in a quarter of it",
       .memory_bytes = kGiB + kGiB / 16,
       .budget_bytes = kGiB / 4,
       .target_zram = 1.3,
       .target_file = 3,
       .command = sort_command},
      {.name = "numpy",
       .about =
           "python3 with numpy building, argsorting and summing an array of 1 GiB in half of it",
       .memory_bytes = kGiB + kGiB / 16,
       .budget_bytes = kGiB / 2,
       .target_zram = 1.5,
       .target_file = 3,
       .command = numpy_command},
      {.name = "sqlite",
       .about = "sqlite3 with 1 GiB of rows in memory, two indexes and joins, in half of it",
       .memory_bytes = kGiB + kGiB / 8,
       .budget_bytes = kGiB / 2,
       .target_zram = 1.2,
       .target_file = 2,
       .command = sqlite_command},
      {.name = "random",
       .about = "a pointer chase through 1 GiB, half of it resident",
       .memory_bytes = kGiB,
       .budget_bytes = kGiB / 2,
       .target_zram = 1,
       .target_file = 1.3,
       .command = chase_command},
  };
  return programs;
}

Result<std::string> built_program(const std::string& name) {
  std::error_code error;
  const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::string path = (self.parent_path() / name).string();
  if (access(path.c_str(), X_OK) != 0) return skip(path + " is not there: build it first");
  return path;
}

Result<std::shared_ptr<MemoryFile>> random_lines(std::uint64_t bytes) {
  auto file = MemoryFile::create("holdfast-bench-lines");
  if (!file) return file;
  Random random(bytes);
  std::vector<char> lines(std::min<std::uint64_t>(bytes, kMiB) / kLineBytes * kLineBytes);
  for (std::uint64_t done = 0; done + lines.size() <= bytes; done += lines.size()) {
    for (std::size_t at = 0; at < lines.size(); at += kLineBytes) write_line(&lines[at], random);
    if (auto put = (*file)->append(lines.data(), lines.size()); !put) {
      return std::unexpected(put.error());
    }
  }
  return file;
}

}  // namespace holdfast::bench
