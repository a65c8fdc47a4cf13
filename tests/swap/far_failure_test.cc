// The far tier on a store that fails: whatever it does, nothing is lost and nothing wrong is data.
#include <thread>

#include "far_tier_fixture.h"

namespace holdfast::tests {
namespace {

TEST_F(FarTier, a_read_that_fails_is_an_error_with_its_errno_and_the_page_stays) {
  make({far_tier()});
  const auto pages = some_pages(200);
  const auto items = store(pages);
  for (const int error : {EIO, ETIMEDOUT, ENOENT}) {
    script.read_error = error;
    auto page = std::make_unique<PageBytes>();
    const swap::LoadItem item = load(items[0].slot, *page);
    EXPECT_FALSE(item.ok);
    EXPECT_EQ(item.error.code, error == ETIMEDOUT ? Errc::timed_out : Errc::io_error);
    EXPECT_EQ(item.error.os_errno, error);
    EXPECT_STREQ(item.error.what, "object");
  }
  script.read_error = 0;
  expect_all(items, pages);
  put_all(items);
}

TEST_F(FarTier, what_cannot_be_written_stays_and_the_next_tier_takes_the_rest) {
  for (const int error : {EIO, ENOSPC, EDQUOT, ENOENT}) {
    remake({far_tier(), file_tier()});
    script.write_error = error;
    const auto pages = some_pages(500);
    const auto items = store(pages);
    EXPECT_GT(tier(1).pages, 300u);
    EXPECT_TRUE(script.objects.empty());
    expect_all(items, pages);
    // What stands in buffers moves down too.
    maintain_all();
    expect_all(items, pages);
    EXPECT_LT(tier(0).pages, 70u);
    // Better weather.
    script.write_error = 0;
    machine.clock_step_ns = 1'000'000'000;
    const auto more = some_pages(300);
    const auto later = store(more);
    EXPECT_FALSE(script.objects.empty());
    expect_all(items, pages);
    expect_all(later, more);
    machine.clock_step_ns = 0;
    put_all(items);
    put_all(later);
  }
}

TEST_F(FarTier, with_no_tier_left_it_is_refused_with_the_reason_and_nothing_is_lost) {
  make({far_tier()});
  script.write_error = ENOSPC;
  const auto pages = some_pages(400);
  const auto items = store(pages);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (items[i].slot.is_none()) {
      EXPECT_EQ(items[i].error.code, Errc::swap_full);
      EXPECT_EQ(items[i].error.os_errno, ENOSPC);
      EXPECT_STREQ(items[i].error.what, "pool");
    } else {
      expect_holds(items[i].slot, pages[i]);
      ++kept;
    }
  }
  EXPECT_GT(kept, 30u);
  EXPECT_LT(kept, 200u);
  // The mark by which who was refused knows to try again moves with time.
  const std::uint64_t mark = swap->room_mark();
  machine.clock_step_ns = 2'000'000'000;
  EXPECT_NE(swap->room_mark(), mark);
  script.write_error = 0;
  const auto again = store(pages);
  expect_all(again, pages);
  put_all(again);
  put_all(items);
}

TEST_F(FarTier, a_session_that_lost_its_lock_writes_no_more_and_reads_on) {
  make({far_tier(), file_tier()});
  const auto before = some_pages(200);
  const auto first = store(before);
  const std::uint64_t written = script.written_bytes;
  ASSERT_GT(written, 0u);
  script.owns = false;
  const auto after = some_pages(300);
  const auto second = store(after);
  EXPECT_EQ(script.written_bytes, written);
  maintain_all();
  EXPECT_EQ(script.written_bytes, written);
  expect_all(first, before);
  expect_all(second, after);
  EXPECT_GT(tier(1).pages, 200u);
  put_all(first);
  put_all(second);
  swap.reset();
  EXPECT_FALSE(script.objects.empty());  // they are whose lock it is
}

TEST_F(FarTier, a_store_that_does_not_answer_is_waited_for_once_and_then_passed_by) {
  make({far_tier(), file_tier()});
  script.holding = true;
  machine.clock_step_ns = 300'000'000;
  const auto pages = some_pages(500);
  const auto items = store(pages);
  EXPECT_GT(tier(1).pages, 200u);
  EXPECT_GT(tier(0).refused_full, 200u);
  EXPECT_EQ(script.held.size(), 3u);  // all the buffers there are
  // What is on its way is read from where it still stands.
  expect_all(items, pages);
  machine.clock_step_ns = 0;
  script.let_go(chance);
  const auto more = some_pages(300);
  const auto later = store(more);
  EXPECT_GT(tier(0).pages, 300u);
  expect_all(items, pages);
  expect_all(later, more);
  put_all(items);
  put_all(later);
}

TEST_F(FarTier, who_asks_for_what_is_here_gets_that_and_is_told_what_is_far) {
  make({ram_tier(256 * 1024), far_tier()});
  const auto pages = some_pages(1000);
  const auto items = store(pages);
  std::vector<PageBytes> room(64);
  std::vector<swap::LoadItem> loads(64);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    loads[i] = {.slot = items[i * 15].slot, .page = room[i].bytes};
  }
  script.holding = true;  // nobody who asked for one of these would come back
  swap->load(loads, swap::Reach::here);
  std::size_t near = 0;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    EXPECT_NE(loads[i].ok, loads[i].is_beyond) << i;
    if (!loads[i].ok) continue;
    ++near;
    EXPECT_TRUE(room[i] == pages[i * 15]) << i;
  }
  EXPECT_GT(near, 0u);
  EXPECT_LT(near, loads.size());
  script.let_go(chance);
  swap->load(loads);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    EXPECT_TRUE(loads[i].ok && !loads[i].is_beyond && room[i] == pages[i * 15]) << i;
  }
  put_all(items);
}

TEST_F(FarTier, who_keeps_house_waits_for_no_store_that_does_not_answer) {
  make({far_tier()});
  const auto pages = some_pages(1500);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 4 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  script.holding = true;
  machine.clock_step_ns = 300'000'000;
  for (int i = 0; i < 10; ++i) swap->maintain();
  EXPECT_EQ(tier(0).moved, 0u);
  EXPECT_EQ(std::ranges::count(script.held, sys::ObjectAction::read, &sys::ObjectRequest::action),
            1);  // and asks it for no more
  machine.clock_step_ns = 0;
  script.let_go(chance);
  const std::uint64_t before = tier(0).held_bytes;
  swap->put(std::exchange(items[0].slot, SlotIndex::none()));  // something has changed
  maintain_all();
  EXPECT_LT(tier(0).held_bytes * 10, before * 6);
  for (std::size_t i = 4; i < items.size(); i += 4) expect_holds(items[i].slot, pages[i]);
  put_all(items);
}

TEST_F(FarTier, who_finds_no_buffer_waits_for_an_answer) {
  make({far_tier()});
  script.holding = true;
  const auto pages = some_pages(500);
  std::vector<swap::StoreItem> items;
  std::thread writer([&] { items = store(pages); });
  // It comes to a stop with all buffers on their way, and goes on with each answer.
  std::atomic<bool> ended{false};
  std::thread cluster([&] {
    while (!ended) {
      script.let_go(chance);
      const std::lock_guard<std::mutex> guard(script.mutex);
      script.holding = true;
    }
  });
  writer.join();
  ended = true;
  cluster.join();
  script.let_go(chance);
  expect_all(items, pages);
  EXPECT_EQ(tier(0).refused_full, 0u);
  put_all(items);
}

TEST_F(FarTier, a_write_without_an_answer_in_time_is_sent_again_as_it_was) {
  make({far_tier()});
  script.write_error = ETIMEDOUT;
  const auto pages = some_pages(100);
  const auto items = store(pages);
  ASSERT_GT(script.writes, 0u);
  EXPECT_TRUE(script.objects.empty());
  script.write_error = 0;
  swap->maintain();
  EXPECT_FALSE(script.objects.empty());
  expect_all(items, pages);
  EXPECT_GT(tier(0).write_errors, 0u);
  put_all(items);
}

TEST_F(FarTier, an_object_that_was_tampered_with_is_not_compacted_and_costs_only_its_own_pages) {
  make({far_tier()});
  const auto pages = some_pages(1500);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 4 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  auto& bytes = script.objects.begin()->second;
  bytes[10] ^= std::byte{1};                // an image
  bytes[bytes.size() - 1] ^= std::byte{1};  // the directory
  maintain_all();
  EXPECT_EQ(refused(items, pages), 1u);
  EXPECT_TRUE(swap->check());
  put_all(items);
}

TEST_F(FarTier, a_removal_that_fails_is_tried_again) {
  make({far_tier()});
  const auto items = store(some_pages(300));
  script.removal_error = ETIMEDOUT;
  put_all(items);
  EXPECT_FALSE(script.objects.empty());
  script.removal_error = 0;
  machine.clock_step_ns = 1'000'000'000;
  for (int i = 0; i < 8; ++i) swap->maintain();
  EXPECT_TRUE(script.objects.empty());
  EXPECT_EQ(tier(0).held_bytes, 0u);
}

}  // namespace
}  // namespace holdfast::tests
