// Blocks: pages of the pool's own memory, and the buddy lists behind them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "page/pool_fixture.h"
#include "support/seed.h"

namespace holdfast::page {
namespace {

class BlockTest : public tests::PoolTest {
 protected:
  std::byte* memory(const Page& page) { return machine.view(pool->address_of(page)); }
  static bool is_zero(const std::byte* bytes, std::size_t size) {
    return std::all_of(bytes, bytes + size, [](std::byte b) { return b == std::byte{0}; });
  }
};

TEST_F(BlockTest, a_block_is_aligned_zeroed_and_held_once) {
  make(2048);
  for (unsigned order = 0; order <= kMaxOrder; ++order) {
    const std::size_t bytes = kPageSize << order;
    Page& page = **pool->allocate_block(order, Priority::normal);
    EXPECT_EQ(pool->address_of(page) % bytes, 0u);
    EXPECT_TRUE(is_zero(memory(page), bytes));
    EXPECT_EQ(page.state(), PageState::held);
    EXPECT_EQ(page.count(), 1u);
    EXPECT_EQ(page.order(), order);
    EXPECT_EQ(pool->counts().used, 1u << order);
    std::memset(memory(page), 0xff, bytes);
    pool->free_pages(page, order);
    EXPECT_EQ(pool->counts().deferred, 1u << order);
    EXPECT_TRUE(pool->check());
    EXPECT_EQ(pool->drain(), 1u << order);
    EXPECT_EQ(pool->counts(), (FrameCounts{.total = 2048, .free = 2048}));
  }
}

TEST_F(BlockTest, no_owner_sees_anothers_bytes) {
  make(16);
  for (int round = 0; round < 10; ++round) {
    Page& page = **pool->allocate_block(4, Priority::normal);
    ASSERT_TRUE(is_zero(memory(page), kPageSize * 16)) << round;
    std::memset(memory(page), round + 1, kPageSize * 16);
    pool->free_pages(page, 4);
  }
}

TEST_F(BlockTest, an_order_that_there_is_not_is_bad_input) {
  make(1024);
  const auto result = pool->allocate_block(10, Priority::normal);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::invalid_argument);
  EXPECT_EQ(result.error().value, 10u);
  EXPECT_EQ(result.error().limit, 9u);
}

TEST_F(BlockTest, a_pool_without_room_says_so_and_changes_nothing) {
  make(256);
  tests::CountingSink sink;
  pool->set_pressure_sink(&sink);
  const auto result = pool->allocate_block(9, Priority::normal);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::out_of_memory);
  EXPECT_GT(sink.wakes, 0);
  EXPECT_EQ(pool->counts(), (FrameCounts{.total = 256, .free = 256}));
}

TEST_F(BlockTest, a_freed_block_merges_with_its_buddy) {
  make(512);
  std::vector<Page*> blocks;
  for (int i = 0; i < 512; ++i) blocks.push_back(*pool->allocate_block(0, Priority::normal));
  EXPECT_FALSE(pool->allocate_block(0, Priority::normal));
  for (Page* block : blocks) pool->free_pages(*block, 0);
  Page& whole = **pool->allocate_block(9, Priority::normal);  // drains by itself
  pool->put(whole, Holder::caller);                           // a put on the head does as well
  pool->drain();
  EXPECT_EQ(pool->free_count(), 512u);
}

TEST_F(BlockTest, single_frames_on_the_stacks_come_together_for_a_block) {
  make(512);
  std::vector<Page*> singles;
  while (Page* page = take_one(Priority::normal)) singles.push_back(page);
  pages.clear();
  for (Page* page : singles) pool->put(*page, Holder::caller);
  Page& whole = **pool->allocate_block(9, Priority::normal);
  pool->free_pages(whole, 9);
}

TEST_F(BlockTest, a_reservation_drains_what_interrupts_freed_when_nothing_else_is_left) {
  make(16);
  Page& block = **pool->allocate_block(4, Priority::normal);
  pool->free_pages(block, 4);
  EXPECT_EQ(pool->free_count(), 0u);
  EXPECT_EQ(pool->reserve(16, Priority::normal).size(), 16u);
}

TEST_F(BlockTest, a_block_with_two_holders_lives_until_both_are_gone) {
  make(64);
  Page& block = **pool->allocate_block(2, Priority::normal, Holder::pin);
  pool->get(block, Holder::caller);
  pool->put(block, Holder::pin);
  EXPECT_EQ(pool->counts().used, 4u);
  pool->free_pages(block, 2);
  EXPECT_EQ(pool->counts().deferred, 4u);
}

#if defined(HOLDFAST_DEBUG)
TEST_F(BlockTest, a_store_through_a_stale_pointer_is_found_at_the_next_use) {
  make(16);
  Page& block = **pool->allocate_block(4, Priority::normal);
  std::byte* const stale = memory(block) + 5000;
  pool->free_pages(block, 4);
  pool->drain();
  EXPECT_EQ(*stale, std::byte{0xa5}) << "freed memory is poisoned";
  *stale = std::byte{1};
  EXPECT_DEATH((void)pool->allocate_block(4, Priority::normal), "check failed");
  *stale = std::byte{0xa5};
  Page& again = **pool->allocate_block(4, Priority::normal);
  pool->free_pages(again, 4);
}
#else
TEST_F(BlockTest, memory_that_cannot_be_dropped_keeps_its_block_deferred_and_is_tried_again) {
  make(64);
  Page& block = **pool->allocate_block(4, Priority::normal);
  Page& other = **pool->allocate_block(3, Priority::normal);
  std::memset(memory(block), 1, kPageSize * 16);
  pool->free_pages(block, 4);
  pool->free_pages(other, 3);
  machine.discard_error = EIO;
  EXPECT_EQ(pool->drain(), 0u);
  EXPECT_EQ(pool->deferred_count(), 24u);
  EXPECT_TRUE(pool->check());
  machine.discard_error = 0;
  EXPECT_EQ(pool->drain(), 24u);
  EXPECT_EQ(machine.discards, 2u) << "one call a block";
  EXPECT_EQ(pool->free_count(), 64u);
}
#endif

// Free frames as a plain set of booleans, driven by the same random events.
TEST_F(BlockTest, random_blocks_and_singles_agree_with_a_plain_model) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  constexpr std::uint32_t kFrames = 3000;  // not a power of two: the tail has blocks of every order
  make(kFrames);
  std::vector<bool> used(kFrames, false);
  std::map<std::uint32_t, unsigned> blocks;  // head -> order; singles have order 0 and no memory
  std::uint64_t frames_used = 0;
  const auto mark = [&](std::uint32_t head, unsigned order, bool on) {
    for (std::uint32_t i = head; i < head + (1U << order); ++i) {
      ASSERT_NE(used[i], on) << "frame " << i << " was given twice or freed twice";
      used[i] = on;
    }
    const std::uint64_t frames = std::uint64_t{1} << order;
    frames_used = on ? frames_used + frames : frames_used - frames;
  };
  // Whether a free aligned run of this order exists, to which the pool must find its way.
  const auto possible = [&](unsigned order) {
    for (std::uint32_t head = 0; head + (1U << order) <= kFrames; head += 1U << order) {
      bool all = true;
      for (std::uint32_t i = head; i < head + (1U << order) && all; ++i) all = !used[i];
      if (all) return true;
    }
    return false;
  };
  for (int step = 0; step < 6000; ++step) {
    tests::FakeMachine::this_cpu = static_cast<int>(random() % 2);
    const auto event = random() % 10;
    if (event < 4) {
      const auto order = static_cast<unsigned>(random() % (random() % 3 == 0 ? 10 : 4));
      const auto block = pool->allocate_block(order, Priority::normal);
      ASSERT_EQ(block.has_value(), possible(order)) << "order " << order << ", step " << step;
      if (block) {
        const std::uint32_t head = pool->index_of(**block).value;
        mark(head, order, true);
        blocks[head] = order;
      }
    } else if (event < 6) {
      Reservation reservation =
          pool->reserve(static_cast<std::uint32_t>(random() % 64 + 1), Priority::normal);
      for (auto n = random() % 8; n > 0 && reservation.size() > 0; --n) {
        const std::uint32_t head = pool->index_of(reservation.take()).value;
        mark(head, 0, true);
        blocks[head] = 0;
      }
    } else if (!blocks.empty()) {
      auto chosen = blocks.lower_bound(static_cast<std::uint32_t>(random() % kFrames));
      if (chosen == blocks.end()) chosen = blocks.begin();
      mark(chosen->first, chosen->second, false);
      pool->free_pages(pool->page(FrameIndex(chosen->first)), chosen->second);
      blocks.erase(chosen);
    }
    if (random() % 16 == 0) pool->drain();
    const FrameCounts counts = pool->counts();
    ASSERT_EQ(counts.used, frames_used) << step;
    if (step % 64 == 0) {
      ASSERT_TRUE(pool->check()) << step;
    }
  }
  for (const auto& [head, order] : blocks) pool->free_pages(pool->page(FrameIndex(head)), order);
  pool->drain();
  EXPECT_EQ(pool->free_count(), kFrames);
}

}  // namespace
}  // namespace holdfast::page
