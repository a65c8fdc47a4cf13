// cow/memory: the most memory that is taken while every page is rewritten during a save, against
// fork() of the same memory.
//
// Both sides fill 1 GiB, and have it resident as far as they may; then they copy it (snapshot()
// here, fork() there), save the copy to a file, and meanwhile write one word to each page, in the
// same random order. The copy is dropped when it has been saved and every page has been rewritten,
// whichever is later: so the figure is that of the worst case, a disk that is slower than the
// program, and does not hang on how fast either side is.
//
// Ours works under a budget of a sixteenth more than the memory, which has to do for pages, copies,
// their compressed images and tables. Its figure is VmHWM of its process, all that stands beside
// the budget included. The peer's is the largest sum of Pss of both processes, sampled all the time
// and once more when everything has been rewritten. Page cache is in neither.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "comparison.h"
#include "kernel_peer/text_file.h"
#include "paging/engine_side.h"
#include "plain_memory.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kBytes = 1ull << 30;
constexpr std::size_t kPiece = 1 << 20;  // that the peer's child writes at once
constexpr std::chrono::milliseconds kBetweenSamples(20);

constexpr std::uint64_t budget_for(std::uint64_t bytes) {
  return std::max(bytes + bytes / 16, Engine::kMinimumBudget);
}

// What round() gives: the figure of a new round, or a fact of the last one.
enum PeakPart : unsigned { kPeak, kToldBefore, kToldRewriting, kToldSaving };

struct Facts {
  double peak = 0, before = 0;       // MiB
  double rewriting = 0, saving = 0;  // seconds
};

double mebibytes(unsigned long long kilobytes) { return double(kilobytes) / 1024; }

// The proportional share of a process, kB; 0: it is gone.
unsigned long long pss_kilobytes(pid_t pid) {
  std::ifstream rollup(fmt::format("/proc/{}/smaps_rollup", pid));
  std::string field;
  unsigned long long kilobytes = 0;
  while (rollup >> field) {
    if (field == "Pss:" && rollup >> kilobytes) return kilobytes;
  }
  return 0;
}

class PeakSide : public Worker {
 public:
  explicit PeakSide(std::uint64_t bytes) : bytes_(bytes), order_(bytes / kPageBytes) {
    std::iota(order_.begin(), order_.end(), 0);
    std::mt19937_64 chance(kSideSeed);
    std::shuffle(order_.begin(), order_.end(), chance);
  }

  Result<void> prepare() override { return {}; }
  Result<double> round(unsigned part) override {
    if (part == kPeak) {
      if (auto done = measure(); !done) return std::unexpected(done.error());
      return facts_.peak;
    }
    if (part == kToldBefore) return facts_.before;
    return part == kToldRewriting ? facts_.rewriting : facts_.saving;
  }

 protected:
  virtual Result<void> measure() = 0;

  void fill(std::byte* base) { Workload(base, 0, bytes_ / kPageBytes, kSideSeed).fill(); }
  // One word of each page, not that of its tag.
  void rewrite(std::byte* base) {
    const double start = now_seconds();
    for (const std::uint64_t page : order_) store_word(base + page * kPageBytes + 8, page * 3);
    facts_.rewriting = now_seconds() - start;
  }
  [[nodiscard]] std::string path(const char* side) const {
    return fmt::format("/var/tmp/holdfast-bench-{}-{}", getpid(), side);
  }

  const std::uint64_t bytes_;
  std::vector<std::uint64_t> order_;
  Facts facts_;
};

// --- ours ---

class SnapshotPeak final : public PeakSide {
 public:
  using PeakSide::PeakSide;
  std::string report() override { return report_; }

 private:
  Result<void> measure() override {
    auto engine = make_engine(Medium::zram, budget_for(bytes_), "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    auto region = (*engine)->map_anonymous(bytes_);
    if (!region) return engine_trouble(region.error());
    fill(region->data());
    if (auto reset = write_text("/proc/self/clear_refs", "5"); !reset) return reset;  // VmHWM
    facts_.before = mebibytes(status_kilobytes("VmRSS"));
    auto snapshot = (*engine)->snapshot(*region);
    if (!snapshot) return engine_trouble(snapshot.error());
    const std::string file = path("image");
    Expected<SaveReport> saved;
    std::thread saver([&] {
      const double start = now_seconds();
      saved = save_to(*snapshot, file);
      facts_.saving = now_seconds() - start;
    });
    rewrite(region->data());
    saver.join();
    facts_.peak = mebibytes(status_kilobytes("VmHWM"));
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    if (!saved) return engine_trouble(saved.error());
    report_ = "ours: " + (*engine)->stats().to_string();
    return check(*snapshot);
  }
  // The snapshot has what was there: a sample.
  Result<void> check(const Snapshot& snapshot) {
    std::uint64_t tag = 0;
    for (std::uint64_t page = 0; page < bytes_ / kPageBytes; page += 1021) {
      auto read = snapshot.read(page * kPageBytes, std::as_writable_bytes(std::span(&tag, 1)));
      if (!read) return engine_trouble(read.error());
      if (tag != page_tag(page)) return failure("the snapshot has changed");
    }
    return {};
  }

  std::string report_;
};

// --- the peer ---

class ForkPeak final : public PeakSide {
 public:
  using PeakSide::PeakSide;
  std::string report() override {
    return "kernel: fork(), anonymous memory, MADV_NOHUGEPAGE, the child writes it uncompressed";
  }

 private:
  Result<void> measure() override {
    if (pss_kilobytes(getpid()) == 0) return skip("no /proc/self/smaps_rollup");
    auto memory = PlainMemory::map(bytes_);
    if (!memory) return std::unexpected(memory.error());
    fill((*memory)->data());
    facts_.before = mebibytes(pss_kilobytes(getpid()));
    const std::string file = path("memory");
    int told[2];
    if (pipe(told) != 0) return system_trouble("pipe");
    const double start = now_seconds();
    const pid_t child = fork();
    if (child < 0) return system_trouble("fork");
    if (child == 0) save_and_wait((*memory)->data(), file.c_str(), told[1]);
    close(told[1]);
    std::atomic<bool> over{false};
    std::atomic<unsigned long long> peak{0};
    std::thread sampler([&] {
      while (!over) {
        peak = std::max(peak.load(), pss_kilobytes(getpid()) + pss_kilobytes(child));
        std::this_thread::sleep_for(kBetweenSamples);
      }
    });
    rewrite((*memory)->data());
    char good = 0;
    const bool answered = read(told[0], &good, 1) == 1;
    facts_.saving = now_seconds() - start;
    over = true;
    sampler.join();
    const auto end = pss_kilobytes(getpid()) + pss_kilobytes(child);
    facts_.peak = mebibytes(std::max(peak.load(), end));
    close(told[0]);
    kill(child, SIGKILL);
    int status = 0;
    if (waitpid(child, &status, 0) != child) return system_trouble("waitpid");
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    if (!answered || good == 0) return failure("the forked child could not save");
    return {};
  }
  // In the child: says how it went when all is on the disk, and waits for its end.
  [[noreturn]] void save_and_wait(const std::byte* memory, const char* file, int tell) const {
    const int fd = open(file, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    char good = fd >= 0 ? 1 : 0;
    for (std::uint64_t at = 0; at < bytes_ && good != 0; at += kPiece) {
      const std::size_t piece = std::min<std::uint64_t>(kPiece, bytes_ - at);
      if (write(fd, memory + at, piece) != ssize_t(piece)) good = 0;
    }
    if (good != 0 && fdatasync(fd) != 0) good = 0;
    (void)!write(tell, &good, 1);
    for (;;) pause();
  }
};

Result<Outcome> compare(const Run& run) {
  const std::uint64_t bytes = run.scaled(kBytes);
  auto ours = WorkerProcess::start([=] { return std::make_unique<SnapshotPeak>(bytes); });
  if (!ours) return std::unexpected(ours.error());
  auto peer = WorkerProcess::start([=] { return std::make_unique<ForkPeak>(bytes); });
  if (!peer) return std::unexpected(peer.error());
  auto series = interleave(run, {**ours}, {**peer});
  if (!series) return std::unexpected(series.error());
  Outcome outcome{.unit = "MiB", .series = std::move(*series)};
  for (WorkerProcess* side : {ours->get(), peer->get()}) {
    std::array<double, 3> told{};
    for (const unsigned part : {kToldBefore, kToldRewriting, kToldSaving}) {
      auto fact = side->round(part);
      if (!fact) return std::unexpected(fact.error());
      told[part - kToldBefore] = *fact;
    }
    outcome.remarks.push_back(fmt::format(
        "{}: {:.0f} MiB resident before; in the last round rewriting took {:.2f} s, saving "
        "{:.2f} s{}",
        side == ours->get() ? "ours" : "peer", told[0], told[1], told[2],
        side == ours->get() ? fmt::format("; budget {} MiB", budget_for(bytes) >> 20) : ""));
    if (auto left = leave(*side, outcome); !left) return std::unexpected(left.error());
  }
  return outcome;
}

}  // namespace

void add_memory_peak(Registry& registry) {
  registry.push_back({"cow/memory", 1.8,
                      "the most memory taken while every page is rewritten during a save; peer: "
                      "fork(), whose child saves",
                      compare});
}

}  // namespace holdfast::bench
