#include "engine/plan.h"

#include <algorithm>
#include <bit>

#include "holdfast/engine.h"
#include "space/space.h"

namespace holdfast::engine {
namespace {

constexpr std::uint32_t kWindowsMin = 4;    // of frames: one leaving, one inactive, two at work
constexpr std::uint32_t kFramesFloor = 64;  // with the smallest windows, room for one full run
constexpr std::uint64_t kSlotsMax = std::uint64_t{1} << 28;  // 1 TiB of swapped pages

Error bad_option(const char* what, std::uint64_t value, std::uint64_t limit, const char* remedy) {
  return {.code = Errc::invalid_argument,
          .doing = "create engine",
          .what = what,
          .value = value,
          .limit = limit,
          .remedy = remedy};
}

// The least budget: at 512 pages a window this is Engine::kMinimumBudget.
std::uint64_t minimum_budget(std::uint32_t window_pages) {
  return std::max(kWindowsMin * window_pages, kFramesFloor) * std::uint64_t{kPageSize};
}
static_assert(Engine::kMinimumBudget == 4 * 512 * kPageSize);

// min keeps enough frames for the compressed memory of one batch of write-out; low gives the
// reclaimer time to answer; between low and high it works. What stands free serves nobody, so the
// steps are small where there are many frames: a window (512) makes one, and a burst of faults of a
// millisecond finds frames.
page::Watermarks watermarks(std::uint32_t frames) {
  const std::uint32_t step = std::max(8U, std::min(frames / 64, 256 + frames / 512));
  page::Watermarks marks;
  marks.min = std::max(8U, std::min(frames / 32, 128 + frames / 512));
  marks.low = marks.min + step;
  marks.high = marks.low + step;
  return marks;
}

// Windows of the pool: each frame may stand in one while another half-empty one is kept for it.
std::uint64_t windows(std::uint64_t frames, std::uint64_t window_pages) {
  return frames / window_pages * 2 + 64;
}

// Compressed memory grows by blocks of 16 frames, less where there are few.
std::uint32_t ram_block_bytes(std::uint32_t frames) {
  return std::bit_floor(std::clamp(frames / 256, 2U, 16U)) * static_cast<std::uint32_t>(kPageSize);
}

swap::Compression codec(SwapCompression compression) {
  switch (compression) {
    case SwapCompression::none:
      return swap::Compression::none;
    case SwapCompression::zstd:
      return swap::Compression::zstd;
    case SwapCompression::lz4:
      break;
  }
  return swap::Compression::lz4;
}

swap::TierKind kind(SwapTier::Kind from) {
  switch (from) {
    case SwapTier::Kind::ram:
      return swap::TierKind::ram;
    case SwapTier::Kind::rados:
      return swap::TierKind::rados;
    case SwapTier::Kind::file:
      break;
  }
  return swap::TierKind::file;
}

// Staging takes a sixteenth of the memory or less, in four objects where there is little of it.
void plan_far(swap::TierOptions& to, const FarPool& from, std::uint64_t memory) {
  constexpr std::uint64_t kLeast = 64 * 1024, kMost = 4096 * 1024;
  to.far = {.pool = from.pool,
            .name_space = from.name_space,
            .configuration = from.configuration,
            .user = from.user,
            .wait_ns = std::uint64_t{from.wait_seconds} * 1'000'000'000};
  to.object_bytes =
      static_cast<std::uint32_t>(std::clamp(std::bit_floor(memory / 64), kLeast, kMost));
  to.staging =
      static_cast<std::uint32_t>(std::clamp<std::uint64_t>(memory / 16 / to.object_bytes, 4, 16));
}

sys::IoBackend backend(SwapIo io) {
  switch (io) {
    case SwapIo::ring:
      return sys::IoBackend::ring;
    case SwapIo::plain:
      return sys::IoBackend::plain;
    case SwapIo::automatic:
      break;
  }
  return sys::IoBackend::automatic;
}

swap::TierOptions tier(const SwapTier& from, bool is_last, const Options& options,
                       std::uint32_t frames) {
  swap::TierOptions to;
  to.kind = kind(from.kind);
  to.compression = codec(from.compression);
  to.limit_bytes = from.limit_bytes;
  to.directory = from.directory;
  to.encrypted = from.encrypted;
  to.io = backend(from.io);
  if (to.kind == swap::TierKind::rados) plan_far(to, from.far, options.memory_budget);
  to.block_bytes = ram_block_bytes(frames);
  if (frames < 1024) to.cluster_bytes = 16 * 1024;
  const bool by_default = to.kind == swap::TierKind::ram && to.limit_bytes == 0 && !is_last;
  if (by_default) to.limit_bytes = options.memory_budget / 2;
  return to;
}

Expected<void> check_options(const sys::Machine& machine, const Options& options) {
  const std::uint32_t window = options.window_pages;
  if (window < 8 || window > 512 || !std::has_single_bit(window)) {
    return fail(bad_option("window_pages", window, 512, "give a power of two from 8 to 512"));
  }
  const std::uint64_t least = minimum_budget(window);
  if (options.memory_budget < least) {
    return fail(bad_option("memory_budget below the minimum: bytes", options.memory_budget, least,
                           "give at least the limit"));
  }
  const std::uint64_t most = machine.memory_bytes();
  if (options.memory_budget > most) {
    return fail(bad_option("memory_budget above the machine's memory: bytes", options.memory_budget,
                           most, "give less than the machine (or its container) has"));
  }
  const WriteBack& back = options.write_back;
  if (back.enabled && back.interval_ms == 0) {
    return fail(bad_option("write_back.interval_ms", 0, 1,
                           "give at least 1 ms, or enabled = false to switch it off"));
  }
  if (back.budget_percent > 100) {
    return fail(bad_option("write_back.budget_percent", back.budget_percent, 100,
                           "give 0 to 100 percent of memory_budget"));
  }
  if (options.swap.empty()) {
    return fail(bad_option("swap: number of tiers", 0, 1, "name at least one tier"));
  }
  for (const SwapTier& each : options.swap) {
    if (each.kind == SwapTier::Kind::ram && each.limit_bytes > options.memory_budget) {
      return fail(bad_option("limit of a compressed-RAM tier: bytes", each.limit_bytes,
                             options.memory_budget, "compressed memory is part of memory_budget"));
    }
    if (each.kind == SwapTier::Kind::rados && each.far.pool.empty()) {
      return fail(bad_option("far.pool of a rados tier", 0, 0, "name the pool"));
    }
    if (each.kind == SwapTier::Kind::ram && each.compression == SwapCompression::none) {
      return fail(bad_option("compression of a compressed-RAM tier", 0, 0, "give lz4 or zstd"));
    }
  }
  return {};
}

}  // namespace

Expected<Plan> plan_for(const sys::Machine& machine, const Options& options) {
  TRY_VOID(check_options(machine, options));
  Plan plan;
  // The descriptors and the pool windows' places come out of the budget like everything else.
  constexpr std::uint64_t kFrameBytes = kPageSize + sizeof(page::Page);
  const std::uint64_t window = options.window_pages;
  const std::uint64_t places =
      cache::SwapCache::table_bytes(windows(options.memory_budget / kFrameBytes, window), window);
  const std::uint64_t frames = (options.memory_budget - places) / kFrameBytes;
  plan.pool.frames = static_cast<std::uint32_t>(std::min<std::uint64_t>(frames, 0xfffffff0U));
  plan.pool.watermarks = watermarks(plan.pool.frames);
  plan.pool.record_call_sites = options.record_call_sites;
  const std::size_t tiers = options.swap.size();
  for (std::size_t i = 0; i < tiers; ++i) {
    plan.swap.tiers.push_back(tier(options.swap[i], i + 1 == tiers, options, plan.pool.frames));
  }
  // Small engines are for tests, which make thousands of them.
  plan.swap.slots_max = frames < 4096 ? frames * 64 : kSlotsMax;
  plan.cache.window_pages = options.window_pages;
  plan.cache.windows = static_cast<std::uint32_t>(windows(frames, window));
  plan.cache.recycled_max = plan.pool.frames / options.window_pages >= 32 ? 2 : 0;
  plan.faults.delivery =
      options.delivery == FaultDelivery::signal ? sys::Delivery::signal : sys::Delivery::thread;
  plan.faults.allow_move = options.use_move;
  const bool is_far = std::ranges::any_of(
      options.swap, [](const SwapTier& tier) { return tier.kind == SwapTier::Kind::rados; });
  if (is_far) plan.faults.far_threads = space::FarRooms::count_for(machine);
  return plan;
}

}  // namespace holdfast::engine
