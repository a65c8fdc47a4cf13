// Threads on one pool, and a storm of signals whose handlers free pages while their thread is
// inside the pool. Run under the thread sanitizer as well.
#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "page/pool_fixture.h"
#include "support/seed.h"
#include "support/signal_storm.h"

namespace holdfast::page {
namespace {

class StressTest : public tests::PoolTest {};

// One thread's share: takes, pins, hands on through `shelf`, charges and frees, all at random.
class Worker {
 public:
  using Shelf = std::array<std::atomic<Page*>, 64>;
  Worker(FramePool& pool, Shelf& shelf, std::uint64_t seed)
      : pool_(pool), shelf_(shelf), random_(seed) {}

  void run(int steps) {
    for (int i = 0; i < steps; ++i) {
      switch (random_() % 6) {
        case 0:
          reserve();
          break;
        case 1:
          allocate();
          break;
        case 2:
          pin_any();
          break;
        case 3:
          charge();
          break;
        case 4:
          pool_.drain();
          break;
        default:
          take_from_shelf();
          break;
      }
    }
  }

 private:
  // Another thread may free what is put here: references have no home thread.
  void shelve(Page* page) {
    Page* const old = shelf_[random_() % shelf_.size()].exchange(page);
    if (old != nullptr) pool_.put(*old, Holder::caller);
  }
  void take_from_shelf() { shelve(nullptr); }
  void reserve() {
    Reservation reservation =
        pool_.reserve(static_cast<std::uint32_t>(random_() % 64 + 1), Priority::normal);
    for (auto n = random_() % 4; n > 0 && reservation.size() > 0; --n) shelve(&reservation.take());
  }
  void allocate() {
    const auto block = pool_.allocate_block(static_cast<unsigned>(random_() % 5), Priority::normal);
    if (block) shelve(*block);
  }
  // A page found without a lock may be free, or somebody else's by now: a pin must keep it alive.
  void pin_any() {
    Page& page = pool_.pages()[random_() % pool_.pages().size()];
    if (!pool_.try_pin(page)) return;
    EXPECT_GE(page.count(), 1u);
    EXPECT_NE(page.state(), PageState::free);
    pool_.unpin(page);
  }
  void charge() {
    const auto count = static_cast<std::uint32_t>(random_() % 100);
    if (pool_.charge(count, Priority::reclaim)) pool_.uncharge(count);
  }

  FramePool& pool_;
  Shelf& shelf_;
  std::mt19937_64 random_;
};

TEST_F(StressTest, threads_take_pin_hand_on_and_free_and_every_frame_comes_back) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  make(1000, {.min = 20, .low = 40, .high = 60});
  Worker::Shelf shelf{};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      tests::FakeMachine::this_cpu = static_cast<int>(t % 2);
      Worker(*pool, shelf, seed + t).run(20000);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (auto& place : shelf) {
    if (Page* page = place.load()) pool->put(*page, Holder::caller);
  }
  EXPECT_TRUE(pool->check());
  pool->drain();
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 1000, .free = 1000}));
  EXPECT_TRUE(pool->check());
}

// --- the storm ---

constexpr std::uint64_t kStormFrees = 100'000;
constexpr unsigned kStormOrder = 2;

// What the handler frees: pages that the interrupted thread shelved, one kind a place.
struct Storm {
  FramePool* pool = nullptr;
  sync::DeferQueue* defer = nullptr;
  std::array<std::atomic<Page*>, 512> pages{};  // single frames
  std::array<std::atomic<Page*>, 64> blocks{};  // of kStormOrder
  std::atomic<std::uint64_t> freed{0};
  std::atomic<std::uint64_t> inside{0};  // signals that arrived inside the engine
  std::atomic<std::uint64_t> deferred{0};
  std::atomic<std::uint64_t> ran{0};
};
Storm* storm;

void count_run(void*) noexcept { storm->ran.fetch_add(1, std::memory_order_relaxed); }

void on_signal(int) {
  if (sync::in_interrupt()) storm->inside.fetch_add(1, std::memory_order_relaxed);
  const sync::InterruptScope interrupt;
  FramePool& pool = *storm->pool;
  std::uint64_t freed = 0;
  for (auto& place : storm->pages) {
    Page* const page = place.exchange(nullptr);
    if (page == nullptr) continue;
    pool.get(*page, Holder::entry);
    pool.put(*page, Holder::caller);
    if (pool.try_pin(*page)) pool.unpin(*page);
    pool.put(*page, Holder::entry);
    ++freed;
  }
  for (auto& place : storm->blocks) {
    Page* const block = place.exchange(nullptr);
    if (block == nullptr) continue;
    pool.free_pages(*block, kStormOrder);
    ++freed;
  }
  if (storm->defer->push(count_run, nullptr)) {
    storm->deferred.fetch_add(1, std::memory_order_relaxed);
  }
  storm->freed.fetch_add(freed, std::memory_order_relaxed);
}

// The thread that is interrupted: inside the pool nearly all of the time.
void storm_step(Storm& s, std::mt19937_64& random) {
  const sync::EngineScope engine;
  FramePool& pool = *s.pool;
  switch (random() % 8) {
    case 0:
      pool.drain();
      break;
    case 1:
      if (pool.charge(40, Priority::normal)) pool.uncharge(40);
      break;
    case 2:
    case 3: {
      const auto block = pool.allocate_block(kStormOrder, Priority::normal);
      if (!block) break;
      Page* const old = s.blocks[random() % s.blocks.size()].exchange(*block);
      if (old != nullptr) pool.free_pages(*old, kStormOrder);
      break;
    }
    default: {
      Reservation reservation = pool.reserve(16, Priority::normal);
      while (reservation.size() > 4) {  // the rest is given back, which is interrupted as well
        Page* const old = s.pages[random() % s.pages.size()].exchange(&reservation.take());
        if (old != nullptr) pool.put(*old, Holder::caller);
      }
    }
  }
}

TEST_F(StressTest, a_storm_of_signals_frees_pages_inside_every_operation_of_the_pool) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  make(2048, {.min = 20, .low = 40, .high = 60});
  auto state = std::make_unique<Storm>();
  auto queue = std::make_unique<sync::DeferQueue>();
  storm = state.get();
  storm->pool = pool.get();
  storm->defer = queue.get();
  std::mt19937_64 random(seed);
  constexpr int kStepsMost = 5'000'000;  // a storm that never comes must end the test, too
  {
    const tests::SignalStorm signals(on_signal);
    for (int i = 0; i < kStepsMost; ++i) {
      if (storm->freed >= kStormFrees && storm->inside >= 1000) break;
      storm_step(*storm, random);
      queue->drain();
    }
  }

  for (auto& place : storm->pages) {
    if (Page* page = place.load()) pool->put(*page, Holder::caller);
  }
  for (auto& place : storm->blocks) {
    if (Page* block = place.load()) pool->free_pages(*block, kStormOrder);
  }
  while (queue->drain() > 0) {
  }
  EXPECT_EQ(storm->ran, storm->deferred);
  EXPECT_GE(storm->freed, kStormFrees);
  EXPECT_GE(storm->inside, 1000u) << "the storm must hit the pool, not the test's own loop";
  EXPECT_TRUE(pool->check());
  pool->drain();
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 2048, .free = 2048}));
}

}  // namespace
}  // namespace holdfast::page
