// Regions by id and by address.
#include "space/region_table.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "support/fake_machine.h"

namespace holdfast::space {
namespace {

using tests::FakeMachine;

constexpr std::uint64_t kGiB = std::uint64_t{1} << 30;

TEST(AddressMap, every_address_of_a_range_leads_to_its_region_and_no_other) {
  FakeMachine machine;
  AddressMap map(machine);
  ASSERT_TRUE(map.start());
  const Address base = 0x7000'0000'0000;
  // 2 MiB, then whole GiB, then 2 MiB again: both tables are used.
  for (const std::uint64_t bytes : {kHugeSize, 3 * kHugeSize, kGiB, 3 * kGiB + 2 * kHugeSize}) {
    for (const Address first : {base, base + kHugeSize, base + kGiB - kHugeSize}) {
      map.set(first, bytes, RegionId(5));
      EXPECT_EQ(map.find(first), RegionId(5));
      EXPECT_EQ(map.find(first + bytes / 2), RegionId(5));
      EXPECT_EQ(map.find(first + bytes - 1), RegionId(5));
      EXPECT_TRUE(map.find(first - 1).is_none());
      EXPECT_TRUE(map.find(first + bytes).is_none());
      map.set(first, bytes, RegionId::none());
      EXPECT_TRUE(map.find(first).is_none());
      EXPECT_TRUE(map.find(first + bytes - 1).is_none());
    }
  }
}

TEST(AddressMap, addresses_that_no_user_has_lead_nowhere) {
  FakeMachine machine;
  AddressMap map(machine);
  ASSERT_TRUE(map.start());
  for (const Address address : {Address{0}, Address{1} << 47, ~Address{0}}) {
    EXPECT_TRUE(map.find(address).is_none());
  }
}

class RegionTableTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(table.start()); }
  RegionRecord& make(std::uint64_t pages) {
    RegionRecord* const region = table.claim(pages, 64).value();
    region->pages = pages;
    table.publish(*region);
    return *region;
  }
  FakeMachine machine;
  RegionTable table{machine};
};

TEST_F(RegionTableTest, a_region_is_found_by_its_addresses_once_it_is_published) {
  RegionRecord* const region = table.claim(100, 64).value();
  EXPECT_EQ(region->base % kHugeSize, 0u);
  EXPECT_EQ(table.find(region->base), nullptr);
  EXPECT_FALSE(region->enter());
  table.publish(*region);
  EXPECT_EQ(table.find(region->base), region);
  EXPECT_EQ(table.find(region->base + region->reserved_bytes - 1), region);
  EXPECT_EQ(table.find(region->base + region->reserved_bytes), nullptr);
  EXPECT_EQ(&table.record(region->id), region);
  table.drop(*region);
}

TEST_F(RegionTableTest, its_tables_cover_its_capacity) {
  RegionRecord& region = make(1000);
  EXPECT_EQ(region.capacity, 1000u);
  EXPECT_EQ(region.entry(999).peek(), EntryValue());
  ASSERT_TRUE(region.entry(999).try_lock());
  region.entry(999).unlock(EntryValue::filled(3));
  EXPECT_EQ(region.windows[999 / 64].rescues, 0u);
  EXPECT_EQ(region.leaves[999 / kLeafEntries], 0u);
  EXPECT_EQ(region.index_of(region.address_of(999) + kPageSize - 1), 999u);
  table.drop(region);
}

TEST_F(RegionTableTest, what_is_dropped_leads_nowhere_and_its_record_is_used_again) {
  const std::size_t at_start = machine.reserved_ranges();
  RegionRecord& first = make(10);
  const Address base = first.base;
  const RegionId id = first.id;
  ASSERT_TRUE(first.retire());
  table.drop(first);
  EXPECT_EQ(table.find(base), nullptr);
  EXPECT_EQ(machine.reserved_ranges(), at_start);
  RegionRecord& second = make(20);
  EXPECT_EQ(second.id, id);
  EXPECT_EQ(second.capacity, 20u);
  EXPECT_EQ(second.leaves_charged, 0u);
  table.drop(second);
}

TEST_F(RegionTableTest, users_keep_a_record_from_being_used_again) {
  RegionRecord& region = make(10);
  ASSERT_TRUE(region.enter());
  EXPECT_TRUE(region.retire());
  EXPECT_FALSE(region.retire());  // once
  EXPECT_FALSE(region.enter());
  EXPECT_TRUE(region.has_users());
  table.drop(region);
  RegionRecord& other = make(10);
  EXPECT_NE(&other, &region);
  region.leave();
  RegionRecord& third = make(10);
  EXPECT_EQ(&third, &region);
  table.drop(other);
  table.drop(third);
}

TEST_F(RegionTableTest, only_a_zombie_is_revived_and_by_one) {
  RegionRecord& region = make(10);
  EXPECT_FALSE(region.revive_zombie());
  region.set_state(RegionRecord::State::zombie);
  EXPECT_FALSE(region.enter());
  EXPECT_FALSE(region.retire());
  EXPECT_TRUE(region.revive_zombie());
  EXPECT_FALSE(region.revive_zombie());
  table.drop(region);
}

TEST_F(RegionTableTest, too_many_regions_are_refused_and_leave_nothing_behind) {
  std::vector<RegionRecord*> regions;
  std::set<RegionId> ids;
  for (std::uint32_t i = 0; i < RegionTable::kRegionsMax; ++i) {
    regions.push_back(&make(1));
    ids.insert(regions.back()->id);
  }
  EXPECT_EQ(ids.size(), RegionTable::kRegionsMax);
  const std::size_t ranges = machine.reserved_ranges();
  const auto more = table.claim(1, 64);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code, Errc::out_of_memory);
  EXPECT_EQ(more.error().limit, RegionTable::kRegionsMax);
  EXPECT_EQ(machine.reserved_ranges(), ranges);
  for (RegionRecord* region : regions) table.drop(*region);
}

TEST_F(RegionTableTest, address_space_that_cannot_be_had_is_an_error_without_effect) {
  const std::size_t ranges = machine.reserved_ranges();
  for (int nth = 0; nth < 2; ++nth) {
    machine.fail_reserve_in = nth;
    EXPECT_FALSE(table.claim(10, 64)) << nth;
    EXPECT_EQ(machine.reserved_ranges(), ranges) << nth;
  }
  table.drop(make(10));
}

}  // namespace
}  // namespace holdfast::space
