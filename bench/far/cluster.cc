#include "far/cluster.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

namespace holdfast::bench {
namespace {

constexpr unsigned kOsds = 3;

std::string last_line(const std::string& text) {
  const std::string trimmed = text.substr(0, text.find_last_not_of('\n') + 1);
  return trimmed.substr(trimmed.rfind('\n') + 1);
}

// The number after `key` in what `rados bench` prints; 0: it is not there.
double number_after(const std::string& text, const std::string& key) {
  const std::size_t at = text.find(key);
  return at == std::string::npos ? 0 : std::atof(text.c_str() + at + key.size());
}

}  // namespace

Result<std::unique_ptr<Cluster>> Cluster::open() {
  std::unique_ptr<Cluster> cluster(new Cluster());
  const char* const given = std::getenv("HOLDFAST_CEPH_DIR");
  if (given != nullptr && *given != '\0') {
    cluster->folder_ = given;
    const Said said = cluster->script("status");
    if (said.status != 0) return skip("HOLDFAST_CEPH_DIR: " + last_line(said.text));
    return cluster;
  }
  cluster->folder_ = fmt::format("/var/tmp/holdfast-bench-{}-ceph", getpid());
  const Said said = cluster->script("up");
  if (said.status != 0) return skip(last_line(said.text));
  cluster->own_ = true;
  return cluster;
}

Cluster::~Cluster() {
  if (own_) (void)script("down");
}

FarPool Cluster::pool(const std::string& name_space) const {
  return {.pool = "holdfast",
          .name_space = name_space,
          .configuration = configuration(),
          .user = "holdfast"};
}

Said Cluster::script(const std::string& command) const {
  return run_command(fmt::format("HOLDFAST_CEPH_DIR='{}' '{}/scripts/ceph-cluster.sh' {} 2>&1",
                                 folder_, HOLDFAST_SOURCE_DIR, command));
}

Said Cluster::rados(const std::string& arguments) const {
  return run_command(
      fmt::format("timeout 120 rados --conf '{}' --name client.holdfast -p holdfast {} 2>&1",
                  configuration(), arguments));
}

// Each OSD has a few messengers, which share the workers that count.
Result<double> Cluster::bytes_received() const {
  double bytes = 0;
  for (unsigned osd = 0; osd < kOsds; ++osd) {
    const Said said = script(fmt::format("ceph tell osd.{} perf dump", osd));
    const std::size_t begin = said.text.find('{');
    const auto json = nlohmann::json::parse(
        begin == std::string::npos ? std::string() : said.text.substr(begin), nullptr, false);
    if (said.status != 0 || json.is_discarded()) {
      return failure(
          fmt::format("osd.{} does not say what it received: {}", osd, last_line(said.text)));
    }
    for (const auto& [name, counters] : json.items()) {
      if (name.starts_with("AsyncMessenger")) bytes += counters.value("msgr_recv_bytes", 0.0);
    }
  }
  return bytes;
}

Result<Written> run_rados_bench(const Cluster& cluster, const RadosBench& job) {
  const auto before = cluster.bytes_received();
  if (!before) return std::unexpected(before.error());
  const std::string run_name = fmt::format("holdfast-bench-{}", getpid());
  const Said said = cluster.rados(
      fmt::format("-N rados-bench bench {} write -b {} -O {} -t {} --no-cleanup --run-name {}",
                  job.seconds, job.object_bytes, job.object_bytes, job.at_once, run_name));
  const auto after = cluster.bytes_received();
  (void)cluster.rados(fmt::format("-N rados-bench cleanup --run-name {}", run_name));
  if (!after) return std::unexpected(after.error());
  Written written;
  written.objects = number_after(said.text, "Total writes made:");
  const double seconds = number_after(said.text, "Total time run:");
  if (said.status != 0 || written.objects == 0 || seconds == 0) {
    return failure("rados bench: " + last_line(said.text));
  }
  written.bytes_per_second = written.objects * double(job.object_bytes) / seconds;
  written.bytes_received = *after - *before;
  return written;
}

}  // namespace holdfast::bench
