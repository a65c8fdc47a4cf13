// paging/threads: what a second thread adds, on disjoint halves and on shared memory.
#include <algorithm>
#include <array>
#include <memory>
#include <optional>
#include <thread>

#include "comparison.h"
#include "paging/engine_side.h"

namespace holdfast::bench {
namespace {

enum Part : unsigned { kOneThread, kDisjoint, kShared };
constexpr std::uint64_t kSeeds[] = {101, 102};

// Half loads, half stores, in the setting of paging/zram/random-*; each thread does the same number
// of operations, and the figure is operations of all threads a second.
class ThreadedMemory final : public Worker {
 public:
  explicit ThreadedMemory(const Scene& scene) : scene_(scene), side_(scene) {}

  Result<void> prepare() override {
    if (auto ready = side_.prepare(); !ready) return ready;
    const std::uint64_t pages = scene_.memory_bytes / kPageBytes;
    std::byte* const base = side_.region().data();
    for (unsigned thread = 0; thread < 2; ++thread) {
      whole_[thread].emplace(base, 0, pages, kSeeds[thread]);
      half_[thread].emplace(base, thread * (pages / 2), pages / 2, kSeeds[thread]);
    }
    return {};
  }

  Result<double> round(unsigned part) override {
    auto& workloads = part == kDisjoint ? half_ : whole_;
    const std::size_t threads = part == kOneThread ? 1 : 2;
    std::array<Interval, 2> intervals;
    const double start = now_seconds();
    {
      std::optional<std::jthread> second;
      if (threads == 2) {
        second.emplace(
            [&] { intervals[1] = workloads[1]->run(scene_.work, scene_.ops_per_round); });
      }
      intervals[0] = workloads[0]->run(scene_.work, scene_.ops_per_round);
    }
    const double seconds = now_seconds() - start;
    for (std::size_t thread = 0; thread < threads; ++thread) {
      if (auto right = checked(intervals[thread]); !right) return std::unexpected(right.error());
    }
    if (auto equal = side_.check_frames(); !equal) return std::unexpected(equal.error());
    return double(threads) * double(scene_.ops_per_round) / seconds / 1e3;
  }
  std::string report() override { return side_.report(); }

 private:
  Scene scene_;
  EngineSide side_;
  std::array<std::optional<Workload>, 2> whole_;
  std::array<std::optional<Workload>, 2> half_;
};

Result<Outcome> compare(const Run& run) {
  const Scene scene = Scene{.work = Work::random_mixed}.divided_by(run.scale);
  auto process = WorkerProcess::start([=] { return std::make_unique<ThreadedMemory>(scene); });
  if (!process) return std::unexpected(process.error());
  WorkerProcess& worker = **process;
  if (auto ready = worker.prepare(); !ready) return std::unexpected(ready.error());
  auto disjoint = interleave(run, {worker, kDisjoint}, {worker, kOneThread});
  if (!disjoint) return std::unexpected(disjoint.error());
  auto shared = interleave(run, {worker, kShared}, {worker, kOneThread});
  if (!shared) return std::unexpected(shared.error());

  Outcome outcome{.unit = "kop/s", .better = Better::more};
  const bool shared_is_worse = ratio_of(*shared, Better::more) < ratio_of(*disjoint, Better::more);
  outcome.series = shared_is_worse ? *shared : *disjoint;
  outcome.asides.push_back({"paging/threads-disjoint", std::move(*disjoint)});
  outcome.asides.push_back({"paging/threads-shared", std::move(*shared)});
  if (auto left = leave(worker, outcome); !left) return std::unexpected(left.error());
  return outcome;
}

}  // namespace

void add_threads(Registry& registry) {
  registry.push_back({"paging/threads", 1.6,
                      "throughput of two threads, the worse of disjoint and shared memory; peer: "
                      "one thread of ours",
                      compare});
}

}  // namespace holdfast::bench
