#include "program/program_shape.h"

#include <algorithm>

namespace holdfast::tests {
namespace {

using sys::SimRandom;

SwapTier draw_tier(SimRandom& random, SwapTier::Kind kind, std::uint64_t budget_bytes) {
  SwapTier tier;
  tier.kind = kind;
  if (kind == SwapTier::Kind::ram) {
    tier.compression = random.chance(1, 4) ? SwapCompression::zstd : SwapCompression::lz4;
    if (random.chance(1, 2)) tier.limit_bytes = budget_bytes / random.between(4, 8);
  } else {
    tier.compression = random.pick(
        {SwapCompression::none, SwapCompression::lz4, SwapCompression::lz4, SwapCompression::zstd});
    if (random.chance(1, 8)) tier.limit_bytes = budget_bytes * random.between(1, 4);
  }
  return tier;
}

void draw_tiers(ProgramShape& shape, SimRandom& random) {
  using Kind = SwapTier::Kind;
  static constexpr std::array<std::array<Kind, 3>, 5> kOrders = {
      {{Kind::file, Kind::file, Kind::file},
       {Kind::ram, Kind::ram, Kind::ram},
       {Kind::ram, Kind::file, Kind::file},
       {Kind::file, Kind::ram, Kind::ram},
       {Kind::ram, Kind::file, Kind::file}}};
  const std::uint64_t order = random.below(kOrders.size());
  const std::uint64_t count = order < 2 ? 1 : random.chance(1, 4) ? 3 : 2;
  shape.engine.swap.clear();
  bool unbounded = false;
  for (std::uint64_t i = 0; i < count; ++i) {
    const SwapTier tier = draw_tier(random, kOrders[order][i], shape.engine.memory_budget);
    unbounded = unbounded || (tier.kind == Kind::file && tier.limit_bytes == 0);
    shape.engine.swap.push_back(tier);
  }
  shape.may_run_out = !unbounded || shape.machine.file_limit_bytes != 0;
}

void draw_engine(ProgramShape& shape, SimRandom& random) {
  Options& options = shape.engine;
  options.window_pages = random.chance(3, 4) ? 8 : 16;
  const std::uint64_t least = 16ULL * options.window_pages;
  shape.budget_pages = random.chance(1, 2) ? least : random.between(least, std::max(least, 512UL));
  options.memory_budget = shape.budget_pages * kPageSize;
  options.delivery = random.chance(1, 3) ? FaultDelivery::thread : FaultDelivery::signal;
  options.use_move = random.chance(3, 4);
  options.background_reclaim = random.chance(3, 4);
  options.record_call_sites = random.chance(1, 8);
}

void draw_mix(ProgramShape& shape, SimRandom& random) {
  //                   load store fill sweep map unmap resize pin unpin prefetch advise
  shape.weights = {12,          12, 6, 4, 1, 1, 2, 6, 6, 2, 4, /*allocate*/ 3, 3, 3, 1,
                   /*clone*/ 2, 3,  6, 2, 1};
  for (std::uint32_t& weight : shape.weights) weight *= random.pick({0U, 1U, 1U, 1U, 4U});
  shape.weights[0] += 1;  // there is always something to do
  shape.weights[2] += 2;
  shape.weights[4] += 1;
}

}  // namespace

ProgramShape ProgramShape::draw(std::uint64_t seed) {
  ProgramShape shape;
  SimRandom random(seed * 0x2545f4914f6cdd1dULL + 1);
  shape.seed = seed;
  shape.machine = sys::SimOptions::swarm(seed);
  shape.machine.step_limit = 3'000'000;  // the longest sound programs take a twentieth of it
  if (random.chance(1, 12)) shape.machine.file_limit_bytes = random.between(64, 1024) * kPageSize;
  draw_engine(shape, random);
  draw_tiers(shape, random);
  draw_mix(shape, random);
  shape.threads = static_cast<std::uint32_t>(random.between(1, 3));
  shape.phases = static_cast<std::uint32_t>(random.between(1, 3));
  shape.operations = static_cast<std::uint32_t>(random.chance(1, 8) ? random.between(150, 300)
                                                                    : random.between(50, 150));
  shape.region_pages_max = shape.budget_pages * random.between(2, 8) / 2;  // of each of two or so
  shape.held_pages_max = shape.budget_pages / 8;
  return shape;
}

ProgramShape ProgramShape::draw_sound(std::uint64_t seed) {
  ProgramShape shape = draw(seed);
  shape.machine.failures_per_million.fill(0);
  shape.machine.file_limit_bytes = 0;
  shape.machine.can_move = true;
  shape.engine.use_move = true;
  SwapTier ram;
  ram.limit_bytes = shape.engine.memory_budget / 8;  // soon full, so that the file is written
  SwapTier file;
  file.kind = SwapTier::Kind::file;
  shape.engine.swap = {ram, file};
  shape.may_run_out = false;
  shape.threads = std::min(shape.threads, 2U);
  shape.operations = 160;
  // Small and busy: much more is filled and swept than fits, so that every kind of call is made.
  shape.engine.window_pages = 8;
  shape.engine.background_reclaim = true;
  shape.budget_pages = 128;
  shape.engine.memory_budget = shape.budget_pages * kPageSize;
  shape.engine.swap[0].limit_bytes = shape.engine.memory_budget / 8;
  shape.region_pages_max = 3 * shape.budget_pages;
  shape.held_pages_max = shape.budget_pages / 16;
  //               load store fill sweep map unmap resize pin unpin prefetch advise
  shape.weights = {6,           6, 24, 20, 6, 1, 1, 2, 2, 4, 2, /*allocate*/ 1, 1, 2, 0,
                   /*clone*/ 2, 3, 4,  2,  1};
  return shape;
}

}  // namespace holdfast::tests
