// Pins: what they keep, what they refuse, and when they let go.
#include <gtest/gtest.h>

#include <thread>

#include "space/space_fixture.h"
#include "support/seed.h"
#include "sync/sync.h"

namespace holdfast::space {
namespace {

using test::SpaceTest;

class Pinning : public SpaceTest {};

TEST_F(Pinning, a_pin_is_a_reference_that_is_counted_in_pins_too) {
  RegionRecord& region = map(64);
  ASSERT_TRUE(space->pin(region.address_of(3) + 5, 2 * kPageSize));
  for (std::uint64_t p = 3; p < 6; ++p) {
    EXPECT_EQ(page_of(region, p).pins(), 1u);
    EXPECT_EQ(page_of(region, p).count(), 3u);
  }
  ASSERT_TRUE(space->pin(region.address_of(4), 1));
  EXPECT_EQ(page_of(region, 4).pins(), 2u);
  EXPECT_EQ(space->pinned_pages(), 3u);  // each once
  EXPECT_TRUE(check());
  space->unpin(region.address_of(3), 3);
  EXPECT_EQ(space->pinned_pages(), 1u);
  space->unpin(region.address_of(4), 1);
  EXPECT_EQ(space->pinned_pages(), 0u);
}

TEST_F(Pinning, resident_pages_are_pinned_without_a_fault) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 8; ++p) write(region, p, 1);
  const std::uint64_t zero = count(Count::faults_zero);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(space->pin(region.base, 8 * kPageSize));
    space->unpin(region.base, 8);
  }
  EXPECT_EQ(count(Count::faults_zero) + count(Count::faults_spurious), zero);
}

TEST_F(Pinning, a_failed_pin_leaves_nothing_pinned) {
  RegionRecord& region = map(64, 128);
  EXPECT_EQ(space->pin(region.address_of(60), 5 * kPageSize).error().code, Errc::not_mapped);
  EXPECT_EQ(space->pin(region.base - 1, 2).error().code, Errc::not_mapped);
  EXPECT_EQ(space->pin(region.base, ~std::uint64_t{0}).error().code, Errc::not_mapped);
  RegionRecord& large = map(2000);
  const auto many = space->pin(large.base, 2000 * kPageSize);
  EXPECT_EQ(many.error().code, Errc::pins_exceeded);
  EXPECT_EQ(many.error().limit, space->pins_limit());
  EXPECT_EQ(space->pinned_pages(), 0u);
}

TEST_F(Pinning, a_pin_that_runs_out_of_frames_half_way_lets_go_of_the_first_half) {
  RegionRecord &region = map(2000), &other = map(2000);
  const std::uint64_t most = space->pins_limit();
  ASSERT_TRUE(space->pin(other.base, most / 2 * kPageSize));
  const auto pinned = space->pin(region.base, most * kPageSize);
  ASSERT_FALSE(pinned);
  EXPECT_EQ(pinned.error().code, Errc::pins_exceeded);
  EXPECT_EQ(space->pinned_pages(), most / 2);
  space->unpin(other.base, most / 2);
}

TEST_F(Pinning, pinned_pages_outlive_their_region_and_keep_its_addresses) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 8; ++p) write(region, p, 10 + p);
  ASSERT_TRUE(space->pin(region.address_of(2), 2 * kPageSize));
  ASSERT_TRUE(space->unmap(region));
  EXPECT_EQ(region.state(), RegionRecord::State::zombie);
  EXPECT_TRUE(space->owns(region.base));
  EXPECT_EQ(word(region, 2), 12u);
  EXPECT_EQ(word(region, 3), 13u);
  EXPECT_EQ(space->sweep_zombies(), 0u);
  EXPECT_EQ(space->pin(region.address_of(2), 1).error().code, Errc::not_mapped);
  const Address base = region.base;
  space->unpin(region.address_of(2), 1);
  EXPECT_EQ(space->sweep_zombies(), 0u);
  EXPECT_EQ(word(region, 3), 13u);
  space->unpin(region.address_of(3), 1);
  EXPECT_EQ(space->sweep_zombies(), 1u);
  EXPECT_FALSE(space->owns(base));
  EXPECT_EQ(region.state(), RegionRecord::State::empty);
}

TEST_F(Pinning, free_and_shrink_are_refused_where_a_page_is_pinned) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 64; ++p) write(region, p, 10 + p);
  ASSERT_TRUE(space->pin(region.address_of(40), 1));
  EXPECT_EQ(space->advise(region, 0, 64 * kPageSize, Advice::free).error().code, Errc::busy);
  EXPECT_EQ(space->resize(region, PageCount(40)).error().code, Errc::busy);
  EXPECT_EQ(region.page_count(), 64u);
  for (std::uint64_t p = 0; p < 64; ++p) EXPECT_EQ(word(region, p), 10 + p);
  EXPECT_TRUE(space->resize(region, PageCount(41)));
  space->unpin(region.address_of(40), 1);
  EXPECT_TRUE(space->resize(region, PageCount(1)));
}

TEST_F(Pinning, an_interrupt_is_refused_a_page_that_is_not_resident) {
  RegionRecord& region = map(64);
  write(region, 0, 1);
  {
    const sync::InterruptScope scope;
    EXPECT_EQ(space->pin(region.address_of(1), 1).error().code, Errc::interrupt_context);
    EXPECT_EQ(space->pin(region.address_of(0), 2 * kPageSize).error().code,
              Errc::interrupt_context);
  }
  EXPECT_EQ(space->pinned_pages(), 0u);
  EXPECT_EQ(kind(region, 1), EntryKind::none);
}

TEST_F(Pinning, a_pin_and_an_eviction_of_the_same_page_see_one_another) {
  RegionRecord& region = map(16);
  const std::uint64_t rounds = tests::seed_count(20'000);
  std::atomic<bool> done{false};
  std::thread evictor([&] {
    while (!done) {
      if (kind(region, 3) == EntryKind::resident) (void)unmap_window_of(region, 3);
    }
  });
  std::uint64_t moved = 0;
  for (std::uint64_t i = 0; i < rounds; ++i) {
    ASSERT_TRUE(space->pin(region.address_of(3), 1));
    const std::uint64_t expected = i;
    moved += word(region, 3) == expected && kind(region, 3) == EntryKind::resident ? 0 : 1;
    word(region, 3) = i + 1;
    space->unpin(region.address_of(3), 1);
  }
  done = true;
  evictor.join();
  EXPECT_EQ(moved, 0u);
  EXPECT_EQ(word(region, 3), rounds);
  EXPECT_TRUE(check());
}

}  // namespace
}  // namespace holdfast::space
