// paging/metadata and paging/map-1T: what the engine itself costs. Limits, not peers.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "comparison.h"
#include "kernel_peer/text_file.h"
#include "paging/engine_side.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kTebibyte = 1ull << 40;
constexpr std::uint64_t kBudget = 512ull << 20;
constexpr double kMetadataLimitPercent = 1.5;
constexpr double kMapLimitMilliseconds = 1.0;

// Metadata in percent of the memory managed, with the memory filled and half of it resident.
class Metadata final : public Worker {
 public:
  explicit Metadata(const Scene& scene) : side_(scene) {}
  Result<void> prepare() override { return side_.prepare(); }
  Result<double> round(unsigned) override {
    auto interval = side_.interval();
    if (!interval) return std::unexpected(interval.error());
    const Stats stats = side_.engine().stats();
    if (stats.metadata_bytes == 0) return failure("the engine reports no metadata");
    return 100.0 * double(stats.metadata_bytes) / double(stats.managed_bytes);
  }
  std::string report() override { return side_.report(); }

 private:
  EngineSide side_;
};

// Milliseconds that mapping 1 TiB takes; one page at each end is touched afterwards.
class HugeRegion final : public Worker {
 public:
  Result<void> prepare() override {
    auto engine = make_engine(Medium::zram, kBudget, "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    return {};
  }
  Result<double> round(unsigned) override {
    const std::uint64_t before = resident_kilobytes();
    const double start = now_seconds();
    auto region = engine_->map_anonymous(kTebibyte);
    const double seconds = now_seconds() - start;
    if (!region) return engine_trouble(region.error());
    store_word(region->data(), 1);
    store_word(region->data() + kTebibyte - kPageBytes, 2);
    if (load_word(region->data()) != 1 || load_word(region->data() + kTebibyte / 2) != 0) {
      return failure("the region does not hold what was stored");
    }
    const std::uint64_t after = resident_kilobytes();
    grown_kilobytes_ = std::max(grown_kilobytes_, after - std::min(before, after));
    return seconds * 1e3;
  }
  std::string report() override {
    return fmt::format("ours: with three pages touched the process grew by {} KiB at most",
                       grown_kilobytes_);
  }

 private:
  static std::uint64_t resident_kilobytes() { return status_kilobytes("VmRSS"); }

  std::unique_ptr<Engine> engine_;
  std::uint64_t grown_kilobytes_ = 0;
};

Result<Outcome> measure(const Run& run, const WorkerProcess::Factory& factory, const char* unit,
                        double limit) {
  auto process = WorkerProcess::start(factory);
  if (!process) return std::unexpected(process.error());
  WorkerProcess& worker = **process;
  if (auto ready = worker.prepare(); !ready) return std::unexpected(ready.error());
  Outcome outcome{.unit = unit, .limit = limit};
  for (unsigned round = 0; round < run.rounds; ++round) {
    auto figure = worker.round(0);
    if (!figure) return std::unexpected(figure.error());
    outcome.series.ours.push_back(*figure);
  }
  if (auto left = leave(worker, outcome); !left) return std::unexpected(left.error());
  return outcome;
}

Result<Outcome> measure_metadata(const Run& run) {
  const Scene scene = Scene{}.divided_by(run.scale);
  return measure(
      run, [scene] { return std::make_unique<Metadata>(scene); }, "%", kMetadataLimitPercent);
}

Result<Outcome> measure_map(const Run& run) {
  return measure(run, [] { return std::make_unique<HugeRegion>(); }, "ms", kMapLimitMilliseconds);
}

}  // namespace

void add_footprint(Registry& registry) {
  registry.push_back({"paging/metadata", 1,
                      "the engine's tables in percent of the memory managed; limit 1.5 %",
                      measure_metadata});
  registry.push_back({"paging/map-1T", 1, "mapping a region of 1 TiB; limit 1 ms", measure_map});
}

}  // namespace holdfast::bench
