// holdfast-bench: measures the engine against its peers, both in the same run.
//
// Exit codes: 0 everything that could run here ran (whether its target is met or not), 1 something
// failed or was interrupted, 2 usage.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

#include "comparison.h"
#include "interruption.h"
#include "report.h"

namespace {

using holdfast::bench::Comparison;
using holdfast::bench::Outcome;
using holdfast::bench::Registry;
using holdfast::bench::Result;
using holdfast::bench::Run;
using holdfast::bench::TroubleKind;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct Command {
  bool list = false;
  std::vector<std::string> names;
  std::string json_path;
  Run run;
};

void declare(CLI::App& app, Command& command) {
  app.add_option("NAME", command.names, "a comparison, or all below a prefix: paging, paging/zram");
  app.add_flag("--list", command.list, "print every comparison and leave");
  app.add_option("--json", command.json_path, "write all figures to this file as well");
  app.add_option("--rounds", command.run.rounds, "measured rounds of each side; medians are shown")
      ->check(CLI::Range(1U, 1000U))
      ->capture_default_str();
  app.add_option("--scale", command.run.scale,
                 "divide sizes and counts by this; lines are marked scaled (a smoke test)")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  app.add_flag("--verbose", command.run.verbose,
               "every round's figures, and what the sides report");
}

void list(const Registry& registry) {
  for (const Comparison& comparison : registry) {
    fmt::print("{:<32} target {:<4}  {}\n", comparison.name, comparison.target, comparison.about);
  }
}

// Runs what was chosen; false if something failed.
bool run_all(const std::vector<const Comparison*>& chosen, const Run& run, nlohmann::json& json) {
  bool fine = true;
  for (const Comparison* comparison : chosen) {
    const Result<Outcome> outcome = comparison->run(run);
    json["results"].push_back(to_json(*comparison, outcome, run));
    if (outcome) {
      fmt::print("{}{}\n", details(*comparison, *outcome, run),
                 result_line(*comparison, *outcome, run));
    } else {
      fmt::print("{}\n", trouble_line(*comparison, outcome.error()));
      fine = fine && outcome.error().kind == TroubleKind::skipped;
    }
    std::fflush(stdout);
    if (!outcome && outcome.error().kind == TroubleKind::interrupted) break;
  }
  return fine;
}

int execute(const Command& command, const Registry& registry) {
  std::vector<const Comparison*> chosen;
  for (const std::string& name : command.names) {
    const auto matches = select(registry, name);
    if (matches.empty()) {
      fmt::print(stderr, "holdfast-bench: no comparison is called {} (--list shows them)\n", name);
      return kExitUsage;
    }
    for (const Comparison* match : matches) {
      if (std::ranges::find(chosen, match) == chosen.end()) chosen.push_back(match);
    }
  }
  std::ofstream file;  // opened first: half an hour's figures are not to be lost on a bad path
  if (!command.json_path.empty()) {
    file.open(command.json_path);
    if (!file) {
      fmt::print(stderr, "holdfast-bench: cannot write {}\n", command.json_path);
      return kExitUsage;
    }
  }
  nlohmann::json json = {{"machine", holdfast::bench::describe_machine()},
                         {"rounds", command.run.rounds},
                         {"scale", command.run.scale}};
  bool fine = run_all(chosen, command.run, json);
  if (file.is_open() && !(file << json.dump(2) << std::endl)) {
    fmt::print(stderr, "holdfast-bench: cannot write {}\n", command.json_path);
    fine = false;
  }
  return fine ? 0 : kExitFailed;
}

}  // namespace

int main(int argc, char** argv) {
  Command command;
  CLI::App app("Measures Holdfast against its peers, both sides in the same run.",
               "holdfast-bench");
  declare(app, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }

  Registry registry;
  holdfast::bench::add_swapping(registry);
  holdfast::bench::add_hit(registry);
  holdfast::bench::add_first_touch(registry);
  holdfast::bench::add_threads(registry);
  holdfast::bench::add_footprint(registry);
  holdfast::bench::add_freeing(registry);
  holdfast::bench::add_capture(registry);
  holdfast::bench::add_pins(registry);
  holdfast::bench::add_aio(registry);
  holdfast::bench::add_first_writes(registry);
  holdfast::bench::add_memory_peak(registry);
  holdfast::bench::add_files(registry);
  holdfast::bench::add_commits(registry);
  holdfast::bench::add_shadow(registry);
  holdfast::bench::add_kv(registry);
  holdfast::bench::add_programs(registry);
  holdfast::bench::add_far(registry);
  if (command.list) {
    list(registry);
    return 0;
  }
  if (command.names.empty()) {
    fmt::print(stderr, "holdfast-bench: name a comparison, or a prefix such as paging\n{}",
               app.help());
    return kExitUsage;
  }
  holdfast::bench::install_interruption();
  return execute(command, registry);
}
