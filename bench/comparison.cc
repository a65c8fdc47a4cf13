#include "comparison.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <thread>

namespace holdfast::bench {
namespace {

constexpr std::chrono::milliseconds kPause(50);

}  // namespace

std::vector<const Comparison*> select(const Registry& registry, const std::string& name) {
  std::vector<const Comparison*> chosen;
  for (const Comparison& comparison : registry) {
    if (comparison.name == name || comparison.name.starts_with(name + "/")) {
      chosen.push_back(&comparison);
    }
  }
  return chosen;
}

double median(std::vector<double> values) {
  assert(!values.empty());
  std::ranges::sort(values);
  const std::size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return (values[middle - 1] + values[middle]) / 2;
}

double ratio_of(const Series& series, Better better) {
  const double ours = median(series.ours);
  const double peer = median(series.peer);
  return better == Better::less ? peer / ours : ours / peer;
}

Result<Series> interleave(const Run& run, const Turn& ours, const Turn& peer) {
  Series series;
  for (unsigned round = 0; round < run.rounds; ++round) {
    for (const bool first_turn : {true, false}) {
      const bool is_ours = first_turn == (round % 2 == 0);
      std::this_thread::sleep_for(kPause);
      auto figure = is_ours ? ours() : peer();
      if (!figure) return std::unexpected(figure.error());
      (is_ours ? series.ours : series.peer).push_back(*figure);
    }
  }
  return series;
}

Result<Series> interleave(const Run& run, Side ours, Side peer) {
  return interleave(
      run, [ours] { return ours.process.round(ours.part); },
      [peer] { return peer.process.round(peer.part); });
}

Result<void> get_ready(WorkerProcess& side, const std::vector<Loop>& loops) {
  if (auto ready = side.prepare(); !ready) return std::unexpected(ready.error());
  for (const Loop& loop : loops) {
    if (auto warm = side.round(loop.part); !warm) return std::unexpected(warm.error());
  }
  return {};
}

Result<void> leave(WorkerProcess& side, Outcome& outcome) {
  auto report = side.report();
  if (!report) return std::unexpected(report.error());
  outcome.notes.push_back(std::move(*report));
  return side.finish();
}

Result<Outcome> compare_sides(const Run& run, Outcome outcome, const WorkerProcess::Factory& ours,
                              const WorkerProcess::Factory& peer, const std::vector<Loop>& loops) {
  auto our_process = WorkerProcess::start(ours);
  if (!our_process) return std::unexpected(our_process.error());
  auto peer_process = WorkerProcess::start(peer);
  if (!peer_process) return std::unexpected(peer_process.error());
  for (WorkerProcess* side : {our_process->get(), peer_process->get()}) {
    if (auto ready = get_ready(*side, loops); !ready) return std::unexpected(ready.error());
  }
  for (const Loop& loop : loops) {
    auto series = interleave(run, {**our_process, loop.part}, {**peer_process, loop.part});
    if (!series) return std::unexpected(series.error());
    if (&loop == &loops.front()) {
      outcome.series = std::move(*series);
    } else {
      outcome.asides.push_back({loop.aside, std::move(*series)});
    }
  }
  for (WorkerProcess* side : {our_process->get(), peer_process->get()}) {
    if (auto left = leave(*side, outcome); !left) return std::unexpected(left.error());
  }
  return outcome;
}

}  // namespace holdfast::bench
