// A storm of real-time signals whose handlers free what their thread has: blocks, pins, and calls
// that they defer, while the thread is inside each operation of the engine. Nothing deadlocks, and
// every frame is back in the end.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>

#include "engine/real_engine.h"
#include "support/seed.h"
#include "support/signal_storm.h"
#include "sync/sync.h"

namespace holdfast::engine::test {
namespace {

enum Operation : std::uint8_t {
  fault,
  pin,
  unpin,
  map_region,
  unmap,
  resize,
  advise,
  prefetch,
  reclaim,
  allocate,
  check,
  kOperations
};
constexpr std::array<const char*, kOperations> kNames = {
    "fault",  "pin",      "unpin",   "map",      "unmap", "resize",
    "advise", "prefetch", "reclaim", "allocate", "check"};

// What the handler finds to free. Its thread fills the slots, the handler empties them; both run on
// the same thread, so that a flag for each slot is all they need.
struct Prey {
  static constexpr std::size_t kBlocks = 128, kPins = 16;
  struct Block {
    std::byte* pages = nullptr;
    unsigned order = 0;
    std::atomic<bool> full{false};
  };
  struct HeldPin {
    Pin pin;
    std::atomic<bool> full{false};
  };
  Engine* engine = nullptr;
  std::array<Block, kBlocks> blocks;
  std::array<HeldPin, kPins> pins;
  std::atomic<std::uint64_t> frees{0}, unpins{0}, defers{0}, deferred_ran{0}, refused{0};
  std::atomic<std::uint8_t> now{kOperations};
  std::array<std::atomic<std::uint64_t>, kOperations> hits{};  // signals that met the operation
  std::atomic<std::size_t> next{0};
};
Prey prey;

// A few at a time, so that every signal finds something.
void free_some(int) {
  const sync::InterruptScope scope;
  const std::uint8_t now = prey.now;
  if (now < kOperations) ++prey.hits[now];
  for (int i = 0; i < 32; ++i) {
    Prey::Block& block = prey.blocks[prey.next.fetch_add(1) % Prey::kBlocks];
    if (!block.full.load()) continue;
    prey.engine->free_pages(block.pages, block.order);
    block.full = false;
    ++prey.frees;
  }
  for (Prey::HeldPin& held : prey.pins) {
    if (!held.full.load()) continue;
    held.pin.reset();
    held.full = false;
    ++prey.unpins;
    break;
  }
  const bool queued = prey.engine->defer([](void*) noexcept { ++prey.deferred_ran; }, nullptr);
  ++(queued ? prey.defers : prey.refused);
}

class EngineSignalStorm : public testing::TestWithParam<FaultDelivery> {
 protected:
  static constexpr std::uint64_t kPages = 3 * kBudget / kPageSize;

  void SetUp() override {
    const Options options = small_options(GetParam());
    if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
    engine = make_engine(options);
    ASSERT_NE(engine, nullptr);
    prey.engine = engine.get();
    prey.frees = prey.unpins = prey.defers = prey.deferred_ran = prey.refused = 0;
    for (auto& hits : prey.hits) hits = 0;
  }

  void feed() {
    for (Prey::Block& block : prey.blocks) {
      if (block.full.load()) continue;
      block.order = chance() % 16 == 0 ? 2 : 0;
      block.pages = nullptr;
      prey.now = allocate;
      auto pages = engine->allocate_pages(block.order);
      if (!pages && block.order > 0) {  // free memory lies in pieces
        block.order = 0;
        pages = engine->allocate_pages(0);
      }
      prey.now = kOperations;
      ASSERT_TRUE(pages) << pages.error().message();
      EXPECT_TRUE(page_is_zero(*pages));
      (*pages)[8] = std::byte{1};
      block.pages = *pages;
      block.full = true;
    }
    for (Prey::HeldPin& held : prey.pins) {
      if (held.full.load()) continue;
      prey.now = pin;
      auto pinned = engine->pin(page_at(region, chance() % kPages), 1);
      prey.now = kOperations;
      ASSERT_TRUE(pinned) << pinned.error().message();
      held.pin = std::move(*pinned);
      held.full = true;
    }
  }

  void operate(std::uint64_t round) {
    feed();
    prey.now = fault;
    for (int i = 0; i < 8; ++i) {
      auto* word = reinterpret_cast<std::uint64_t*>(page_at(region, chance() % kPages));
      wrong += *word != 0 && *word != ~reinterpret_cast<std::uintptr_t>(word) ? 1 : 0;
      *word = ~reinterpret_cast<std::uintptr_t>(word);
    }
    prey.now = pin;
    auto held = engine->pin(page_at(region, chance() % (kPages - 8)), 8 * kPageSize);
    prey.now = unpin;
    EXPECT_TRUE(held);
    held->reset();
    prey.now = map_region;
    Region other = map(*engine, 16 * kPageSize, 64 * kPageSize);
    prey.now = fault;
    write_pages(other, 0, 16, round);
    prey.now = resize;
    EXPECT_TRUE(other.resize(64 * kPageSize));
    EXPECT_TRUE(other.resize(8 * kPageSize));
    prey.now = advise;
    EXPECT_TRUE(other.advise(0, 4 * kPageSize, Advice::free));
    prey.now = prefetch;
    EXPECT_TRUE(other.prefetch(0, other.size()));
    prey.now = unmap;
    EXPECT_TRUE(other.unmap());
    prey.now = reclaim;
    (void)engine->reclaim(16);
    prey.now = kOperations;
    if (round % 64 != 0) return;
    prey.now = check;
    EXPECT_TRUE(all_is_well(*engine));
    prey.now = kOperations;
  }

  // What the storm has left.
  void free_rest() {
    for (Prey::Block& block : prey.blocks) {
      if (block.full.exchange(false)) engine->free_pages(block.pages, block.order);
    }
    for (Prey::HeldPin& held : prey.pins) {
      held.pin.reset();
      held.full = false;
    }
  }

  std::uint64_t chance() {
    random = random * 6364136223846793005U + 1442695040888963407U;
    return random >> 33;
  }

  std::unique_ptr<Engine> engine;
  Region region;
  std::uint64_t random = 0;
  std::uint64_t wrong = 0;
};

TEST_P(EngineSignalStorm, handlers_free_pages_inside_every_operation) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  random = seed;
  const std::uint64_t frees = std::max<std::uint64_t>(tests::seed_count(100'000), 1000);
  const std::uint64_t hits = std::max<std::uint64_t>(tests::seed_count(5), 1);
  const Stats before = engine->stats();
  region = map(*engine, kPages * kPageSize);
  const auto all_were_met = [&] {
    return std::all_of(prey.hits.begin(), prey.hits.end(),
                       [&](const auto& n) { return n >= hits; });
  };
  std::uint64_t round = 0;
  {
    const tests::SignalStorm storm(free_some);
    while ((prey.frees < frees || !all_were_met()) && !HasFailure()) operate(round++);
  }
  free_rest();
  EXPECT_EQ(wrong, 0u);
  for (std::size_t i = 0; i < kOperations; ++i) {
    EXPECT_GE(prey.hits[i], hits) << kNames[i] << " was never interrupted";
  }
  EXPECT_GT(prey.unpins, 0u);
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_TRUE(region.unmap());
  // Compressed memory is given back by and by.
  Stats after = engine->stats();
  for (int i = 0; i < 100 && after.frames_free + after.frames_warm != before.frames_free; ++i) {
    EXPECT_TRUE(all_is_well(*engine));
    after = engine->stats();
  }
  EXPECT_EQ(after.frames_free + after.frames_warm, before.frames_free);
  EXPECT_EQ(after.frames_charged, before.frames_charged);
  EXPECT_EQ(after.slots_used + after.pins, 0u);
  EXPECT_EQ(prey.deferred_ran, prey.defers);
}

INSTANTIATE_TEST_SUITE_P(Deliveries, EngineSignalStorm,
                         testing::Values(FaultDelivery::signal, FaultDelivery::thread),
                         [](const auto& p) {
                           return p.param == FaultDelivery::signal ? "signal" : "thread";
                         });

}  // namespace
}  // namespace holdfast::engine::test
