#include "paging/engine_side.h"

#include <fmt/format.h>

#include <cstdlib>

#include "kernel_peer/text_file.h"

namespace holdfast::bench {
namespace {

constexpr unsigned kTrialsMost = 5;

std::uint64_t distance(std::uint64_t left, std::uint64_t right) {
  return left < right ? right - left : left - right;
}

}  // namespace

std::unexpected<Trouble> engine_trouble(const Error& error) {
  const bool refused = error.code == Errc::permission || error.code == Errc::unsupported;
  return refused ? skip(error.message()) : failure(error.message());
}

Result<std::unique_ptr<Engine>> make_engine(Medium medium, std::uint64_t budget,
                                            const std::string& directory) {
  Options options;
  options.memory_budget = budget;
  options.delivery = FaultDelivery::signal;
  SwapTier tier;
  tier.kind = medium == Medium::zram ? SwapTier::Kind::ram : SwapTier::Kind::file;
  tier.directory = directory;
  options.swap = {tier};
  auto engine = Engine::create(options);
  if (!engine) return engine_trouble(engine.error());
  return std::move(*engine);
}

std::uint64_t frame_bytes(const Stats& stats) {
  return (stats.frames_total - stats.frames_charged) * kPageBytes;
}

Result<void> EngineSide::prepare() {
  const std::uint64_t wanted = scene_.resident_bytes;
  // The first guess: half of what does not fit, as compressed images, and 2 % for tables.
  std::uint64_t budget = wanted + scene_.memory_bytes / 50;
  if (scene_.medium == Medium::zram) budget += (scene_.memory_bytes - wanted) / 2;
  for (trials_ = 1; trials_ <= kTrialsMost; ++trials_) {
    if (auto built = build(budget); !built) return built;
    const std::uint64_t frames = frame_bytes(engine_->stats());
    if (distance(frames, wanted) <= wanted / 100) return {};
    budget = budget + wanted - frames;
  }
  return failure(fmt::format("no budget gives {} MiB of frames: the last was {} MiB", wanted >> 20,
                             frame_bytes(engine_->stats()) >> 20));
}

Result<void> EngineSide::build(std::uint64_t budget) {
  workload_.reset();
  region_ = Region();
  engine_.reset();
  auto engine = make_engine(scene_.medium, budget, scene_.directory);
  if (!engine) return std::unexpected(engine.error());
  engine_ = std::move(*engine);
  auto region = engine_->map_anonymous(scene_.memory_bytes);
  if (!region) return engine_trouble(region.error());
  region_ = std::move(*region);
  workload_ =
      std::make_unique<Workload>(region_.data(), 0, scene_.memory_bytes / kPageBytes, kSideSeed);
  workload_->fill();
  // Every page has been out once, whatever fits: the compressed images of the steady state are
  // there.
  engine_->reclaim(scene_.memory_bytes / kPageBytes);
  auto warm = warm_up([this] { return interval(); }, scene_.ops_warm_up);
  if (!warm) return std::unexpected(warm.error());
  ops_warm_ = *warm;
  return {};
}

Result<Interval> EngineSide::interval() {
  if (scene_.pinned) return pinned_reads();
  return checked(workload_->run(scene_.work, scene_.ops_per_round));
}

Result<Interval> EngineSide::age() {
  auto aged = checked(workload_->run(Work::random_mixed, scene_.ops_aging));
  if (!aged) return aged;
  return interval();
}

Result<Interval> EngineSide::pinned_reads() {
  Interval interval{.ops = scene_.ops_per_round};
  const double start = now_seconds();
  for (std::uint64_t op = 0; op < interval.ops; ++op) {
    const std::uint64_t page = workload_->next_page(scene_.work);
    const std::byte* const address = workload_->address_of(page);
    const auto pin = engine_->pin(address, sizeof(std::uint64_t));
    if (!pin) return engine_trouble(pin.error());
    if (load_word(address) != page_tag(page)) ++interval.wrong;
  }
  interval.seconds = now_seconds() - start;
  return checked(interval);
}

Result<void> EngineSide::check_frames() {
  const std::uint64_t frames = frame_bytes(engine_->stats());
  if (frames <= scene_.resident_bytes + scene_.resident_bytes / 50) return {};
  return failure(fmt::format("the engine has {} MiB of frames where the peer has {} MiB",
                             frames >> 20, scene_.resident_bytes >> 20));
}

std::string EngineSide::report() {
  const Stats stats = engine_->stats();
  const auto mebibytes = [](std::uint64_t pages) { return pages * kPageBytes >> 20; };
  return fmt::format(
      "ours: {}\nbudget {} MiB, found in {} trial(s); warmed up by {} ops\n"
      "{} MiB of frames: {} resident, {} cached, {} free, {} warm; {} MiB compressed or tables\n"
      "process: {} MiB resident\n{}",
      engine_->description(), stats.budget_bytes >> 20, trials_, ops_warm_,
      frame_bytes(stats) >> 20, mebibytes(stats.pages_resident), mebibytes(stats.pages_cached),
      mebibytes(stats.frames_free), mebibytes(stats.frames_warm), mebibytes(stats.frames_charged),
      status_kilobytes("RssAnon") >> 10, stats.to_string());
}

}  // namespace holdfast::bench
