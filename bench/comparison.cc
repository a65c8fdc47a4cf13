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

Result<Series> interleave(const Run& run, Side ours, Side peer) {
  Series series;
  for (unsigned round = 0; round < run.rounds; ++round) {
    for (const bool first_turn : {true, false}) {
      const bool is_ours = first_turn == (round % 2 == 0);
      const Side& side = is_ours ? ours : peer;
      std::this_thread::sleep_for(kPause);
      auto figure = side.process.round(side.part);
      if (!figure) return std::unexpected(figure.error());
      (is_ours ? series.ours : series.peer).push_back(*figure);
    }
  }
  return series;
}

}  // namespace holdfast::bench
