// far/*: an engine with its pages in a pool of Ceph, against what the pool's own tools reach.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <string>

#include "comparison.h"
#include "far/cluster.h"
#include "far/direct_reads.h"
#include "far/far_memory.h"
#include "far/restore.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// One cluster for all comparisons of a run; it comes up with the first of them.
class SharedCluster {
 public:
  [[nodiscard]] Result<const Cluster*> get() {
    if (cluster_ == nullptr) {
      auto opened = Cluster::open();
      if (!opened) return std::unexpected(opened.error());
      cluster_ = std::move(*opened);
    }
    return cluster_.get();
  }

 private:
  std::unique_ptr<Cluster> cluster_;
};
using ClusterRef = std::shared_ptr<SharedCluster>;

FarScene write_scene(const Run& run, const Cluster& cluster) {
  return {.pool = cluster.pool("far-write"),
          .memory_bytes = run.scaled(384 * kMiB),
          .budget_bytes = run.scaled(512 * kMiB)};
}

RadosBench bench_like(const FarScene& scene, const Run& run) {
  return {.object_bytes = far_object_bytes(scene.budget_bytes),
          .at_once = far_objects_at_once(scene.budget_bytes),
          .seconds = run.scale > 1 ? 1U : 2U};
}

Result<Outcome> compare_write(const Run& run, const ClusterRef& shared) {
  const auto cluster = shared->get();
  if (!cluster) return std::unexpected(cluster.error());
  const FarScene scene = write_scene(run, **cluster);
  auto ours = WorkerProcess::start([scene] { return make_far_writer(scene); });
  if (!ours) return std::unexpected(ours.error());
  if (auto ready = get_ready(**ours, {{kEvict}}); !ready) return std::unexpected(ready.error());
  const RadosBench job = bench_like(scene, run);
  const auto peer = [&]() -> Result<double> {
    const auto written = run_rados_bench(**cluster, job);
    if (!written) return std::unexpected(written.error());
    const auto bytes = (*ours)->round(kBytesPerPage);
    if (!bytes) return std::unexpected(bytes.error());
    return written->bytes_per_second / *bytes / 1e3;
  };
  const auto evict = [&]() -> Result<double> {
    const auto pages = (*ours)->round(kEvict);
    if (!pages) return std::unexpected(pages.error());
    return *pages / 1e3;
  };
  auto series = interleave(run, evict, peer);
  if (!series) return std::unexpected(series.error());
  const auto bytes = (*ours)->round(kBytesPerPage);
  if (!bytes) return std::unexpected(bytes.error());
  Outcome outcome{.unit = "k pages/s", .better = Better::more, .series = std::move(*series)};
  outcome.remarks.push_back(
      fmt::format("far/write {:.0f} bytes a page, in objects of {} KiB, {} at once; peer: rados "
                  "bench -t {} of such objects, {:.0f} MB/s",
                  *bytes, job.object_bytes >> 10, job.at_once, job.at_once,
                  median(outcome.series.peer) * 1e3 * *bytes / 1e6));
  if (auto left = leave(**ours, outcome); !left) return std::unexpected(left.error());
  return outcome;
}

FarScene read_scene(const Run& run, const Cluster& cluster, const std::string& name_space) {
  return {.pool = cluster.pool(name_space),
          .memory_bytes = run.scaled(256 * kMiB),
          .budget_bytes = run.scaled(64 * kMiB),
          .ops_per_round = run.scaled(8192),
          .work = Work::random_read,
          .advice = Advice::random};
}

Result<Outcome> compare_read(const Run& run, const ClusterRef& shared) {
  const auto cluster = shared->get();
  if (!cluster) return std::unexpected(cluster.error());
  const FarScene scene = read_scene(run, **cluster, "far-read");
  const DirectReadsJob job{.configuration = (*cluster)->configuration(),
                           .bytes = scene.memory_bytes,
                           .object_bytes = far_object_bytes(scene.budget_bytes),
                           .reads = scene.ops_per_round};
  return compare_sides(
      run, {.unit = "us"}, [scene] { return make_far_reader(scene); },
      [job] { return make_direct_reads(job); });
}

Result<Outcome> compare_stream(const Run& run, const ClusterRef& shared) {
  const auto cluster = shared->get();
  if (!cluster) return std::unexpected(cluster.error());
  FarScene single = read_scene(run, **cluster, "far-stream");
  single.work = Work::sequential;
  FarScene ahead = single;
  ahead.advice = Advice::normal;
  ahead.ops_per_round = ahead.memory_bytes / kPageBytes;
  return compare_sides(
      run, {.unit = "us/page"}, [ahead] { return make_far_reader(ahead); },
      [single] { return make_far_reader(single); });
}

// Bytes that the OSDs received for each page that one eviction of the writer's sent.
Result<double> received_per_page(const Cluster& cluster, WorkerProcess& writer) {
  const auto before = cluster.bytes_received();
  if (!before) return before;
  const auto pages_before = writer.round(kPagesEvicted);
  if (!pages_before) return pages_before;
  if (auto evicted = writer.round(kEvict); !evicted) return evicted;
  const auto pages = writer.round(kPagesEvicted);
  if (!pages) return pages;
  const auto after = cluster.bytes_received();
  if (!after) return after;
  return (*after - *before) / (*pages - *pages_before);
}

Result<Outcome> compare_packed(const Run& run, const ClusterRef& shared) {
  const auto cluster = shared->get();
  if (!cluster) return std::unexpected(cluster.error());
  const FarScene scene = write_scene(run, **cluster);
  auto ours = WorkerProcess::start([scene] { return make_far_writer(scene); });
  if (!ours) return std::unexpected(ours.error());
  if (auto ready = get_ready(**ours, {{kEvict}}); !ready) return std::unexpected(ready.error());
  const auto bytes = (*ours)->round(kBytesPerPage);
  if (!bytes) return std::unexpected(bytes.error());
  const auto per_object = [&](std::uint64_t object_bytes) -> Result<double> {
    const auto written =
        run_rados_bench(**cluster, {.object_bytes = object_bytes, .at_once = 16, .seconds = 1});
    if (!written) return std::unexpected(written.error());
    return written->bytes_received / written->objects;
  };
  const Turn evict = [&] { return received_per_page(**cluster, **ours); };
  auto series = interleave(run, evict, [&] { return per_object(kPageBytes); });
  if (!series) return std::unexpected(series.error());
  auto small =
      interleave(run, evict, [&] { return per_object(static_cast<std::uint64_t>(*bytes)); });
  if (!small) return std::unexpected(small.error());
  Outcome outcome{.unit = "bytes/page", .series = std::move(*series)};
  outcome.asides.push_back({"far/packed, the peer's pages as short as ours", std::move(*small)});
  outcome.remarks.push_back(fmt::format(
      "far/packed {:.0f} bytes of objects a page (peer: 4096), before replication and messages",
      *bytes));
  if (auto left = leave(**ours, outcome); !left) return std::unexpected(left.error());
  return outcome;
}

Result<Outcome> compare_restore(const Run& run, const ClusterRef& shared) {
  const auto cluster = shared->get();
  if (!cluster) return std::unexpected(cluster.error());
  const RestoreScene lazy{.image = fmt::format("rados:holdfast@holdfast/far-restore/image-{}@{}",
                                               getpid(), (*cluster)->configuration()),
                          .memory_bytes = run.scaled(1024 * kMiB),
                          .budget_bytes = run.scaled(256 * kMiB)};
  RestoreScene copied = lazy;
  copied.copy = fmt::format("/dev/shm/holdfast-bench-{}.image", getpid());
  auto saver = WorkerProcess::start([lazy] { return make_image_saver(lazy); });
  if (!saver) return std::unexpected(saver.error());
  if (auto saved = (*saver)->prepare(); !saved) return std::unexpected(saved.error());
  auto outcome = compare_sides(
      run, {.unit = "ms"}, [lazy] { return make_restorer(lazy); },
      [copied] { return make_restorer(copied); });
  if (auto removed = (*saver)->round(0); !removed) return std::unexpected(removed.error());
  if (!outcome) return outcome;
  if (auto left = leave(**saver, *outcome); !left) return std::unexpected(left.error());
  outcome->remarks.push_back("far/restore " + outcome->notes.back());
  return outcome;
}

}  // namespace

void add_far(Registry& registry) {
  const auto cluster = std::make_shared<SharedCluster>();
  const auto add = [&](const char* name, double target, const char* about, auto compare) {
    registry.push_back(
        {name, target, about, [=](const Run& run) { return compare(run, cluster); }});
  };
  add("far/write", 0.8,
      "pages evicted to a pool of Ceph; peer: rados bench writing as many bytes in such objects",
      compare_write);
  add("far/read", 0.8,
      "faults at random places, served one by one from a pool of Ceph; peer: rados_read of 4 KiB",
      compare_read);
  add("far/stream", 10,
      "faults in order, with read-ahead, from a pool of Ceph; peer: the same one by one",
      compare_stream);
  add("far/packed", 3,
      "what the OSDs receive for each page evicted; peer: one object of 4 KiB for each page",
      compare_packed);
  add("far/restore", 20,
      "the first 16 loads from an image of 1 GiB in a pool of Ceph, in a process that has nothing "
      "of "
      "it; peer: copying the image first, to a file in memory",
      compare_restore);
}

}  // namespace holdfast::bench
