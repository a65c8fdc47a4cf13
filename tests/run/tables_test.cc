// The pager's books, without a program.
#include <gtest/gtest.h>

#include "run/budget.h"
#include "run/entry_table.h"
#include "run/stream_table.h"

namespace holdfast::run {
namespace {

TEST(Entry, keeps_what_it_was_made_of) {
  EXPECT_EQ(Entry().state(), EntryState::none);
  EXPECT_EQ(Entry::swapped(SlotIndex(0xfffffffe)).slot().value, 0xfffffffeU);
  EXPECT_EQ(Entry::filled((std::uint64_t{1} << 58) - 1).packed(), (std::uint64_t{1} << 58) - 1);
  const Entry buffered = Entry::buffered(15, 511);
  EXPECT_EQ(buffered.buffer(), 15U);
  EXPECT_EQ(buffered.place(), 511U);
  EXPECT_TRUE(buffered.is_out());
  EXPECT_FALSE(Entry::kept(SlotIndex(3)).is_out());
  EXPECT_EQ(Entry::kept(SlotIndex()), Entry()) << "no slot: nothing to keep";
}

TEST(EntryTable, for_each_sees_what_is_set_in_the_range_and_nothing_else) {
  EntryTable table;
  table.set(5, Entry::swapped(SlotIndex(1)));
  table.set(511, Entry::swapped(SlotIndex(2)));
  table.set(512, Entry::swapped(SlotIndex(3)));
  table.set(100000, Entry::swapped(SlotIndex(4)));
  const auto sum = [&](std::uint64_t first, std::uint64_t last) {
    std::uint64_t slots = 0;
    table.for_each(first, last, [&](std::uint64_t, Entry& entry) { slots += entry.slot().value; });
    return slots;
  };
  EXPECT_EQ(sum(0, ~std::uint64_t{0} >> 12), 10U);
  EXPECT_EQ(sum(6, 512), 2U);
  EXPECT_EQ(sum(512, 513), 3U);
  EXPECT_EQ(sum(513, 100000), 0U);
}

TEST(EntryTable, what_is_out_is_counted_however_it_changes) {
  EntryTable table;
  table.set(1, Entry::swapped(SlotIndex(1)));
  table.set(2, Entry::filled(7));
  table.set(3, Entry::buffered(0, 3));
  table.set(4, Entry::kept(SlotIndex(4)));
  table.set(5, Entry::doomed());
  EXPECT_EQ(table.out_pages(), 3U);
  table.set(1, Entry::kept(SlotIndex(1)));
  EXPECT_EQ(table.out_pages(), 2U);
  table.set(9, Entry());
  table.for_each(0, 100, [&](std::uint64_t, Entry& entry) { table.replace(entry, Entry()); });
  EXPECT_EQ(table.out_pages(), 0U);
}

TEST(StreamTable, a_sequence_widens_and_a_stranger_does_not) {
  StreamTable streams;
  EXPECT_EQ(streams.width(100, 64), 1U);
  streams.reached(101);
  EXPECT_EQ(streams.width(101, 64), 2U);
  streams.reached(103);
  EXPECT_EQ(streams.width(7000, 64), 1U);
  EXPECT_EQ(streams.width(103, 64), 4U);
  for (int i = 0; i < 10; ++i) {
    streams.reached(200);
    EXPECT_LE(streams.width(200, 64), 64U);
  }
}

TEST(StreamTable, goes_on_once_it_is_wide_and_no_stranger_has_come) {
  StreamTable streams;
  std::uint64_t at = 100;
  for (const std::uint32_t width : {1U, 2U, 4U, 8U}) {
    EXPECT_EQ(streams.width(at, 64), width);
    EXPECT_FALSE(streams.goes_on()) << width;
    streams.reached(at += width);
  }
  EXPECT_EQ(streams.width(at, 64), 16U);
  EXPECT_TRUE(streams.goes_on());
  EXPECT_EQ(streams.width(9000, 64), 1U);
  EXPECT_FALSE(streams.goes_on()) << "that was another's fault";
}

TEST(Budget, below_the_least_is_refused_with_the_least) {
  const auto budget = Budget::create(sys::real_machine(), 1 << 20);
  ASSERT_FALSE(budget);
  EXPECT_EQ(budget.error().limit, Budget::kLeast);
}

TEST(Budget, what_is_taken_and_given_adds_up_and_overshoot_is_told) {
  const auto budget = Budget::create(sys::real_machine(), Budget::kLeast).value();
  const std::uint64_t all = budget->free_pages();
  EXPECT_EQ(budget->take(100), 100U);
  EXPECT_EQ(budget->free_pages(), all - 100);
  budget->give(100);
  EXPECT_EQ(budget->free_pages(), all);
  budget->settle(all + 50);  // touched without asking
  EXPECT_EQ(budget->take(1), 0U) << "nothing, as long as there is too much";
  EXPECT_GE(budget->peaks().overshoot_pages, 50U);
  EXPECT_EQ(budget->peaks().resident_pages, all + 50);
  budget->settle(10);
  EXPECT_EQ(budget->free_pages(), all - 10);
  EXPECT_TRUE(budget->is_relaxed());
}

}  // namespace
}  // namespace holdfast::run
