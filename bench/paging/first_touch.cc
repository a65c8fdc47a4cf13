// paging/first-touch: filling fresh memory inside the budget, against the kernel's own.
#include <memory>

#include "comparison.h"
#include "paging/engine_side.h"
#include "plain_memory.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kBudget = 512ull << 20;
constexpr std::uint64_t kFilledBytes = 400ull << 20;

// One store to each page, in order: microseconds a page.
double touch_all(std::byte* base, std::uint64_t bytes) {
  const double start = now_seconds();
  for (std::uint64_t offset = 0; offset < bytes; offset += kPageBytes) {
    store_word(base + offset, offset + 1);
  }
  return (now_seconds() - start) * 1e6 * double(kPageBytes) / double(bytes);
}

Result<void> check_touched(const std::byte* base, std::uint64_t bytes) {
  for (std::uint64_t offset = 0; offset < bytes; offset += kPageBytes) {
    if (load_word(base + offset) != offset + 1 || load_word(base + offset + 8) != 0) {
      return failure("fresh memory does not hold what was stored");
    }
  }
  return {};
}

class FreshRegion final : public Worker {
 public:
  FreshRegion(std::uint64_t budget, std::uint64_t bytes) : budget_(budget), bytes_(bytes) {}

  Result<void> prepare() override {
    auto engine = make_engine(Medium::zram, budget_, "/var/tmp");
    if (!engine) return std::unexpected(engine.error());
    engine_ = std::move(*engine);
    return {};
  }
  Result<double> round(unsigned) override {
    auto region = engine_->map_anonymous(bytes_);
    if (!region) return engine_trouble(region.error());
    const double figure = touch_all(region->data(), bytes_);
    const auto right = check_touched(region->data(), bytes_);
    if (auto unmapped = region->unmap(); !unmapped) return engine_trouble(unmapped.error());
    // What munmap does for the peer, also untimed: every page back before the next round.
    engine_->reclaim(bytes_ / kPageBytes);
    if (!right) return std::unexpected(right.error());
    return figure;
  }
  std::string report() override { return "ours: " + engine_->stats().to_string(); }

 private:
  std::uint64_t budget_;
  std::uint64_t bytes_;
  std::unique_ptr<Engine> engine_;
};

class FreshAnonymous final : public Worker {
 public:
  explicit FreshAnonymous(std::uint64_t bytes) : bytes_(bytes) {}

  Result<void> prepare() override { return {}; }
  Result<double> round(unsigned) override {
    const auto memory = PlainMemory::map(bytes_);
    if (!memory) return std::unexpected(memory.error());
    const double figure = touch_all((*memory)->data(), bytes_);
    if (auto right = check_touched((*memory)->data(), bytes_); !right) {
      return std::unexpected(right.error());
    }
    return figure;
  }
  std::string report() override { return "kernel: anonymous memory, MADV_NOHUGEPAGE, no cgroup"; }

 private:
  std::uint64_t bytes_;
};

Result<Outcome> compare(const Run& run) {
  const std::uint64_t budget = run.scaled(kBudget);
  const std::uint64_t bytes = run.scaled(kFilledBytes);
  return compare_sides(
      run, {.unit = "us/page"}, [=] { return std::make_unique<FreshRegion>(budget, bytes); },
      [=] { return std::make_unique<FreshAnonymous>(bytes); });
}

}  // namespace

void add_first_touch(Registry& registry) {
  registry.push_back({"paging/first-touch", 0.8,
                      "one store to each fresh page, 400 MiB in a budget of 512; peer: the "
                      "kernel's anonymous memory",
                      compare});
}

}  // namespace holdfast::bench
