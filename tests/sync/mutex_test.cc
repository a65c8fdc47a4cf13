#include "sync/mutex.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/base.h"
#include "sync/sync.h"

namespace holdfast::sync {
namespace {

TEST(Mutex, keeps_threads_apart) {
  Mutex<Rank::lru> mutex;
  int counter = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20000; ++i) {
        MutexGuard guard(mutex);
        ++counter;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, 80000);
  EXPECT_FALSE(mutex.held());
}

TEST(Mutex, try_lock_fails_while_another_thread_holds_it) {
  Mutex<Rank::lru> mutex;
  mutex.lock();
  std::thread([&] { EXPECT_FALSE(mutex.try_lock()); }).join();
  mutex.unlock();
  const bool taken = mutex.try_lock();
  if (taken) mutex.unlock();
  EXPECT_TRUE(taken);
}

// Waits through a parking of its own, so that the sleeping path runs for certain.
class CountingParking final : public Parking {
 public:
  void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
            std::uint64_t) noexcept override {
    ++waits;
    for (int i = 0; i < 100 && word.load() == expected; ++i) relax();
  }
  void wake(const std::atomic<std::uint32_t>&, std::uint32_t) noexcept override { ++wakes; }
  void relax() noexcept override { ++relaxes; }
  std::atomic<int> waits{0}, wakes{0}, relaxes{0};
};

TEST(Mutex, spins_then_parks_and_the_holder_wakes_the_waiter) {
  Mutex<Rank::lru> mutex;
  CountingParking holder_parking;
  CountingParking waiter_parking;
  this_thread().parking = &holder_parking;
  mutex.lock();
  std::thread waiter([&] {
    this_thread().parking = &waiter_parking;
    MutexGuard guard(mutex);
  });
  while (waiter_parking.waits == 0) std::this_thread::yield();
  EXPECT_GT(waiter_parking.relaxes, 0);
  EXPECT_EQ(holder_parking.wakes, 0);
  mutex.unlock();
  waiter.join();
  EXPECT_EQ(holder_parking.wakes, 1);
  this_thread().parking = nullptr;
}

TEST(Rank, every_rank_has_a_name) {
  for (int rank = 1; rank <= static_cast<int>(Rank::device); ++rank) {
    EXPECT_STRNE(name(static_cast<Rank>(rank)), "unknown");
  }
}

#if defined(HOLDFAST_DEBUG)

TEST(Rank, the_ladder_may_be_climbed_down_whole) {
  for (int rank = 1; rank <= static_cast<int>(Rank::device); ++rank) {
    note_acquire(static_cast<Rank>(rank));
  }
  for (int rank = 1; rank <= static_cast<int>(Rank::device); ++rank) {
    note_release(static_cast<Rank>(rank));  // in any order
  }
  check_none_held();
}

TEST(Rank, every_wrong_pair_aborts_and_names_both_locks) {
  for (int held = 1; held <= static_cast<int>(Rank::device); ++held) {
    for (int taken = 1; taken <= held; ++taken) {
      const auto first = static_cast<Rank>(held);
      const auto second = static_cast<Rank>(taken);
      if (first == Rank::entry && second == Rank::entry) continue;
      const std::string line =
          std::string("takes ") + name(second) + " while holding " + name(first);
      EXPECT_DEATH(
          {
            note_acquire(first);
            note_acquire(second);
          },
          line);
    }
  }
}

TEST(Rank, a_wrong_order_of_real_locks_aborts) {
  Mutex<Rank::buddy> buddy;
  Mutex<Rank::lru> lru;
  EXPECT_DEATH(
      {
        MutexGuard first(buddy);
        MutexGuard second(lru);
      },
      "takes lru while holding buddy");
}

TEST(Rank, many_entries_may_be_held_and_locks_below_them) {
  for (int i = 0; i < 600; ++i) note_acquire(Rank::entry);
  note_acquire(Rank::buddy);
  for (int i = 0; i < 599; ++i) note_release(Rank::entry);
  EXPECT_DEATH(note_acquire(Rank::page), "takes page while holding buddy");
  note_release(Rank::buddy);
  EXPECT_DEATH(note_acquire(Rank::region_table), "takes region_table while holding entry");
  note_release(Rank::entry);
  check_none_held();
}

TEST(Rank, an_entry_under_a_lower_lock_aborts_though_one_is_held) {
  note_acquire(Rank::entry);
  note_acquire(Rank::lru);
  EXPECT_DEATH(note_acquire(Rank::entry), "takes entry while holding lru");
  note_release(Rank::lru);
  note_release(Rank::entry);
}

TEST(Rank, giving_back_what_is_not_held_aborts) {
  EXPECT_DEATH(note_release(Rank::tier), "gives back tier");
}

TEST(Rank, waiting_with_a_lock_held_aborts_and_names_it) {
  EXPECT_DEATH(
      {
        note_acquire(Rank::slot_map);
        check_none_held();
      },
      "slot_map");
}

TEST(Rank, a_lock_in_interrupt_context_aborts) {
  Mutex<Rank::lru> mutex;
  EXPECT_DEATH(
      {
        InterruptScope interrupt;
        MutexGuard guard(mutex);
      },
      "takes lru while holding interrupt context");
}

#endif

TEST(Context, a_thread_is_in_interrupt_context_inside_the_engine_only) {
  EXPECT_FALSE(in_interrupt());
  {
    EngineScope outer;
    EXPECT_TRUE(in_interrupt());
    {
      InterruptScope inner;
      EXPECT_TRUE(in_interrupt());
    }
    EXPECT_TRUE(in_interrupt());
    std::thread([] { EXPECT_FALSE(in_interrupt()) << "the depth is the thread's own"; }).join();
  }
  EXPECT_FALSE(in_interrupt());
}

TEST(Context, a_swapped_context_is_the_threads_until_it_is_swapped_back) {
  ThreadContext other;
  other.engine_depth = 1;
  EXPECT_EQ(swap_thread_context(&other), nullptr);
  EXPECT_TRUE(in_interrupt());
  EXPECT_EQ(swap_thread_context(nullptr), &other);
  EXPECT_FALSE(in_interrupt());
}

TEST(Interleave, the_hook_is_the_threads_own) {
  static thread_local int calls;
  calls = 0;
  set_interleave_hook([]() noexcept { ++calls; });
  run_interleave_hook();
  std::thread([] {
    run_interleave_hook();
    EXPECT_EQ(calls, 0);
  }).join();
  set_interleave_hook(nullptr);
  run_interleave_hook();
  EXPECT_EQ(calls, 1);
}

}  // namespace
}  // namespace holdfast::sync
