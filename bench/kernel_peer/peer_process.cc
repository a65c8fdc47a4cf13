#include "kernel_peer/peer_process.h"

#include <fmt/format.h>

#include <optional>

#include "interruption.h"
#include "kernel_peer/text_file.h"
#include "plain_memory.h"

namespace holdfast::bench {
namespace {

// The loop on plain anonymous memory of 4 KiB pages.
class KernelMemory final : public Worker {
 public:
  explicit KernelMemory(const Scene& scene) : scene_(scene) {}

  Result<void> prepare() override {
    auto memory = PlainMemory::map(scene_.memory_bytes);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    workload_.emplace(memory_->data(), 0, scene_.memory_bytes / kPageBytes, kSideSeed);
    workload_->fill();
    auto interval = [this] { return checked(workload_->run(scene_.work, scene_.ops_per_round)); };
    auto warm = warm_up(interval, scene_.ops_warm_up);
    if (!warm) return std::unexpected(warm.error());
    ops_warm_ = *warm;
    return {};
  }

  Result<double> round(unsigned part) override {
    if (part == kMemoryTaken) return double(status_kilobytes("RssAnon")) / 1024;
    if (part == kAging) {
      auto aged = checked(workload_->run(Work::random_mixed, scene_.ops_aging));
      if (!aged) return std::unexpected(aged.error());
    }
    auto interval = checked(workload_->run(scene_.work, scene_.ops_per_round));
    if (!interval) return std::unexpected(interval.error());
    return interval->microseconds_per_op();
  }

  std::string report() override {
    return fmt::format("kernel: warmed up by {} ops; {} MiB resident, {} MiB swapped", ops_warm_,
                       status_kilobytes("RssAnon") >> 10, status_kilobytes("VmSwap") >> 10);
  }

 private:
  Scene scene_;
  std::unique_ptr<PlainMemory> memory_;
  std::optional<Workload> workload_;
  std::uint64_t ops_warm_ = 0;
};

}  // namespace

Result<std::unique_ptr<KernelPeer>> KernelPeer::start(const Scene& scene,
                                                      WorkerProcess::Factory work) {
  if (!work) work = [scene] { return std::make_unique<KernelMemory>(scene); };
  std::unique_ptr<KernelPeer> peer(new KernelPeer);
  auto group = SwappingGroup::create(
      {.medium = scene.medium,
       .limit_bytes = SwappingGroup::limit_for(scene.resident_bytes, scene.memory_bytes),
       // Ample, so that less than half of it is ever in use: beyond that the kernel gives up the
       // slots of clean pages and has to write them again.
       .swap_bytes = scene.memory_bytes * 5 / 2,
       .directory = scene.directory});
  if (!group) return std::unexpected(group.error());
  peer->group_ = std::move(*group);
  if (auto fine = check_interruption(); !fine) return std::unexpected(fine.error());
  auto process = WorkerProcess::start(work);
  if (!process) return std::unexpected(process.error());
  peer->process_ = std::move(*process);
  if (auto moved = peer->group_->cgroup().add(peer->process_->pid()); !moved) {
    return std::unexpected(moved.error());
  }
  return peer;
}

}  // namespace holdfast::bench
