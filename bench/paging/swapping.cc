// paging/zram/* and paging/file/*: the engine against the kernel swapping the same memory.
#include <fmt/format.h>

#include <string>
#include <utility>

#include "comparison.h"
#include "kernel_peer/peer_process.h"
#include "paging/engine_side.h"

namespace holdfast::bench {
namespace {

// The scene's work on managed memory.
class EngineMemory final : public Worker {
 public:
  explicit EngineMemory(const Scene& scene) : side_(scene) {}

  Result<void> prepare() override { return side_.prepare(); }
  Result<double> round(unsigned part) override {
    if (part == kMemoryTaken) return double(side_.engine().stats().budget_bytes) / double(1 << 20);
    auto interval = part == kAging ? side_.age() : side_.interval();
    if (!interval) return std::unexpected(interval.error());
    if (auto equal = side_.check_frames(); !equal) return std::unexpected(equal.error());
    return interval->microseconds_per_op();
  }
  std::string report() override { return side_.report(); }

 private:
  EngineSide side_;
};

Result<Outcome> compare(const std::string& name, const Scene& full, const Run& run) {
  const Scene scene = full.divided_by(run.scale);
  auto peer = KernelPeer::start(scene);
  if (!peer) return std::unexpected(peer.error());
  auto ours = WorkerProcess::start([scene] { return std::make_unique<EngineMemory>(scene); });
  if (!ours) return std::unexpected(ours.error());
  WorkerProcess& theirs = (*peer)->process();
  if (auto ready = theirs.prepare(); !ready) return std::unexpected(ready.error());
  if (auto ready = (*ours)->prepare(); !ready) return std::unexpected(ready.error());

  Outcome outcome{.unit = scene.work == Work::sequential ? "us/page" : "us/op"};
  auto series = interleave(run, {**ours, kMeasuredWork}, {theirs, kMeasuredWork});
  if (!series) return std::unexpected(series.error());
  if (scene.ops_aging > 0) {
    outcome.asides.push_back({name + " of memory used in order only", *series});
    for (WorkerProcess* side : {ours->get(), &theirs}) {
      if (auto aged = side->round(kAging); !aged) return std::unexpected(aged.error());
    }
    series = interleave(run, {**ours, kMeasuredWork}, {theirs, kMeasuredWork});
    if (!series) return std::unexpected(series.error());
  }
  outcome.series = std::move(*series);
  const auto our_memory = (*ours)->round(kMemoryTaken);
  if (!our_memory) return std::unexpected(our_memory.error());
  const auto their_memory = theirs.round(kMemoryTaken);
  if (!their_memory) return std::unexpected(their_memory.error());
  outcome.remarks.push_back(
      fmt::format("{} memory in all, compressed pages and tables included: ours {:.0f} MiB, peer "
                  "{:.0f} MiB",
                  name, *our_memory, *their_memory + (*peer)->device_mebibytes()));
  for (WorkerProcess* side : {ours->get(), &theirs}) {
    auto report = side->report();
    if (!report) return std::unexpected(report.error());
    outcome.notes.push_back(std::move(*report));
  }
  outcome.notes.push_back((*peer)->description());
  if (auto left = (*ours)->finish(); !left) return std::unexpected(left.error());
  return outcome;
}

constexpr std::uint64_t kPages = (1ull << 30) / kPageBytes;

Scene scene_of(Medium medium, Work work) {
  Scene scene{.medium = medium, .work = work};
  if (medium == Medium::file) {
    scene.ops_per_round = 50'000;
    scene.ops_warm_up = 150'000;
  }
  if (work == Work::sequential) {  // one sweep a round
    scene.ops_per_round = kPages;
    scene.ops_warm_up = 2 * kPages;
    scene.ops_aging = kPages;
  }
  return scene;
}

void add(Registry& registry, const std::string& name, double target, const Scene& scene,
         std::string about) {
  registry.push_back({name, target, std::move(about),
                      [name, scene](const Run& run) { return compare(name, scene, run); }});
}

}  // namespace

void add_swapping(Registry& registry) {
  const Scene zram_read = scene_of(Medium::zram, Work::random_read);
  Scene pinned = zram_read;
  pinned.pinned = true;
  add(registry, "paging/zram/random-read", 2, zram_read,
      "loads of random pages, compressed-RAM tier; peer: the kernel swapping to zram");
  add(registry, "paging/zram/random-write", 2, scene_of(Medium::zram, Work::random_write),
      "stores to random pages, compressed-RAM tier; peer: the kernel swapping to zram");
  add(registry, "paging/zram/sequential", 6, scene_of(Medium::zram, Work::sequential),
      "one load of each page in order, compressed-RAM tier; peer: the kernel swapping to zram");
  add(registry, "paging/zram/random-read-pinned", 4, pinned,
      "pin, load, unpin of random pages; peer: the kernel's plain loads, swapping to zram");
  add(registry, "paging/file/random-read", 1, scene_of(Medium::file, Work::random_read),
      "loads of random pages, file tier; peer: the kernel swapping to a file");
  add(registry, "paging/file/random-write", 1.3, scene_of(Medium::file, Work::random_write),
      "stores to random pages, file tier; peer: the kernel swapping to a file");
  add(registry, "paging/file/sequential", 10, scene_of(Medium::file, Work::sequential),
      "one load of each page in order, file tier; peer: the kernel swapping to a file");
}

}  // namespace holdfast::bench
