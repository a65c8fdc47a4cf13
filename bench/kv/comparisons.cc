// cow/kv and cow/save: examples/kv against redis-server, each with its own BGSAVE.
#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "comparison.h"
#include "kv/saving_server.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kKeys = 2 << 20;
constexpr std::uint64_t kValueBytes = 512;
// Twice what the data takes with its overhead, as a server that forks may come to need: nothing has
// to leave memory on either side.
constexpr std::uint64_t kBudget = 3ull << 30;

// A folder for the sockets and images of both, removed in the end.
class Folder {
 public:
  Folder() : path_(fmt::format("/var/tmp/holdfast-bench-{}-kv", getpid())) {
    std::error_code error;
    for (const char* side : {"/ours", "/peer"}) {
      std::filesystem::create_directories(path_ + side, error);
    }
  }
  ~Folder() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  [[nodiscard]] std::string side(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// Both servers, ready.
class Pair {
 public:
  [[nodiscard]] Result<void> prepare(const Run& run) {
    const std::uint64_t keys = run.scaled(kKeys);
    const ServerSettings settings[] = {
        {.kind = ServerKind::kv, .directory = folder_.side("ours"), .memory = run.scaled(kBudget)},
        {.kind = ServerKind::redis, .directory = folder_.side("peer")}};
    for (const int i : {1, 0}) {  // redis-server first: it may be missing
      auto started = WorkerProcess::start([=, &settings] {
        return std::make_unique<SavingServer>(settings[i], keys, kValueBytes);
      });
      if (!started) return std::unexpected(started.error());
      sides_[i] = std::move(*started);
      if (auto ready = sides_[i]->prepare(); !ready) return ready;
    }
    return {};
  }
  [[nodiscard]] Result<Series> measure(const Run& run, SavingPart part) {
    return interleave(run, {*sides_[0], part}, {*sides_[1], part});
  }
  // Their reports into the notes; lets them go.
  [[nodiscard]] Result<void> finish(Outcome& outcome) {
    for (const auto& side : sides_) {
      auto report = side->report();
      if (!report) return std::unexpected(report.error());
      outcome.notes.push_back(std::move(*report));
    }
    for (const auto& side : sides_) {
      if (auto left = side->finish(); !left) return left;
    }
    return {};
  }

 private:
  Folder folder_;
  std::unique_ptr<WorkerProcess> sides_[2];  // ours, peer
};

Result<Outcome> compare_latency(const Run& run) {
  Pair pair;
  if (auto ready = pair.prepare(run); !ready) return std::unexpected(ready.error());
  auto series = pair.measure(run, kLoadedSave);
  if (!series) return std::unexpected(series.error());
  Outcome outcome{.unit = "us", .better = Better::less, .series = std::move(*series)};
  const std::pair<const char*, SavingPart> asides[] = {
      {"cow/kv-no-save", kLoadAlone}, {"cow/kv-median", kToldMedian}, {"cow/kv-max", kToldLongest}};
  for (const auto& [name, part] : asides) {
    auto aside = pair.measure(run, part);
    if (!aside) return std::unexpected(aside.error());
    outcome.asides.push_back({name, std::move(*aside)});
  }
  auto rate = pair.measure(run, kToldRate);
  auto seconds = pair.measure(run, kToldSeconds);
  if (!rate) return std::unexpected(rate.error());
  if (!seconds) return std::unexpected(seconds.error());
  outcome.remarks.push_back(fmt::format(
      "meanwhile ours did {:.1f} k SET/s and saved in {:.2f} s, the peer {:.1f} k SET/s "
      "and {:.2f} s",
      median(rate->ours), median(seconds->ours), median(rate->peer), median(seconds->peer)));
  if (auto done = pair.finish(outcome); !done) return std::unexpected(done.error());
  return outcome;
}

Result<Outcome> compare_saving(const Run& run) {
  Pair pair;
  if (auto ready = pair.prepare(run); !ready) return std::unexpected(ready.error());
  auto series = pair.measure(run, kSaveAlone);
  if (!series) return std::unexpected(series.error());
  Outcome outcome{.unit = "MB/s", .better = Better::more, .series = std::move(*series)};
  if (auto done = pair.finish(outcome); !done) return std::unexpected(done.error());
  return outcome;
}

}  // namespace

void add_kv(Registry& registry) {
  registry.push_back({"cow/kv", 2,
                      "99.9th percentile latency of SET during a BGSAVE, 50 clients; peer: "
                      "redis-server during its own",
                      compare_latency});
  registry.push_back({"cow/save", 1,
                      "BGSAVE of an idle server, bytes of keys and values per second; peer: "
                      "redis-server",
                      compare_saving});
}

}  // namespace holdfast::bench
