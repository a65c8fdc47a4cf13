// The page-table entry: what it encodes, and its lock.
#include "space/entry.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "support/seed.h"
#include "sys/sys.h"

namespace holdfast::space {
namespace {

TEST(EntryValue, each_kind_gives_back_what_it_was_made_of) {
  EXPECT_EQ(EntryValue().kind(), EntryKind::none);
  EXPECT_EQ(EntryValue().raw(), 0u);
  for (const std::uint32_t n : {0u, 1u, 0x12345u, 0xfffffffeu}) {
    const EntryValue resident = EntryValue::resident(FrameIndex(n));
    EXPECT_EQ(resident.kind(), EntryKind::resident);
    EXPECT_EQ(resident.frame(), FrameIndex(n));
    const EntryValue cached = EntryValue::cached(FrameIndex(n));
    EXPECT_EQ(cached.kind(), EntryKind::cached);
    EXPECT_EQ(cached.frame(), FrameIndex(n));
    const EntryValue swapped = EntryValue::swapped(SlotIndex(n));
    EXPECT_EQ(swapped.kind(), EntryKind::swapped);
    EXPECT_EQ(swapped.slot(), SlotIndex(n));
    EXPECT_NE(resident, cached);
    EXPECT_NE(cached, swapped);
  }
  for (const std::uint64_t word :
       {std::uint64_t{0}, std::uint64_t{1}, (std::uint64_t{1} << 58) - 1}) {
    const EntryValue filled = EntryValue::filled(word);
    EXPECT_EQ(filled.kind(), EntryKind::filled);
    EXPECT_EQ(filled.packed_word(), word);
  }
}

TEST(EntryValue, no_value_reaches_into_the_lock_bits) {
  for (const EntryValue value :
       {EntryValue(), EntryValue::filled((std::uint64_t{1} << 58) - 1),
        EntryValue::resident(FrameIndex(~1U)), EntryValue::swapped(SlotIndex(~1U))}) {
    EXPECT_EQ(value.raw() & 3, 0u);
    EXPECT_EQ(EntryValue::from_raw(value.raw() | 3), value);
  }
}

TEST(EntryValue, absent_is_what_a_fault_must_bring_in) {
  EXPECT_TRUE(EntryValue().is_absent());
  EXPECT_TRUE(EntryValue::filled(1).is_absent());
  EXPECT_TRUE(EntryValue::swapped(SlotIndex(1)).is_absent());
  EXPECT_FALSE(EntryValue::resident(FrameIndex(1)).is_absent());
  EXPECT_FALSE(EntryValue::cached(FrameIndex(1)).is_absent());
}

TEST(Entry, its_lock_is_had_by_one) {
  Entry entry;
  EXPECT_FALSE(entry.locked());
  ASSERT_TRUE(entry.try_lock());
  EXPECT_TRUE(entry.locked());
  EXPECT_FALSE(entry.try_lock());
  entry.unlock(EntryValue::resident(FrameIndex(7)));
  EXPECT_FALSE(entry.locked());
  EXPECT_EQ(entry.peek(), EntryValue::resident(FrameIndex(7)));
}

TEST(Entry, its_value_is_read_under_its_lock_too) {
  Entry entry;
  EXPECT_FALSE(entry.lock());
  entry.unlock(EntryValue::swapped(SlotIndex(9)));
  EntryValue value;
  EXPECT_TRUE(entry.unlocked_value(value));
  ASSERT_TRUE(entry.try_lock());
  EXPECT_EQ(entry.peek(), EntryValue::swapped(SlotIndex(9)));
  EXPECT_FALSE(entry.unlocked_value(value));
  EXPECT_EQ(value, EntryValue::swapped(SlotIndex(9)));
  entry.unlock();
  EXPECT_EQ(entry.peek(), EntryValue::swapped(SlotIndex(9)));
}

TEST(Entry, whoever_waits_gets_it_in_the_end) {
  Entry entry;
  ASSERT_TRUE(entry.try_lock());
  std::atomic<int> begun{0}, got{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      ++begun;
      (void)entry.lock();
      ++got;
      entry.unlock(EntryValue::resident(FrameIndex(static_cast<std::uint32_t>(got))));
    });
  }
  while (begun < 3) std::this_thread::yield();
  EXPECT_EQ(got, 0);
  entry.unlock();
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(got, 3);
  EXPECT_EQ(entry.peek(), EntryValue::resident(FrameIndex(3)));
  EXPECT_FALSE(entry.locked());
}

TEST(Entry, it_excludes_threads_from_one_another) {
  Entry entry;
  std::uint64_t guarded = 0;  // by the entry
  const std::uint64_t rounds = tests::seed_count(50'000);
  const auto count = [&] {
    for (std::uint64_t i = 0; i < rounds; ++i) {
      (void)entry.lock();
      ++guarded;
      entry.unlock(EntryValue::filled(guarded));
    }
  };
  std::thread one(count), other(count);
  count();
  one.join();
  other.join();
  EXPECT_EQ(guarded, 3 * rounds);
  EXPECT_EQ(entry.peek().packed_word(), 3 * rounds);
}

}  // namespace
}  // namespace holdfast::space
