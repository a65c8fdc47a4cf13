// Pages that are shared copy-on-write, at the edge of what memory there is.
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "space/space_fixture.h"

namespace holdfast::space {
namespace {

using test::SpaceTest;

class SharingTest : public SpaceTest {
 protected:
  RegionRecord& snapshot_of(RegionRecord& region) {
    RegionRecord* const sources[] = {&region};
    RegionRecord* made[1] = {};
    EXPECT_TRUE(space->copy(sources, AddressSpace::CopyKind::snapshot, made));
    mapped.push_back(made[0]);
    return *made[0];
  }
  // Takes free frames until faults find only so many.
  std::vector<page::Reservation> leave_frames(std::uint32_t frames) {
    std::vector<page::Reservation> taken;
    for (std::uint64_t more = 1; more > 0;) {
      const std::uint64_t kept = pool->kept_from(page::Priority::normal) + frames;
      const std::uint64_t free = pool->free_count();
      more = std::min<std::uint64_t>(free > kept ? free - kept : 0, page::kReservationMax);
      if (more == 0) break;
      taken.push_back(pool->reserve(static_cast<std::uint32_t>(more), page::Priority::normal));
    }
    return taken;
  }
  std::uint64_t first_word(RegionRecord& snapshot, std::uint64_t page) {
    alignas(kPageSize) std::byte bytes[kPageSize];
    EXPECT_TRUE(space->read_pages(snapshot, page, 1, bytes));
    return *reinterpret_cast<const std::uint64_t*>(bytes);
  }
};

TEST_F(SharingTest, a_store_to_a_cached_page_that_is_shared_takes_one_frame_and_one_fault) {
  RegionRecord& region = map(64);
  write(region, 3, 7);
  RegionRecord& snapshot = snapshot_of(region);
  EXPECT_EQ(word(snapshot, 3), 7u);  // it is shared from here on
  ASSERT_EQ(unmap_window_of(region, 3).what, Unmapped::pages);
  ASSERT_EQ(kind(region, 3), EntryKind::cached);
  {
    const std::vector<page::Reservation> taken = leave_frames(1);
    EXPECT_EQ(space->on_fault(region.address_of(3), sys::Access::write), sys::FaultOutcome::served);
    EXPECT_EQ(kind(region, 3), EntryKind::resident);
    EXPECT_TRUE(region.leaf_of(3).is_writable(3)) << "or the store faults once more";
  }
  EXPECT_EQ(word(region, 3), 7u);
  write(region, 3, 8);
  EXPECT_EQ(first_word(snapshot, 3), 7u);
  EXPECT_EQ(word(snapshot, 3), 7u);
  EXPECT_TRUE(check());
}

TEST_F(SharingTest, a_store_to_a_cached_page_without_a_frame_is_refused_and_loses_nothing) {
  RegionRecord& region = map(64);
  write(region, 3, 7);
  RegionRecord& snapshot = snapshot_of(region);
  EXPECT_EQ(word(snapshot, 3), 7u);
  ASSERT_EQ(unmap_window_of(region, 3).what, Unmapped::pages);
  {
    const std::vector<page::Reservation> taken = leave_frames(0);
    EXPECT_EQ(space->on_fault(region.address_of(3), sys::Access::write), sys::FaultOutcome::fatal);
    EXPECT_GT(relief.asked, 0);
  }
  EXPECT_TRUE(check());
  EXPECT_EQ(word(region, 3), 7u);
  EXPECT_EQ(first_word(snapshot, 3), 7u);
}

}  // namespace
}  // namespace holdfast::space
