// A storm of signals whose handlers free pages while their thread is inside the lists: the owner
// never looks at a list, and the VM frees its share later.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <memory>
#include <random>
#include <vector>

#include "lru/lru.h"
#include "page/pool_fixture.h"
#include "support/seed.h"
#include "support/signal_storm.h"

namespace holdfast::lru {
namespace {

using page::Holder;
using page::Page;

constexpr std::uint64_t kFrees = 100'000;
constexpr std::uint64_t kInside = 1000;

struct Storm {
  page::FramePool* pool = nullptr;
  std::array<std::atomic<Page*>, 256> owned{};  // the owners' references
  std::atomic<std::uint64_t> freed{0};
  std::atomic<std::uint64_t> inside{0};
};
Storm* storm;

void on_signal(int) {
  if (sync::in_interrupt()) storm->inside.fetch_add(1, std::memory_order_relaxed);
  const sync::InterruptScope interrupt;
  std::uint64_t freed = 0;
  for (auto& place : storm->owned) {
    Page* const page = place.exchange(nullptr);
    if (page == nullptr) continue;
    storm->pool->put(*page, Holder::caller);
    ++freed;
  }
  storm->freed.fetch_add(freed, std::memory_order_relaxed);
}

class LruStormTest : public tests::PoolTest {
 protected:
  // Pages of owners who may free them at any time, known to the VM from the start.
  void add_some() {
    page::Reservation reservation = pool->reserve(16, page::Priority::normal);
    while (reservation.size() > 0) {
      Page& page = reservation.take();
      pool->get(page, Holder::vm);
      lru->add(page);
      Page* const old = storm->owned[random() % storm->owned.size()].exchange(&page);
      if (old != nullptr) pool->put(*old, Holder::caller);
    }
  }
  void deactivate_some() {
    std::vector<FrameIndex> frames;
    for (int i = 0; i < 32; ++i) {
      const FrameIndex frame = lru->oldest_active();
      if (frame.is_none()) break;
      frames.push_back(frame);
      lru->rotate_active(frame);
    }
    if (random() % 4 == 0) {
      lru->deactivate_first(frames);
    } else {
      lru->deactivate(frames);
    }
  }
  // What the VM alone holds goes; the rest is spared.
  void scan() {
    std::vector<FrameIndex> found(64);
    found.resize(lru->oldest_inactive(found));
    for (const FrameIndex frame : found) {
      Page& page = pool->page(frame);
      if (page.count() == 2) {
        lru->remove(std::span(&frame, 1));
        pool->put(page, Holder::vm);
      } else {
        lru->activate(frame);
      }
      pool->put(page, Holder::caller);
    }
  }

  std::mt19937_64 random{0};
  std::unique_ptr<Lru> lru;
};

TEST_F(LruStormTest, owners_free_their_pages_inside_every_operation_of_the_lists) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  random.seed(seed);
  make(2048);
  lru = std::make_unique<Lru>(*pool);
  const auto state = std::make_unique<Storm>();
  storm = state.get();
  storm->pool = pool.get();
  constexpr int kStepsMost = 5'000'000;  // a storm that never comes must end the test, too
  {
    const tests::SignalStorm signals(on_signal);
    for (int i = 0; i < kStepsMost; ++i) {
      if (storm->freed >= kFrees && storm->inside >= kInside) break;
      const sync::EngineScope engine;
      switch (random() % 4) {
        case 0:
          deactivate_some();
          break;
        case 1:
          scan();
          break;
        default:
          add_some();
          break;
      }
    }
  }
  EXPECT_GE(storm->freed, kFrees);
  EXPECT_GE(storm->inside, kInside);
  EXPECT_TRUE(lru->check());

  on_signal(0);  // the owners' last
  while (lru->counts() != LruCounts{}) {
    deactivate_some();
    scan();
  }
  EXPECT_EQ(pool->counts(), (page::FrameCounts{.total = 2048, .free = 2048}));
}

}  // namespace
}  // namespace holdfast::lru
