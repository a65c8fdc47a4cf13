// cow/: the pause of a snapshot, and the first writes after it, against fork() of the same memory.
//
// Both sides fill 1 GiB, and have it resident; then, each round, they copy it (snapshot() here,
// fork() there, the child doing nothing) and one of: nothing, all pages in order, all pages at
// random, or 20,000 random pages are written to. The copy is dropped, and everything is written
// once more, so that the next round finds it as this one did.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <vector>

#include "comparison.h"
#include "paging/engine_side.h"
#include "plain_memory.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kBytes = 1ull << 30;
constexpr std::uint64_t kSparseWrites = 20'000;

enum class Writes : std::uint8_t { none, none_armed, clustered, all, sparse };

struct Job {
  Writes writes = Writes::none;
  std::uint64_t bytes = 0;
  std::uint64_t sparse = 0;
};

// Which pages are written to after the copy, in which order.
std::vector<std::uint64_t> order_of(const Job& job) {
  const std::uint64_t pages = job.bytes / kPageBytes;
  std::vector<std::uint64_t> order(pages);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 chance(kSideSeed);
  switch (job.writes) {
    case Writes::none:
    case Writes::none_armed:
      order.clear();
      break;
    case Writes::clustered: {  // sequential within 64 KiB, the pieces in random order
      constexpr std::uint64_t kPiece = 16;
      std::vector<std::uint64_t> pieces(pages / kPiece);
      std::iota(pieces.begin(), pieces.end(), 0);
      std::shuffle(pieces.begin(), pieces.end(), chance);
      for (std::uint64_t i = 0; i < pieces.size() * kPiece; ++i) {
        order[i] = pieces[i / kPiece] * kPiece + i % kPiece;
      }
      break;
    }
    case Writes::all:
    case Writes::sparse:
      std::shuffle(order.begin(), order.end(), chance);
      if (job.writes == Writes::sparse) order.resize(std::min(pages, job.sparse));
      break;
  }
  return order;
}

// What both sides do; how they copy is theirs.
class CopyingSide : public Worker {
 public:
  explicit CopyingSide(const Job& job) : job_(job), order_(order_of(job)) {}

  Result<double> round(unsigned) override {
    if (auto ready = before(); !ready) return std::unexpected(ready.error());
    double start = now_seconds();
    if (auto made = make_copy(); !made) return std::unexpected(made.error());
    double figure = (now_seconds() - start) * 1e3;  // ms
    if (!order_.empty()) {
      start = now_seconds();
      for (const std::uint64_t page : order_) {
        store_word(base_ + page * kPageBytes, page ^ round_);
      }
      figure = (now_seconds() - start) * 1e6 / double(order_.size());  // us a page
    }
    if (auto right = check(); !right) return std::unexpected(right.error());
    if (auto dropped = drop_copy(); !dropped) return std::unexpected(dropped.error());
    ++round_;
    write_all();
    return figure;
  }

 protected:
  virtual Result<void> before() { return {}; }
  virtual Result<void> make_copy() = 0;
  virtual Result<void> drop_copy() = 0;
  virtual Result<void> check() { return {}; }
  void write_all() {
    for (std::uint64_t at = 0; at < job_.bytes; at += kPageBytes) {
      store_word(base_ + at, at / kPageBytes + (round_ << 32));
    }
  }

  const Job job_;
  const std::vector<std::uint64_t> order_;
  std::byte* base_ = nullptr;
  std::uint64_t round_ = 1;
};

class SnapshotSide final : public CopyingSide {
 public:
  using CopyingSide::CopyingSide;

  Result<void> prepare() override {
    auto engine = make_engine(Medium::zram, job_.bytes * 9 / 4, "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    auto region = engine_->map_anonymous(job_.bytes);
    if (!region) return engine_trouble(region.error());
    region_ = std::move(*region);
    base_ = region_.data();
    for (std::uint64_t at = 0; at < job_.bytes; at += 8) {
      store_word(base_ + at, at * 0x9e3779b97f4a7c15ULL);
    }
    write_all();
    return {};
  }
  std::string report() override { return "ours: " + engine_->stats().to_string(); }

 private:
  Result<void> before() override {
    if (job_.writes != Writes::none_armed) return {};
    if (auto armed = engine_->arm(region_); !armed) return engine_trouble(armed.error());
    std::mt19937_64 chance(round_);
    const std::uint64_t pages = job_.bytes / kPageBytes;
    for (std::uint64_t i = 0; i < pages / 100; ++i) {
      const std::uint64_t page = chance() % pages;
      store_word(base_ + page * kPageBytes, page + (round_ << 32));
    }
    return {};
  }
  Result<void> make_copy() override {
    auto made = engine_->snapshot(region_);
    if (!made) return engine_trouble(made.error());
    snapshot_ = std::move(*made);
    return {};
  }
  // The snapshot still has what was there: a sample.
  Result<void> check() override {
    std::uint64_t word = 0;
    for (std::uint64_t page = 0; page < job_.bytes / kPageBytes; page += 1021) {
      auto read = snapshot_.read(page * kPageBytes, std::as_writable_bytes(std::span(&word, 1)));
      if (!read) return engine_trouble(read.error());
      if (word != page + (round_ << 32)) return failure("the snapshot has changed");
    }
    return {};
  }
  Result<void> drop_copy() override {
    if (auto dropped = snapshot_.drop(); !dropped) return engine_trouble(dropped.error());
    return {};
  }

  std::unique_ptr<Engine> engine_;
  Region region_;
  Snapshot snapshot_;
};

class ForkSide final : public CopyingSide {
 public:
  using CopyingSide::CopyingSide;

  Result<void> prepare() override {
    auto memory = PlainMemory::map(job_.bytes);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    base_ = memory_->data();
    for (std::uint64_t at = 0; at < job_.bytes; at += 8) {
      store_word(base_ + at, at * 0x9e3779b97f4a7c15ULL);
    }
    write_all();
    return {};
  }
  std::string report() override { return "kernel: fork(), anonymous memory, MADV_NOHUGEPAGE"; }

 private:
  Result<void> make_copy() override {
    child_ = fork();
    if (child_ < 0) return system_trouble("fork");
    if (child_ == 0) {
      pause();
      _exit(0);
    }
    return {};
  }
  Result<void> drop_copy() override {
    kill(child_, SIGKILL);
    int status = 0;
    if (waitpid(child_, &status, 0) != child_) return system_trouble("waitpid");
    return {};
  }

  std::unique_ptr<PlainMemory> memory_;
  pid_t child_ = -1;
};

Result<Outcome> compare(const Run& run, Writes writes) {
  const Job job{writes, run.scaled(kBytes), run.scaled(kSparseWrites)};
  const bool pause = writes == Writes::none || writes == Writes::none_armed;
  return compare_sides(
      run, {.unit = pause ? "ms" : "us/page"}, [=] { return std::make_unique<SnapshotSide>(job); },
      [=] { return std::make_unique<ForkSide>(job); });
}

}  // namespace

void add_first_writes(Registry& registry) {
  const auto add = [&](const char* name, double target, const char* about, Writes writes) {
    registry.push_back(
        {name, target, about, [writes](const Run& run) { return compare(run, writes); }});
  };
  add("cow/pause", 1, "the pause of snapshot() of 1 GiB resident; peer: of fork()", Writes::none);
  add("cow/pause-armed", 10, "the same, armed, with 1 % of the pages written since; peer: fork()",
      Writes::none_armed);
  add("cow/write-clustered", 2,
      "first writes after the copy, sequential within 64 KiB; peer: the kernel's copy on write",
      Writes::clustered);
  add("cow/write-all", 1.2, "first writes after the copy, every page once in random order",
      Writes::all);
  add("cow/write-sparse", 0.4, "20,000 first writes after the copy at random pages",
      Writes::sparse);
}

}  // namespace holdfast::bench
