// file/scan, file/random, file/random-32, file/sort, file/hot, file/stall: files as memory, against
// the kernel's mmap in a memory cgroup, and against reading without mapping.
#include <memory>
#include <string>
#include <utility>

#include "comparison.h"
#include "files/file_work.h"
#include "kernel_peer/cgroup.h"
#include "kernel_peer/swapping_group.h"
#include "transfer/disk_file.h"

namespace holdfast::bench {
namespace {

const std::string kDirectory = "/var/tmp";

struct Form {
  std::string unit;
  Better better = Better::less;
};

Form form_of(FileLoop loop) {
  switch (loop) {
    case FileLoop::scan:
      return {"MiB/s", Better::more};
    case FileLoop::sort:
      return {"s"};
    case FileLoop::hot:
      return {"ns/op"};
    default:
      return {"us/op"};
  }
}

// A scene on a file of its own.
struct OwnFile {
  std::unique_ptr<DiskFile> file;
  FileScene scene;

  static Result<OwnFile> create(const FileScene& scene) {
    auto file = DiskFile::create(kDirectory, scene.bytes);
    if (!file) return std::unexpected(file.error());
    OwnFile own{std::move(*file), scene};
    own.scene.path = own.file->path();
    return own;
  }
};

enum class Peer : std::uint8_t { mmap, direct };

Result<Outcome> compare(const Run& run, const FileScene& full, Peer peer) {
  auto ours = OwnFile::create(full.divided_by(run.scale));
  if (!ours) return std::unexpected(ours.error());
  auto theirs = OwnFile::create(full.divided_by(run.scale));
  if (!theirs) return std::unexpected(theirs.error());
  // The kernel's pages of the file, and the process's own, in a cgroup.
  std::unique_ptr<MemoryCgroup> cgroup;
  if (peer == Peer::mmap) {
    auto made =
        MemoryCgroup::create(SwappingGroup::limit_for(theirs->scene.resident, theirs->scene.bytes));
    if (!made) return std::unexpected(made.error());
    cgroup = std::move(*made);
  }
  auto our_process =
      WorkerProcess::start([&] { return make_file_work(ours->scene, make_engine_file); });
  if (!our_process) return std::unexpected(our_process.error());
  auto peer_process = WorkerProcess::start([&] {
    return peer == Peer::direct ? make_direct_scan(theirs->scene)
                                : make_file_work(theirs->scene, make_kernel_file);
  });
  if (!peer_process) return std::unexpected(peer_process.error());
  if (cgroup != nullptr) {
    if (auto added = cgroup->add((*peer_process)->pid()); !added) {
      return std::unexpected(added.error());
    }
  }
  for (WorkerProcess* side : {our_process->get(), peer_process->get()}) {
    if (auto ready = get_ready(*side, {{}}); !ready) return std::unexpected(ready.error());
  }
  auto series = interleave(run, {**our_process}, {**peer_process});
  if (!series) return std::unexpected(series.error());
  const Form form = form_of(full.loop);
  Outcome outcome{.unit = form.unit, .better = form.better, .series = std::move(*series)};
  for (WorkerProcess* side : {our_process->get(), peer_process->get()}) {
    if (auto left = leave(*side, outcome); !left) return std::unexpected(left.error());
  }
  if (cgroup != nullptr) outcome.notes.push_back("kernel: " + cgroup->description());
  return outcome;
}

void add(Registry& registry, const std::string& name, double target, const FileScene& scene,
         std::string about, Peer peer = Peer::mmap) {
  registry.push_back({name, target, std::move(about),
                      [scene, peer](const Run& run) { return compare(run, scene, peer); }});
}

constexpr std::uint64_t kMebi = 1 << 20;

}  // namespace

void add_files(Registry& registry) {
  FileScene scene{.loop = FileLoop::scan, .bytes = 1024 * kMebi, .resident = 512 * kMebi};
  add(registry, "file/scan", 1.2, scene,
      "sequential read of a cold file of 1 GiB; peer: the kernel's mmap");
  add(registry, "file/scan-direct", 0.9, scene,
      "the same; peer: O_DIRECT reads of 1 MiB without mapping", Peer::direct);
  scene.loop = FileLoop::random;
  scene.ops = 20'000;
  add(registry, "file/random", 1, scene,
      "loads of random pages of a cold file; peer: the kernel's mmap");
  scene.loop = FileLoop::asked;
  scene.coroutines = 32;
  add(registry, "file/random-32", 3, scene,
      "the same by co_await, 32 in flight; peer: the kernel's mmap, by one thread");
  scene.loop = FileLoop::stall;
  scene.seconds = 3;
  add(registry, "file/stall", 3, scene,
      "99.9th percentile of random loads while another thread stores; peer: the kernel's mmap");
  add(registry, "file/sort", 1,
      {.loop = FileLoop::sort, .bytes = 512 * kMebi, .resident = 256 * kMebi},
      "parallel sort of a file of 64-bit numbers in place; peer: the kernel's mmap");
  add(registry, "file/hot", 0.95,
      {.loop = FileLoop::hot,
       .bytes = 512 * kMebi,
       .resident = 256 * kMebi,
       .part = 192 * kMebi,
       .ops = 10'000'000},
      "loads and stores of random pages that fit; peer: the kernel's mmap");
}

}  // namespace holdfast::bench
