#include "page/frame_pool.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>
#include <vector>

#include "page/page.h"
#include "page/pool_fixture.h"

namespace holdfast::page {
namespace {

using tests::CountingSink;
using tests::PoolTest;

class FramePoolTest : public PoolTest {};

TEST_F(FramePoolTest, a_new_pool_is_all_free) {
  make(1000);
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 1000, .free = 1000}));
  EXPECT_TRUE(pool->check());
}

TEST_F(FramePoolTest, a_frame_that_nobody_has_had_costs_no_memory) {
  make(4096);
  ASSERT_NE(take_one(Priority::normal), nullptr);
  const Page& last = pool->pages().back();
  const std::vector<char> zeroes(sizeof last);
  EXPECT_EQ(std::memcmp(&last, zeroes.data(), sizeof last), 0);
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 4096, .free = 4095, .used = 1}));
}

TEST_F(FramePoolTest, every_frame_can_be_had_once_though_the_last_are_less_than_a_largest_block) {
  make(1000);
  std::set<Page*> had;
  while (Page* const page = take_one(Priority::normal)) had.insert(page);
  EXPECT_EQ(had.size(), 1000u);
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 1000, .used = 1000}));
}

TEST_F(FramePoolTest, the_largest_block_comes_from_frames_that_nobody_has_had) {
  make(1300);
  ASSERT_NE(take_one(Priority::normal), nullptr);
  const auto block = pool->allocate_block(9, Priority::normal);
  ASSERT_TRUE(block) << block.error().message();
  pages.push_back(*block);
  EXPECT_FALSE(pool->allocate_block(9, Priority::normal));
}

TEST_F(FramePoolTest, too_few_frames_are_refused_with_the_least_number) {
  const auto result = FramePool::create(machine, {.frames = 15});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::budget_exceeded);
  EXPECT_EQ(result.error().value, 15u);
  EXPECT_EQ(result.error().limit, 16u);
}

TEST_F(FramePoolTest, watermarks_that_the_pool_cannot_reach_are_refused) {
  const auto result = FramePool::create(
      machine, {.frames = 100, .watermarks = {.min = 10, .low = 20, .high = 100}});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::budget_exceeded);
}

TEST_F(FramePoolTest, a_machine_without_memory_is_an_error_and_leaves_nothing_behind) {
  for (int n = 0; n < 2; ++n) {
    machine.fail_reserve_in = n;
    const auto result = FramePool::create(machine, {.frames = 64});
    ASSERT_FALSE(result) << n;
    EXPECT_EQ(result.error().os_errno, ENOMEM);
    EXPECT_EQ(machine.reserved_ranges(), 0u);
  }
}

TEST_F(FramePoolTest, a_reserved_frame_is_taken_held_with_one_reference_and_no_content) {
  make(64);
  Reservation reservation = pool->reserve(1, Priority::normal);
  ASSERT_EQ(reservation.size(), 1u);
  Page& page = reservation.take();
  EXPECT_EQ(page.state(), PageState::held);
  EXPECT_EQ(page.count(), 1u);
  EXPECT_EQ(page.pins(), 0u);
  EXPECT_TRUE(page.owner().is_none());
  EXPECT_TRUE(page.slot().is_none());
  EXPECT_EQ(page.pool_window(), Page::kNoPoolWindow);
  pool->put(page, Holder::caller);
  EXPECT_EQ(page.count(), 0u);
  EXPECT_EQ(page.state(), PageState::free);
}

TEST_F(FramePoolTest, what_a_reservation_does_not_use_goes_back) {
  make(64);
  {
    Reservation reservation = pool->reserve(10, Priority::normal);
    ASSERT_EQ(reservation.size(), 10u);
    EXPECT_EQ(pool->counts(), (FrameCounts{.total = 64, .free = 54, .reserved = 10}));
    EXPECT_TRUE(pool->check());
    pages.push_back(&reservation.take());
    EXPECT_EQ(pool->counts(), (FrameCounts{.total = 64, .free = 54, .reserved = 9, .used = 1}));
  }
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 64, .free = 63, .used = 1}));
}

TEST_F(FramePoolTest, a_moved_reservation_gives_back_once) {
  make(64);
  Reservation first = pool->reserve(8, Priority::normal);
  Reservation second = std::move(first);
  EXPECT_EQ(first.size(), 0u);
  EXPECT_EQ(second.size(), 8u);
  Reservation third = pool->reserve(4, Priority::normal);
  third = std::move(second);  // its own four go back
  EXPECT_EQ(third.size(), 8u);
  EXPECT_EQ(pool->counts().reserved, 8u);
  EXPECT_TRUE(pool->check());
}

TEST_F(FramePoolTest, every_frame_can_be_taken_once_and_only_once) {
  make(100);
  std::set<const Page*> seen;
  while (Page* page = take_one(Priority::normal)) EXPECT_TRUE(seen.insert(page).second);
  EXPECT_EQ(seen.size(), 100u);
  EXPECT_EQ(pool->free_count(), 0u);
  EXPECT_TRUE(pool->check());
}

TEST_F(FramePoolTest, new_memory_is_refused_before_pages_that_come_back_and_those_before_reclaim) {
  make(64, {.min = 8, .low = 16, .high = 32});
  int taken = 0;
  for (const Priority priority : {Priority::fresh, Priority::normal, Priority::reclaim}) {
    while (take_one(priority) != nullptr) ++taken;
    EXPECT_EQ(pool->free_count(), pool->kept_from(priority));
  }
  EXPECT_EQ(taken, 64);
  EXPECT_GT(pool->kept_from(Priority::fresh), pool->kept_from(Priority::normal));
  EXPECT_GT(pool->kept_from(Priority::normal), pool->kept_from(Priority::reclaim));
}

TEST_F(FramePoolTest, a_short_reservation_gets_what_there_is) {
  make(16);
  Reservation reservation = pool->reserve(64, Priority::normal);
  EXPECT_EQ(reservation.size(), 16u);
  EXPECT_EQ(pool->reserve(1, Priority::normal).size(), 0u);
}

TEST_F(FramePoolTest, frames_on_another_cpus_stack_are_found) {
  make(64);
  machine.this_cpu = 1;
  {
    Reservation all = pool->reserve(64, Priority::normal);
    ASSERT_EQ(all.size(), 64u);
  }
  machine.this_cpu = 0;
  EXPECT_EQ(pool->reserve(64, Priority::normal).size(), 64u);
}

TEST_F(FramePoolTest, below_min_only_reclaim_is_served) {
  make(100, {.min = 10, .low = 20, .high = 30});
  std::uint64_t taken = 0;
  while (take_one(Priority::normal) != nullptr) ++taken;
  EXPECT_EQ(taken, 90u);
  EXPECT_FALSE(pool->allocate_block(0, Priority::normal));
  EXPECT_FALSE(pool->charge(1, Priority::normal));
  while (take_one(Priority::reclaim) != nullptr) ++taken;
  EXPECT_EQ(taken, 100u);
}

TEST_F(FramePoolTest, a_wide_reservation_stops_at_min) {
  make(100, {.min = 60, .low = 70, .high = 80});
  EXPECT_EQ(pool->reserve(64, Priority::normal).size(), 40u);
}

TEST_F(FramePoolTest, going_below_low_wakes_the_pressure_sink) {
  make(100, {.min = 10, .low = 50, .high = 60});
  CountingSink sink;
  pool->set_pressure_sink(&sink);
  Reservation first = pool->reserve(50, Priority::normal);
  EXPECT_EQ(sink.wakes, 0);
  Reservation second = pool->reserve(1, Priority::normal);
  EXPECT_EQ(sink.wakes, 1);
}

TEST_F(FramePoolTest, a_refused_reservation_wakes_the_pressure_sink) {
  make(16, {.min = 0, .low = 0, .high = 0});
  CountingSink sink;
  pool->set_pressure_sink(&sink);
  Reservation all = pool->reserve(16, Priority::normal);
  EXPECT_EQ(sink.wakes, 0);
  EXPECT_EQ(pool->reserve(1, Priority::normal).size(), 0u);
  EXPECT_EQ(sink.wakes, 1);
}

TEST_F(FramePoolTest, references_and_pins_are_counted_apart_and_together) {
  make(64);
  Page& page = *take_one(Priority::normal);
  pool->get(page, Holder::entry);
  ASSERT_TRUE(pool->try_pin(page));
  ASSERT_TRUE(pool->try_get(page, Holder::caller));
  EXPECT_EQ(page.count(), 4u);
  EXPECT_EQ(page.pins(), 1u);
  pool->put(page, Holder::caller);
  pool->put(page, Holder::entry);
  pool->put(page, Holder::caller);
  EXPECT_EQ(page.state(), PageState::held) << "a pin alone keeps the page";
  pages.clear();
  pool->unpin(page);
  EXPECT_EQ(page.state(), PageState::free);
  EXPECT_EQ(pool->free_count(), 64u);
}

TEST_F(FramePoolTest, a_free_page_can_be_neither_pinned_nor_got) {
  make(64);
  Page& page = *take_one(Priority::normal);
  pages.clear();
  pool->put(page, Holder::caller);
  EXPECT_FALSE(pool->try_pin(page));
  EXPECT_FALSE(pool->try_get(page, Holder::caller));
  EXPECT_EQ(page.count(), 0u);
  EXPECT_TRUE(pool->check());
}

TEST_F(FramePoolTest, a_page_ref_puts_when_it_goes) {
  make(64);
  {
    PageRef ref = PageRef::adopt(*pool, *take_one(Priority::normal));
    pages.clear();
    PageRef other = std::move(ref);
    EXPECT_FALSE(ref);
    EXPECT_EQ(other->count(), 1u);
  }
  EXPECT_EQ(pool->free_count(), 64u);
}

TEST_F(FramePoolTest, a_freed_page_forgets_what_it_was) {
  make(64);
  Page& page = *take_one(Priority::normal);
  pages.clear();
  page.set_owner({RegionId(3), PageIndex(77)});
  page.set_slot(SlotIndex(5));
  page.set_pool_window(9);
  pool->put(page, Holder::caller);
  EXPECT_TRUE(page.owner().is_none());
  EXPECT_TRUE(page.slot().is_none());
  EXPECT_EQ(page.pool_window(), Page::kNoPoolWindow);
  EXPECT_TRUE(pool->check());
}

TEST_F(FramePoolTest, charged_frames_are_lent_all_or_none) {
  make(100, {.min = 10, .low = 10, .high = 10});
  EXPECT_TRUE(pool->charge(80, Priority::normal));
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 100, .free = 20, .charged = 80}));
  EXPECT_FALSE(pool->charge(11, Priority::normal));
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 100, .free = 20, .charged = 80}));
  EXPECT_TRUE(pool->charge(11, Priority::reclaim));
  EXPECT_TRUE(pool->check());
  pool->uncharge(91);
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 100, .free = 100}));
  EXPECT_TRUE(pool->check());
}

TEST_F(FramePoolTest, a_warm_frame_goes_round_and_keeps_its_window) {
  make(64);
  Page& page = *take_one(Priority::normal);
  pages.clear();
  const FrameIndex frame = pool->index_of(page);
  page.set_pool_window(4);
  page.set_owner({RegionId(1), PageIndex(2)});
  ASSERT_TRUE(pool->put_to_warm(page, Holder::caller));
  EXPECT_EQ(page.state(), PageState::warm);
  EXPECT_EQ(page.pool_window(), 4u);
  EXPECT_TRUE(page.owner().is_none());
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 64, .free = 63, .warm = 1}));
  EXPECT_FALSE(pool->try_get(page, Holder::caller));
  EXPECT_TRUE(pool->check());

  Page& again = pool->take_warm(frame, Holder::caller);
  EXPECT_EQ(&again, &page);
  EXPECT_EQ(again.state(), PageState::held);
  EXPECT_EQ(again.count(), 1u);
  EXPECT_EQ(pool->counts().warm, 0u);
  ASSERT_TRUE(pool->put_to_warm(again, Holder::caller));
  pool->warm_to_free(std::span(&frame, 1));
  EXPECT_EQ(page.state(), PageState::free);
  EXPECT_EQ(page.pool_window(), Page::kNoPoolWindow);
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 64, .free = 64}));
  EXPECT_TRUE(pool->check());
}

TEST_F(FramePoolTest, a_page_that_somebody_else_holds_does_not_become_warm) {
  make(64);
  Page& page = *take_one(Priority::normal);
  page.set_pool_window(0);
  pool->get(page, Holder::entry);
  EXPECT_FALSE(pool->put_to_warm(page, Holder::caller));
  EXPECT_EQ(page.count(), 2u);
  EXPECT_EQ(page.state(), PageState::held);
  pool->put(page, Holder::entry);
}

TEST_F(FramePoolTest, a_long_stack_is_spilled_by_the_next_drain) {
  make(4096);
  std::vector<Page*> taken;
  while (Page* page = take_one(Priority::normal)) taken.push_back(page);
  pages.clear();
  for (Page* page : taken) pool->put(*page, Holder::caller);
  EXPECT_EQ(pool->drain(), 0u);
  EXPECT_TRUE(pool->check());
  const auto block = pool->allocate_block(9, Priority::normal);
  ASSERT_TRUE(block);
  pool->free_pages(**block, 9);
}

TEST_F(FramePoolTest, the_metadata_is_counted) {
  make(4096);
  EXPECT_GE(pool->metadata_bytes(), 4096u * 32);
  if (!kHoldfastDebug) {
    EXPECT_LE(pool->metadata_bytes(), 4096u * 33);
  }
}

TEST_F(FramePoolTest, check_says_what_is_wrong) {
  make(64);
  ASSERT_NE(take_one(Priority::normal), nullptr);  // now all 64 have a descriptor
  pool->pages()[10].set_slot(SlotIndex(7));
  machine.capture = true;
  EXPECT_FALSE(pool->check());
  EXPECT_NE(machine.printed.find("remembers its content"), std::string::npos) << machine.printed;
  machine.capture = false;
  pool->pages()[10].set_slot(SlotIndex::none());
}

TEST_F(FramePoolTest, the_last_put_of_a_listed_page_breaks_the_law_and_aborts) {
  make(64);
  Page& page = *take_one(Priority::normal);
  page.set_lru_list(LruList::active);
  EXPECT_DEATH(pool->put(page, Holder::caller), "lru_list");
  page.set_lru_list(LruList::none);
}

TEST_F(FramePoolTest, free_pages_of_a_wrong_order_aborts) {
  make(64);
  Page& page = *take_one(Priority::normal);
  EXPECT_DEATH(pool->free_pages(page, 1), "order");
}

TEST_F(FramePoolTest, giving_back_more_charges_than_were_lent_aborts) {
  make(64);
  ASSERT_TRUE(pool->charge(1, Priority::normal));
  EXPECT_DEATH(pool->uncharge(2), "kNoLink");
}

}  // namespace
}  // namespace holdfast::page
