// Simulated memory: what stands where, and that it is counted.
#include <gtest/gtest.h>

#include <cstring>

#include "sys/sim.h"

namespace holdfast::sys {
namespace {

constexpr std::uint64_t kPages = 64;
constexpr std::uint64_t kBytes = kPages * kPageSize;

TEST(SimMemory, a_table_is_host_memory_that_discard_zeroes) {
  SimMachine machine({.seed = 1});
  const Address table = machine.reserve(kBytes, kPageSize, Purpose::table).value();
  std::byte* bytes = machine.view(table);
  EXPECT_EQ(reinterpret_cast<Address>(bytes), table);
  for (std::uint64_t size : {kPageSize, kBytes}) {
    std::memset(bytes, 7, kBytes);
    EXPECT_EQ(machine.discard(table, size), 0);
    EXPECT_EQ(bytes[size - 1], std::byte{0});
  }
  EXPECT_EQ(machine.resident_bytes(), 0U);  // tables are not counted
  EXPECT_EQ(machine.release(table, kBytes), 0);
  EXPECT_EQ(machine.reserved_bytes(Purpose::table), 0U);
}

TEST(SimMemory, reservations_are_aligned_and_disjoint) {
  SimMachine machine({.seed = 1});
  Address last = 0;
  for (const Purpose purpose : {Purpose::region, Purpose::pool}) {
    for (const std::uint64_t align : {kPageSize, kHugeSize, std::size_t{1} << 30}) {
      const Address a = machine.reserve(3 * kPageSize, align, purpose).value();
      EXPECT_EQ(a % align, 0U);
      EXPECT_GT(a, last + 3 * kPageSize);
      last = a;
    }
  }
}

TEST(SimMemory, a_terabyte_reserves_and_releases_at_once) {
  SimMachine machine({.seed = 1});
  const Address a = machine.reserve(std::uint64_t{1} << 40, kHugeSize, Purpose::region).value();
  EXPECT_EQ(machine.discard(a, std::uint64_t{1} << 40), 0);
  EXPECT_EQ(machine.release(a, std::uint64_t{1} << 40), 0);
  EXPECT_FALSE(machine.reserve(std::uint64_t{1} << 46, kPageSize, Purpose::region));
}

TEST(SimMemory, pool_pages_come_with_a_touch_and_go_with_a_discard) {
  SimMachine machine({.seed = 1});
  const Address pool = machine.reserve(kBytes, kPageSize, Purpose::pool).value();
  for (std::uint64_t i = 0; i < kPages; ++i) {
    std::byte* page = machine.view(pool + i * kPageSize);
    EXPECT_EQ(page[0], std::byte{0});
    page[0] = std::byte{9};
    EXPECT_EQ(machine.view(pool + i * kPageSize), page);
  }
  EXPECT_EQ(machine.resident_bytes(), kBytes);
  EXPECT_EQ(machine.discard(pool, kBytes), 0);
  EXPECT_EQ(machine.resident_bytes(), 0U);
  EXPECT_EQ(machine.peak_resident_bytes(), kBytes);
  EXPECT_EQ(machine.view(pool)[0], std::byte{0});
}

TEST(SimMemory, remap_out_carries_pages_and_drops_what_stood_there) {
  SimMachine machine({.seed = 1});
  const Address region = machine.reserve(kBytes, kPageSize, Purpose::region).value();
  const Address pool = machine.reserve(kBytes, kPageSize, Purpose::pool).value();
  EXPECT_EQ(machine.run([&] {
    const std::uint64_t word = 0x1234;
    ASSERT_TRUE(machine.store(region + 3 * kPageSize, &word, sizeof word));
    std::byte* page = machine.view(region + 3 * kPageSize);
    machine.view(pool + 5 * kPageSize)[0] = std::byte{1};
    EXPECT_EQ(machine.remap_out(pool, region, kBytes), 0);
    EXPECT_EQ(machine.view(pool + 3 * kPageSize), page);  // the very page
    EXPECT_FALSE(machine.is_present(region + 3 * kPageSize));
    EXPECT_FALSE(machine.is_present(pool + 5 * kPageSize));
    EXPECT_EQ(machine.resident_bytes(), kPageSize);
  }),
            RunOutcome::finished);
}

TEST(SimMemory, a_failed_remap_or_discard_changes_nothing) {
  SimMachine machine({.seed = 1});
  const Address region = machine.reserve(kBytes, kPageSize, Purpose::region).value();
  const Address pool = machine.reserve(kBytes, kPageSize, Purpose::pool).value();
  machine.view(pool)[0] = std::byte{1};
  machine.failures().fail_at(FailureKind::remap_out, 1, Repeat::once);
  machine.failures().fail_at(FailureKind::discard, 1, Repeat::once);
  EXPECT_EQ(machine.remap_out(pool, region, kBytes), ENOMEM);
  EXPECT_EQ(machine.discard(pool, kBytes), ENOMEM);
  EXPECT_EQ(machine.view(pool)[0], std::byte{1});
  EXPECT_EQ(machine.remap_out(pool, region, kBytes), 0);
}

TEST(SimMemory, unregistered_region_memory_reads_as_zeros) {
  SimMachine machine({.seed = 1});
  const Address region = machine.reserve(kBytes, kPageSize, Purpose::region).value();
  EXPECT_EQ(machine.run([&] {
    char text[6000];
    std::memset(text, 'x', sizeof text);
    ASSERT_TRUE(machine.load(region + 100, text, sizeof text));
    EXPECT_EQ(text[0], 0);
    EXPECT_EQ(text[5999], 0);
  }),
            RunOutcome::finished);
  EXPECT_EQ(machine.sim_stats().zero_pages, 2U);
}

TEST(SimPagesTable, agrees_with_a_plain_map_under_random_changes) {
  SimPages pages;
  std::unordered_map<std::uint64_t, std::byte*> model;
  SimRandom random(11);
  for (int i = 0; i < 200'000; ++i) {
    const std::uint64_t n = 0x2'0000'0000 + random.below(3000);
    if (random.chance(1, 2)) {
      std::byte* removed = pages.remove(n);
      ASSERT_EQ(removed, model.contains(n) ? model[n] : nullptr);
      model.erase(n);
      if (removed != nullptr) give_sim_page(removed);
    } else if (!model.contains(n)) {
      model[n] = take_sim_page();
      pages.insert(n, model[n]);
    }
    ASSERT_EQ(pages.size(), model.size());
  }
  for (std::uint64_t n = 0x2'0000'0000; n < 0x2'0000'0000 + 3000; ++n) {
    ASSERT_EQ(pages.find(n), model.contains(n) ? model[n] : nullptr);
  }
}

TEST(SimMemoryDeathTest, a_view_of_a_missing_region_page_is_a_bug) {
  EXPECT_DEATH(
      {
        SimMachine machine({.seed = 1});
        machine.view(machine.reserve(kBytes, kPageSize, Purpose::region).value())[0] = std::byte{1};
      },
      "purpose_of");
}

}  // namespace
}  // namespace holdfast::sys
