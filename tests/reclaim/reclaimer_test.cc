// The scan and the reclaimer, over a real address space without an engine around it.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "reclaim/reclaim.h"
#include "space/space_fixture.h"
#include "sync/sync.h"

namespace holdfast::reclaim {
namespace {

using space::Count;
using space::EntryKind;
using space::RegionRecord;

class ReclaimTest : public space::test::SpaceTest {
 protected:
  ReclaimTest() { reclaimer.emplace(*parts, *space); }
  void SetUp() override {
    parts->relief = &*reclaimer;
    parts->reclaimer = &*reclaimer;
    pool->set_pressure_sink(&*reclaimer);
  }
  void TearDown() override {
    reclaimer->stop();
    reclaimer->settle();
    SpaceTest::TearDown();
    pool->set_pressure_sink(nullptr);
  }
  void write_all(const RegionRecord& region) {
    for (std::uint64_t p = 0; p < region.page_count(); ++p) write(region, p, p + 1);
  }
  std::uint64_t wrong(const RegionRecord& region) {
    std::uint64_t bad = 0;
    for (std::uint64_t p = 0; p < region.page_count(); ++p) bad += word(region, p) == p + 1 ? 0 : 1;
    return bad;
  }
  std::optional<Reclaimer> reclaimer;
};

TEST_F(ReclaimTest, a_step_unmaps_the_oldest_window_first) {
  RegionRecord& region = map(128);
  for (std::uint64_t p = 0; p < 128; p += kWindow) write(region, p, p + 1);
  Scanner scanner(*parts, *space);
  EXPECT_TRUE(scanner.step(false).progress);
  EXPECT_EQ(kind(region, 0), EntryKind::cached);
  EXPECT_EQ(kind(region, kWindow), EntryKind::resident);
}

TEST_F(ReclaimTest, steps_write_out_once_enough_is_inactive) {
  RegionRecord& region = map(512);
  write_all(region);
  Scanner scanner(*parts, *space);
  std::uint64_t freed = 0;
  for (int steps = 0; freed == 0; ++steps) {
    ASSERT_LT(steps, 200);
    freed += scanner.step(false).freed;
  }
  EXPECT_GE(lru->counts().inactive + 2 * space::kWriteOutBatch, scanner.inactive_target());
  EXPECT_GT(count(Count::evicted_written), 0u);
  EXPECT_EQ(wrong(region), 0u);
}

TEST_F(ReclaimTest, with_nothing_to_do_a_step_makes_no_progress) {
  Scanner scanner(*parts, *space);
  const StepResult result = scanner.step(true);
  EXPECT_EQ(result.freed, 0u);
  EXPECT_FALSE(result.progress);
}

TEST_F(ReclaimTest, reclaim_takes_all_that_can_leave_and_stops) {
  RegionRecord& region = map(256);
  write_all(region);
  ASSERT_TRUE(space->pin(region.address_of(100), 4 * kPageSize));
  EXPECT_GT(reclaimer->reclaim(10'000), 0u);
  const space::SpaceCounts counts = space->counts();
  EXPECT_EQ(counts.resident, 4u);
  EXPECT_EQ(counts.cached, 0u);
  EXPECT_EQ(reclaimer->reclaim(10'000), 0u);
  space->unpin(region.address_of(100), 4);
  EXPECT_EQ(wrong(region), 0u);
}

TEST_F(ReclaimTest, faults_reclaim_for_themselves_without_a_thread) {
  RegionRecord& region = map(4096);
  write_all(region);
  EXPECT_EQ(wrong(region), 0u);
  EXPECT_GT(count(Count::reclaim_direct), 0u);
  EXPECT_EQ(count(Count::reclaim_background), 0u);
  EXPECT_FALSE(reclaimer->stalled());
}

TEST_F(ReclaimTest, the_thread_works_up_to_the_high_watermark) {
  ASSERT_TRUE(reclaimer->start());
  RegionRecord& region = map(4096);
  write_all(region);
  EXPECT_EQ(wrong(region), 0u);
  EXPECT_GT(count(Count::reclaim_background), 0u);
  while (pool->free_count() < pool->watermarks().low) std::this_thread::yield();
  reclaimer->pause();
  reclaimer->settle();
  EXPECT_TRUE(check());
  reclaimer->resume();
}

TEST_F(ReclaimTest, relief_says_when_nothing_can_leave_and_when_it_can_again) {
  RegionRecord& region = map(512);
  std::vector<page::Page*> taken;
  for (std::uint64_t p = 0; p < 16; ++p) write(region, p, p + 1);
  for (;;) {
    auto page = pool->allocate_block(0, page::Priority::normal);
    if (!page) break;
    taken.push_back(*page);
  }
  const std::uint64_t pinned = space->counts().resident;
  std::uint64_t held = 0;
  for (std::uint64_t p = 0; p < 512; ++p) {
    if (kind(region, p) != EntryKind::resident) continue;
    ASSERT_TRUE(space->pin(region.address_of(p), 1));
    ++held;
  }
  EXPECT_EQ(held, pinned);
  EXPECT_FALSE(reclaimer->relieve(1, page::Priority::normal));
  EXPECT_TRUE(reclaimer->stalled());
  for (page::Page* page : taken) pool->free_pages(*page, 0);
  EXPECT_TRUE(reclaimer->relieve(1, page::Priority::normal));
  EXPECT_FALSE(reclaimer->stalled());
  for (std::uint64_t p = 0; p < 512; ++p) {
    if (kind(region, p) == EntryKind::resident) space->unpin(region.address_of(p), 1);
  }
}

TEST_F(ReclaimTest, deferred_calls_run_in_task_context) {
  ASSERT_TRUE(reclaimer->start());
  static std::atomic<int> ran;
  static std::atomic<int> in_interrupt;
  ran = in_interrupt = 0;
  {
    const sync::InterruptScope scope;
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(reclaimer->defer(
          [](void*) noexcept {
            in_interrupt += sync::in_interrupt() ? 1 : 0;
            ++ran;
          },
          nullptr));
    }
  }
  while (ran < 100) std::this_thread::yield();
  EXPECT_EQ(in_interrupt, 0);
}

TEST_F(ReclaimTest, a_full_queue_refuses_and_drops_nothing) {
  static std::atomic<std::uint64_t> ran;
  ran = 0;
  std::uint64_t queued = 0;
  while (reclaimer->defer([](void*) noexcept { ++ran; }, nullptr)) ++queued;
  EXPECT_EQ(queued, sync::DeferQueue::kCapacity);
  reclaimer->settle();
  EXPECT_EQ(ran, queued);
  EXPECT_TRUE(reclaimer->defer([](void*) noexcept {}, nullptr));
}

TEST_F(ReclaimTest, the_thread_frees_zombies_when_their_last_pin_goes) {
  ASSERT_TRUE(reclaimer->start());
  RegionRecord& region = map(64);
  write_all(region);
  ASSERT_TRUE(space->pin(region.address_of(7), 1));
  ASSERT_TRUE(space->unmap(region));
  EXPECT_EQ(word(region, 7), 8u);
  space->unpin(region.address_of(7), 1);
  while (region.state() != RegionRecord::State::empty) std::this_thread::yield();
}

TEST_F(ReclaimTest, it_starts_and_stops_and_pauses_any_number_of_times) {
  for (int i = 0; i < 20; ++i) {
    ASSERT_TRUE(reclaimer->start());
    reclaimer->pause();
    reclaimer->pause();
    reclaimer->resume();
    reclaimer->resume();
    reclaimer->wake();
    reclaimer->stop();
    reclaimer->stop();
    reclaimer.emplace(*parts, *space);
    SetUp();
  }
}

}  // namespace
}  // namespace holdfast::reclaim
