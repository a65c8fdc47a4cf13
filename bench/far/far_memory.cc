#include "far/far_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

#include "paging/engine_side.h"

namespace holdfast::bench {
namespace {

class FarEngine : public Worker {
 public:
  explicit FarEngine(const FarScene& scene) : scene_(scene) {}
  std::string report() override {
    return fmt::format("ours: {}\n{}", engine_->description(), engine_->stats().to_string());
  }

 protected:
  Result<void> build() {
    Options options;
    options.memory_budget = scene_.budget_bytes;
    options.delivery = FaultDelivery::signal;
    options.swap = {{.kind = SwapTier::Kind::rados, .far = scene_.pool}};
    auto engine = Engine::create(options);
    if (!engine) return engine_trouble(engine.error());
    engine_ = std::move(*engine);
    return {};
  }
  Result<void> fill() {
    region_ = Region();
    auto region = engine_->map_anonymous(scene_.memory_bytes);
    if (!region) return engine_trouble(region.error());
    region_ = std::move(*region);
    if (auto advised = region_.advise(0, scene_.memory_bytes, scene_.advice); !advised) {
      return engine_trouble(advised.error());
    }
    workload_ = std::make_unique<Workload>(region_.data(), 0, pages(), kSideSeed);
    workload_->fill();
    return {};
  }
  [[nodiscard]] std::uint64_t pages() const { return scene_.memory_bytes / kPageBytes; }
  [[nodiscard]] SwapTierStats tier() const { return engine_->stats().tiers.at(0); }

  FarScene scene_;
  std::unique_ptr<Engine> engine_;
  Region region_;
  std::unique_ptr<Workload> workload_;
};

class FarWriter final : public FarEngine {
 public:
  using FarEngine::FarEngine;

  Result<void> prepare() override { return build(); }
  Result<double> round(unsigned part) override {
    if (part == kBytesPerPage) return bytes_per_page();
    if (part == kPagesEvicted) return double(tier().stores);
    if (auto filled = fill(); !filled) return std::unexpected(filled.error());
    const SwapTierStats before = tier();
    const double start = now_seconds();
    engine_->reclaim(pages());
    const double seconds = now_seconds() - start;
    const SwapTierStats after = tier();
    if (after.stores - before.stores < pages() / 2) {
      return failure(fmt::format("{} of {} pages left", after.stores - before.stores, pages()));
    }
    // What stands in staging has not got there: only bytes that the cluster has acknowledged count.
    return double(after.written_bytes - before.written_bytes) / bytes_per_page() / seconds;
  }

 private:
  [[nodiscard]] double bytes_per_page() const {
    const SwapTierStats all = tier();
    return all.pages == 0 ? 0 : double(all.held_bytes) / double(all.pages);
  }
};

class FarReader final : public FarEngine {
 public:
  using FarEngine::FarEngine;

  Result<void> prepare() override {
    if (auto built = build(); !built) return built;
    if (auto filled = fill(); !filled) return filled;
    engine_->reclaim(pages());
    return {};
  }
  Result<double> round(unsigned) override {
    const std::uint64_t before = tier().loads;
    auto interval = checked(workload_->run(scene_.work, scene_.ops_per_round));
    if (!interval) return std::unexpected(interval.error());
    const std::uint64_t brought_in = tier().loads - before;
    if (brought_in < scene_.ops_per_round / 2) {
      return failure(fmt::format("{} of {} loads were served from the pool", brought_in,
                                 scene_.ops_per_round));
    }
    return interval->seconds * 1e6 / double(brought_in);
  }
};

}  // namespace

std::unique_ptr<Worker> make_far_writer(const FarScene& scene) {
  return std::make_unique<FarWriter>(scene);
}

std::unique_ptr<Worker> make_far_reader(const FarScene& scene) {
  return std::make_unique<FarReader>(scene);
}

std::uint64_t far_object_bytes(std::uint64_t budget_bytes) {
  return std::clamp<std::uint64_t>(std::bit_floor(budget_bytes / 64), 64 << 10, 4 << 20);
}

unsigned far_objects_at_once(std::uint64_t budget_bytes) {
  return static_cast<unsigned>(
      std::clamp<std::uint64_t>(budget_bytes / 16 / far_object_bytes(budget_bytes), 4, 16));
}

}  // namespace holdfast::bench
