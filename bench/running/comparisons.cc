// run/*: whole programs under `holdfast run` against the same programs in a memory cgroup that
// swaps, and, where everything fits, against nothing at all.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "comparison.h"
#include "interruption.h"
#include "kernel_peer/swapping_group.h"
#include "kernel_peer/text_file.h"
#include "running/programs.h"
#include "running/timed_run.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kEnough = 4ull << 30;  // for any of them, with all that is held ready
constexpr int kWarmUpsMax = 3;
constexpr int kExitRefused = 2;  // of `holdfast run`: no userfaultfd, or wrong usage
constexpr const char* kDirectory = "/var/tmp";

constexpr std::uint64_t mebibytes(std::uint64_t bytes) { return (bytes + kMiB - 1) / kMiB; }

// The program by itself, under Holdfast, and in a cgroup; all of whose output must be the same.
class Sides {
 public:
  explicit Sides(ProgramCommand command) : command_(std::move(command)) {}

  // Once, before anything is measured: what the output has to be.
  Result<TimedRun> native() {
    auto run = run_timed(command_);
    if (!run) return run;
    if (!run->succeeded()) return failure("the program by itself: " + run->ending());
    if (!expected_) expected_ = run->hash;
    return checked(std::move(*run), "the program by itself");
  }

  Result<TimedRun> held(std::uint64_t memory, const std::vector<std::string>& flags) {
    const auto holdfast = built_program("holdfast");
    if (!holdfast) return std::unexpected(holdfast.error());
    ProgramCommand ours{
        .words = {*holdfast, "run", "--quiet", "--memory", fmt::format("{}M", mebibytes(memory))},
        .input = command_.input};
    ours.words.insert(ours.words.end(), flags.begin(), flags.end());
    ours.words.push_back("--");
    ours.words.insert(ours.words.end(), command_.words.begin(), command_.words.end());
    auto run = run_timed(ours);
    if (!run) return run;
    // What it says where it cannot run anything: the program itself has never ended so.
    if (WIFEXITED(run->status) && WEXITSTATUS(run->status) == kExitRefused) {
      return skip(run->last_words);
    }
    if (!run->succeeded()) return failure("under holdfast run: " + run->ending());
    return checked(std::move(*run), "under holdfast run");
  }

  // Nothing: the kernel has ended it for lack of memory.
  Result<std::optional<TimedRun>> swapped(SwappingGroup& group) {
    const std::uint64_t before = group.cgroup().oom_kills();
    auto run = run_timed(command_, [&](pid_t pid) { return group.cgroup().add(pid); });
    if (!run) return std::unexpected(run.error());
    if (group.cgroup().oom_kills() != before) return std::optional<TimedRun>();
    if (!run->succeeded()) return failure("in the cgroup: " + run->ending());
    auto right = checked(std::move(*run), "in the cgroup");
    if (!right) return std::unexpected(right.error());
    return std::optional(std::move(*right));
  }

 private:
  Result<TimedRun> checked(TimedRun run, const char* where) const {
    if (run.hash == *expected_) return run;
    return failure(fmt::format("{} it printed something else ({} bytes)", where, run.output_bytes));
  }

  ProgramCommand command_;
  std::optional<base::Hash128> expected_;
};

// The kernel's side: its turns. One in which it is killed has no figure.
class SwappedTurns {
 public:
  SwappedTurns(Sides& sides, SwappingGroup& group) : sides_(sides), group_(group) {}
  Result<double> operator()() {
    auto run = sides_.swapped(group_);
    if (!run) return std::unexpected(run.error());
    if (run->has_value()) return (*run)->seconds;
    ++killed_;
    return kNoFigure;
  }
  [[nodiscard]] unsigned killed() const { return killed_; }
  static constexpr double kNoFigure = -1;

 private:
  Sides& sides_;
  SwappingGroup& group_;
  unsigned killed_ = 0;
};

// What the OOM killer has left of the peer's rounds: without half of them, it has lost.
void settle_kills(const std::string& name, unsigned killed, const Run& run, Outcome& outcome) {
  if (killed == 0) return;
  std::erase(outcome.series.peer, SwappedTurns::kNoFigure);
  outcome.remarks.push_back(
      fmt::format("{} the kernel killed the peer {} times for lack of memory", name, killed));
  if (outcome.series.peer.size() * 2 > run.rounds) return;
  outcome.series.peer.clear();
  outcome.peer_lost = "killed by the kernel for lack of memory";
}

struct Setting {
  std::string name;  // of the comparison
  const BenchProgram& program;
  Medium medium;
};

// What ours gets: as much memory in all as the peer took, compressed pages included, and the tiers
// of `holdfast run` itself. Against swap on zram these are memory alone. If the peer never came to
// its end, nobody knows how much it would have taken, and ours has to do with the size.
struct Given {
  std::uint64_t memory;
  std::vector<std::string> flags;
};
Given given_to_ours(Medium medium, std::uint64_t budget, double warm, const SwappingGroup& group) {
  const std::string file = std::string("file:") + kDirectory;
  const bool memory_alone = medium == Medium::zram && warm != SwappedTurns::kNoFigure;
  if (!memory_alone) return {budget, {"--swap", "ram", "--swap", file}};
  return {budget + group.zram()->peak_bytes(), {"--swap", "ram"}};
}

// Of a report, what fits into a line: neither its course over time nor its maps.
std::string totals_of(const std::string& report) {
  auto json = nlohmann::ordered_json::parse(report, nullptr, false);
  if (!json.is_object()) return report;
  for (const char* const part : {"command", "samples", "maps"}) json.erase(part);
  return json.dump();
}

// One run that is not measured, for what it reports.
Result<std::string> report_of(Sides& sides, std::uint64_t memory, std::vector<std::string> flags) {
  const auto file = MemoryFile::create("holdfast-bench-report");
  if (!file) return std::unexpected(file.error());
  const std::string path = fmt::format("/var/tmp/holdfast-bench-{}.json", getpid());
  flags.insert(flags.end(), {"--report", path});
  auto run = sides.held(memory, flags);
  const auto text = read_text(path);
  unlink(path.c_str());
  if (!run) return std::unexpected(run.error());
  return fmt::format("ours, {:.1f} s: {}", run->seconds, totals_of(text.value_or("no report")));
}

Result<Outcome> measure(const Setting& setting, const Run& run, Sides& sides,
                        SwappingGroup& group) {
  const std::uint64_t budget = run.scaled(setting.program.budget_bytes);
  SwappedTurns theirs(sides, group);
  double warm = SwappedTurns::kNoFigure;
  for (int tries = 0; tries < kWarmUpsMax && warm == SwappedTurns::kNoFigure; ++tries) {
    auto turn = theirs();
    if (!turn) return std::unexpected(turn.error());
    warm = *turn;
  }
  const Given given = given_to_ours(setting.medium, budget, warm, group);
  Outcome outcome{.unit = "s"};
  auto report = report_of(sides, given.memory, given.flags);
  if (!report) return std::unexpected(report.error());
  outcome.notes = {std::move(*report)};

  const auto ours = [&]() -> Result<double> {
    auto held = sides.held(given.memory, given.flags);
    if (!held) return std::unexpected(held.error());
    return held->seconds;
  };
  auto series = interleave(run, ours, [&] { return theirs(); });
  if (!series) return std::unexpected(series.error());
  outcome.series = std::move(*series);
  settle_kills(setting.name, theirs.killed(), run, outcome);
  outcome.remarks.push_back(
      fmt::format("{} memory in all: ours {} MiB, peer {} MiB and {} MiB "
                  "that zram took beside it at most",
                  setting.name, mebibytes(given.memory), mebibytes(budget),
                  mebibytes(group.zram() == nullptr ? 0 : group.zram()->peak_bytes())));
  outcome.notes.push_back(group.description());
  return outcome;
}

Result<Outcome> compare_swapping(const Setting& setting, const Run& run) {
  auto command = setting.program.command(run, setting.medium);
  if (!command) return std::unexpected(command.error());
  const std::uint64_t wanted = run.scaled(setting.program.memory_bytes);
  auto group = SwappingGroup::create(
      {.medium = setting.medium,
       .limit_bytes = SwappingGroup::limit_for(run.scaled(setting.program.budget_bytes), wanted),
       .swap_bytes = wanted * 5 / 2,
       .directory = kDirectory});
  if (!group) return std::unexpected(group.error());
  Sides sides(std::move(*command));
  if (auto expected = sides.native(); !expected) return std::unexpected(expected.error());
  return measure(setting, run, sides, **group);
}

Result<Outcome> compare_fitting(const BenchProgram& program, const Run& run) {
  auto command = program.command(run, Medium::zram);
  if (!command) return std::unexpected(command.error());
  Sides sides(std::move(*command));
  if (auto warm = sides.native(); !warm) return std::unexpected(warm.error());
  Outcome outcome{.unit = "s"};
  auto report = report_of(sides, kEnough, {});
  if (!report) return std::unexpected(report.error());
  outcome.notes = {std::move(*report)};
  const auto seconds = [](Result<TimedRun> one) -> Result<double> {
    if (!one) return std::unexpected(one.error());
    return one->seconds;
  };
  auto series = interleave(
      run, [&] { return seconds(sides.held(kEnough, {})); },
      [&] { return seconds(sides.native()); });
  if (!series) return std::unexpected(series.error());
  outcome.series = std::move(*series);
  return outcome;
}

void add_swapping(Registry& registry, const BenchProgram& program, Medium medium) {
  const bool is_zram = medium == Medium::zram;
  const std::string name = fmt::format("run/{}-{}", program.name, is_zram ? "zram" : "file");
  registry.push_back({name, is_zram ? program.target_zram : program.target_file,
                      fmt::format("{}; peer: a cgroup of the same size that swaps to {}",
                                  program.about, is_zram ? "zram" : "a file"),
                      [name, &program, medium](const Run& run) {
                        return compare_swapping(
                            {.name = name, .program = program, .medium = medium}, run);
                      }});
}

}  // namespace

void add_programs(Registry& registry) {
  for (const BenchProgram& program : bench_programs()) {
    add_swapping(registry, program, Medium::zram);
    add_swapping(registry, program, Medium::file);
  }
  for (const BenchProgram& program : bench_programs()) {
    registry.push_back({"run/fits-" + program.name, 0.98,
                        "the same program with memory enough; peer: without Holdfast",
                        [&program](const Run& run) { return compare_fitting(program, run); }});
  }
}

}  // namespace holdfast::bench
