#include "sync/defer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "sync/sync.h"

namespace holdfast::sync {
namespace {

std::vector<std::uintptr_t>* ran;
void note(void* argument) noexcept { ran->push_back(reinterpret_cast<std::uintptr_t>(argument)); }
void* argument(std::uintptr_t value) { return reinterpret_cast<void*>(value); }

class DeferTest : public testing::Test {
 protected:
  void SetUp() override { ran = &log; }
  std::vector<std::uintptr_t> log;
  std::unique_ptr<DeferQueue> queue = std::make_unique<DeferQueue>();
};

TEST_F(DeferTest, what_was_pushed_runs_in_order_once) {
  EXPECT_FALSE(queue->pending());
  for (std::uintptr_t i = 0; i < 5; ++i) ASSERT_TRUE(queue->push(note, argument(i)));
  EXPECT_TRUE(queue->pending());
  EXPECT_EQ(queue->drain(), 5u);
  EXPECT_EQ(log, (std::vector<std::uintptr_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(queue->drain(), 0u);
  EXPECT_FALSE(queue->pending());
}

TEST_F(DeferTest, a_full_queue_refuses_and_keeps_what_it_has) {
  for (std::uintptr_t round = 0; round < 3; ++round) {
    log.clear();
    for (std::uintptr_t i = 0; i < DeferQueue::kCapacity; ++i) {
      ASSERT_TRUE(queue->push(note, argument(i)));
    }
    EXPECT_FALSE(queue->push(note, argument(7)));
    EXPECT_FALSE(queue->push(note, argument(7)));
    EXPECT_EQ(queue->drain(), DeferQueue::kCapacity);
    ASSERT_EQ(log.size(), DeferQueue::kCapacity);
    for (std::uintptr_t i = 0; i < log.size(); ++i) ASSERT_EQ(log[i], i);
  }
}

DeferQueue* again_queue;
void push_again(void* left) noexcept {
  const auto times = reinterpret_cast<std::uintptr_t>(left);
  ran->push_back(times);
  if (times > 0) {
    EXPECT_TRUE(again_queue->push(push_again, argument(times - 1)));
  }
}

TEST_F(DeferTest, a_function_may_push_again) {
  again_queue = queue.get();
  ASSERT_TRUE(queue->push(push_again, argument(3)));
  EXPECT_EQ(queue->drain(), 4u);
  EXPECT_EQ(log, (std::vector<std::uintptr_t>{3, 2, 1, 0}));
}

TEST_F(DeferTest, one_drain_is_bounded_even_if_functions_push_for_ever) {
  again_queue = queue.get();
  ASSERT_TRUE(queue->push(push_again, argument(DeferQueue::kCapacity * 3)));
  EXPECT_EQ(queue->drain(), DeferQueue::kCapacity);
  EXPECT_TRUE(queue->pending());
}

std::atomic<std::uint64_t> sum;
void add(void* argument) noexcept { sum += reinterpret_cast<std::uintptr_t>(argument); }

TEST_F(DeferTest, many_threads_push_and_nothing_is_lost_or_run_twice) {
  sum = 0;
  constexpr std::uintptr_t kItems = 30000;
  std::atomic<int> pushers{3};
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      for (std::uintptr_t i = 1; i <= kItems; ++i) {
        while (!queue->push(add, argument(i))) std::this_thread::yield();
      }
      --pushers;
    });
  }
  std::size_t count = 0;
  while (pushers > 0 || queue->pending()) count += queue->drain();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(count, 3 * kItems);
  EXPECT_EQ(sum, 3 * kItems * (kItems + 1) / 2);
}

}  // namespace
}  // namespace holdfast::sync
