// file/commit: what is stored becomes durable as a whole, against SQLite writing the same pages.
// file/recovery: how long mapping takes after a crash that left a long journal.
#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "comparison.h"
#include "files/commit_side.h"
#include "files/journaled_file.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

Result<Outcome> compare_commits(const Run& run, const CommitScene& full) {
  CommitScene ours = full.divided_by(run.scale);
  auto file = JournaledFile::create(ours.pages * kPageBytes);
  if (!file) return std::unexpected(file.error());
  ours.path = file->path();
  CommitScene theirs = ours;
  theirs.path += ".sqlite";
  return compare_sides(
      run, Outcome{.unit = "ms/commit"}, [&] { return make_mapped_commits(ours); },
      [&] { return make_sqlite_commits(theirs); });
}

// A process commits until its journal is that long, and is killed.
Result<void> crash(const CommitScene& scene) {
  auto process = WorkerProcess::start([&] { return make_mapped_commits(scene); });
  if (!process) return std::unexpected(process.error());
  if (auto ready = (*process)->prepare(); !ready) return ready;
  if (auto committed = (*process)->round(0); !committed) return std::unexpected(committed.error());
  return {};
}

Result<Outcome> measure_recovery(const Run& run, const CommitScene& full) {
  CommitScene scene = full.divided_by(run.scale);
  auto file = JournaledFile::create(scene.pages * kPageBytes);
  if (!file) return std::unexpected(file.error());
  scene.path = file->path();
  auto process = WorkerProcess::start([&] { return make_recovery(scene); });
  if (!process) return std::unexpected(process.error());
  if (auto ready = get_ready(**process, {{}}); !ready) return std::unexpected(ready.error());
  Outcome outcome{.unit = "s"};
  std::uintmax_t journal = 0;
  for (unsigned round = 0; round < run.rounds; ++round) {
    if (auto crashed = crash(scene); !crashed) return std::unexpected(crashed.error());
    std::error_code unknown;
    journal = std::filesystem::file_size(file->journal(), unknown);
    auto figure = (*process)->round(0);
    if (!figure) return std::unexpected(figure.error());
    outcome.series.ours.push_back(*figure);
  }
  outcome.remarks.push_back("the journal had " + std::to_string(journal >> 20) + " MiB");
  if (auto left = leave(**process, outcome); !left) return std::unexpected(left.error());
  return outcome;
}

}  // namespace

void add_commits(Registry& registry) {
  constexpr std::uint64_t kPages = 65536;  // 256 MiB
  const auto add = [&](const std::string& name, std::uint64_t changed, std::uint64_t commits) {
    const CommitScene scene{.pages = kPages, .changed = changed, .commits = commits};
    registry.push_back({"file/commit/" + name, 2,
                        "commits of " + std::to_string(changed) +
                            " random pages; peer: SQLite with WAL and synchronous=FULL",
                        [scene](const Run& run) { return compare_commits(run, scene); }});
  };
  add("16", 16, 400);
  add("4096", 4096, 10);
  const CommitScene recovery{
      .pages = kPages, .changed = 4096, .commits = 16, .journal_limit = std::uint64_t{1} << 30};
  registry.push_back({"file/recovery", 0,
                      "mapping a file after a crash that left a journal of 256 MiB",
                      [recovery](const Run& run) { return measure_recovery(run, recovery); }});
}

}  // namespace holdfast::bench
