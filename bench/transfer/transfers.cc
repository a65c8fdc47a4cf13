// aio/read, aio/write: O_DIRECT transfers of 4 KiB at depth 32 into resident managed memory,
// against fio with the same kernel interface on plain memory. aio/pressure: the same reads into
// memory of which half is always out, against the kernel swapping.
#include <memory>
#include <string>

#include "comparison.h"
#include "kernel_peer/peer_process.h"
#include "transfer/disk_file.h"
#include "transfer/fio_peer.h"
#include "transfer/managed_io.h"
#include "transfer/plain_io.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kFileBytes = 256ull << 20;
constexpr std::uint64_t kResidentBytes = 64ull << 20;
// Of more memory the kernel gives up: its out-of-memory killer ends the peer (512 MiB in 256).
constexpr std::uint64_t kPressureBytes = 256ull << 20;
const std::string kDirectory = "/var/tmp";

// Both are warm.
Result<Outcome> compare(const Run& run, WorkerProcess& ours, WorkerProcess& peer, IoPart part) {
  auto series = interleave(run, {ours, part}, {peer, part});
  if (!series) return std::unexpected(series.error());
  Outcome outcome{.unit = "k/s", .better = Better::more, .series = std::move(*series)};
  if (part == kOwnPages) {
    auto any = interleave(run, {ours, kAnyPages}, {peer, kAnyPages});
    if (!any) return std::unexpected(any.error());
    outcome.asides.push_back({"aio, our pages at random in 64 MiB", std::move(*any)});
  }
  for (WorkerProcess* side : {&ours, &peer}) {
    auto report = side->report();
    if (!report) return std::unexpected(report.error());
    outcome.notes.push_back(std::move(*report));
  }
  if (auto left = ours.finish(); !left) return std::unexpected(left.error());
  return outcome;
}

IoScene scene_of(const Run& run, const DiskFile& file, std::uint64_t memory, bool writes) {
  return {.path = file.path(),
          .file_bytes = file.bytes(),
          .memory_bytes = run.scaled(memory),
          .writes = writes,
          .seconds = run.scale > 1 ? 0.2 : 2};
}

Result<Outcome> compare_with_fio(const Run& run, bool writes) {
  auto file = DiskFile::create(kDirectory, run.scaled(kFileBytes));
  if (!file) return std::unexpected(file.error());
  const IoScene scene = scene_of(run, **file, kResidentBytes, writes);
  auto ours = WorkerProcess::start(
      [scene] { return std::make_unique<ManagedIo>(scene, 4 * scene.memory_bytes); });
  if (!ours) return std::unexpected(ours.error());
  const FioJob job{.path = scene.path,
                   .file_bytes = scene.file_bytes,
                   .writes = writes,
                   .depth = scene.depth,
                   .seconds = run.scale > 1 ? 1U : 2U};
  auto peer = WorkerProcess::start([job] { return make_fio(job); });
  if (!peer) return std::unexpected(peer.error());
  for (WorkerProcess* side : {peer->get(), ours->get()}) {
    if (auto ready = get_ready(*side, {{kOwnPages}}); !ready) return std::unexpected(ready.error());
  }
  return compare(run, **ours, **peer, kOwnPages);
}

Result<Outcome> compare_under_pressure(const Run& run) {
  auto file = DiskFile::create(kDirectory, run.scaled(kFileBytes));
  if (!file) return std::unexpected(file.error());
  const IoScene scene = scene_of(run, **file, kPressureBytes, false);
  const std::uint64_t resident = scene.memory_bytes / 2;
  Scene memory{.medium = Medium::zram};
  memory.memory_bytes = scene.memory_bytes;
  memory.resident_bytes = resident;
  auto peer = KernelPeer::start(memory, [scene] { return make_plain_io(scene); });
  if (!peer) return std::unexpected(peer.error());
  auto ours = WorkerProcess::start(
      [scene, resident] { return std::make_unique<ManagedIo>(scene, resident); });
  if (!ours) return std::unexpected(ours.error());
  if (auto ready = get_ready(**ours, {{kAnyPages}}); !ready) return std::unexpected(ready.error());
  // Some kernels give up on memory that is read into while it is swapped.
  if (auto ready = get_ready((*peer)->process(), {{kAnyPages}}); !ready) {
    if (ready.error().kind != TroubleKind::failed) return std::unexpected(ready.error());
    return skip("the kernel's side cannot do it here: " + ready.error().why);
  }
  return compare(run, **ours, (*peer)->process(), kAnyPages);
}

}  // namespace

void add_aio(Registry& registry) {
  registry.push_back({"aio/read", 0.95,
                      "O_DIRECT reads of 4 KiB at depth 32 into managed memory; peer: fio with "
                      "io_uring on plain memory",
                      [](const Run& run) { return compare_with_fio(run, false); }});
  registry.push_back({"aio/write", 0.95,
                      "O_DIRECT writes of 4 KiB at depth 32 from managed memory; peer: fio with "
                      "io_uring on plain memory",
                      [](const Run& run) { return compare_with_fio(run, true); }});
  registry.push_back({"aio/pressure", 2,
                      "the same reads while half of the memory is always out; peer: io_uring on "
                      "memory that the kernel swaps to zram",
                      compare_under_pressure});
}

}  // namespace holdfast::bench
