// Devices that fail: nothing is lost, nothing wrong is returned, nothing leaks.
#include "swap_machine.h"

namespace holdfast::tests {
namespace {

class Failure : public SwapTest {
 protected:
  Failure() : SwapTest(21) {}
};

TEST_F(Failure, a_changed_byte_in_the_file_is_an_error_and_never_data) {
  for (const std::size_t random : {100, 1024}) {
    make({file_tier()});
    const auto pages = some_pages(8, random);
    const auto items = store(pages);
    std::size_t corrupted = 0;
    for (std::size_t at = 0; at < machine.script.bytes.size(); at += 37) {
      machine.script.bytes[at] ^= std::byte{0x10};
      corrupted += refused(items, pages);
      machine.script.bytes[at] ^= std::byte{0x10};
    }
    EXPECT_GT(corrupted, 0u);
    EXPECT_EQ(swap->stats().hash_mismatches, corrupted);
    for (std::size_t i = 0; i < pages.size(); ++i) expect_holds(items[i].slot, pages[i]);
    put_all(items);
  }
}

TEST_F(Failure, a_read_error_costs_only_its_own_page_and_the_slot_stays) {
  make({file_tier()});
  const auto pages = some_pages(10);
  const auto items = store(pages);
  auto back = std::make_unique<PageBytes[]>(10);
  std::vector<swap::LoadItem> loads;
  for (int i = 0; i < 10; ++i) loads.push_back({.slot = items[i].slot, .page = back[i].bytes});
  // The long read fails; then each page is read by itself, and those work.
  machine.script.fail_read_in = 0;
  swap->load(loads);
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(loads[i].ok && back[i] == pages[i]);
  // All reads fail.
  machine.script.fail_read_in = 0;
  machine.script.for_ever = true;
  swap->load(loads);
  for (const swap::LoadItem& item : loads) {
    EXPECT_FALSE(item.ok);
    EXPECT_EQ(item.error.code, Errc::io_error);
    EXPECT_EQ(item.error.os_errno, EIO);
  }
  EXPECT_EQ(tier(0).read_errors, 10u);
  machine.script.fail_read_in = -1;
  for (int i = 0; i < 10; ++i) expect_holds(items[i].slot, pages[i]);
  put_all(items);
}

TEST_F(Failure, a_write_error_retires_the_place_and_another_is_tried) {
  make({file_tier()});
  const auto pages = some_pages(4);
  machine.script.fail_write_in = 0;
  const auto items = store(pages);
  for (int i = 0; i < 4; ++i) expect_holds(items[i].slot, pages[i]);
  EXPECT_EQ(tier(0).write_errors, 1u);
  EXPECT_EQ(tier(0).places_retired, 1u);
  put_all(items);
  // The retired cluster is never written again.
  const auto more = store(some_pages(40, 1024));
  for (const auto& [offset, bytes] : machine.script.written) EXPECT_GE(offset, 32u * 1024);
  put_all(more);
}

TEST_F(Failure, with_the_file_broken_the_next_tier_takes_the_pages) {
  make({file_tier(), ram_tier()});
  const auto pages = some_pages(30);
  machine.script.fail_write_in = 0;
  machine.script.for_ever = true;
  const auto items = store(pages);
  for (std::size_t i = 0; i < pages.size(); ++i) expect_holds(items[i].slot, pages[i]);
  EXPECT_EQ(tier(0).pages, 0u);
  EXPECT_EQ(tier(1).pages, pages.size());
  put_all(items);
}

TEST_F(Failure, with_no_tier_left_the_error_of_the_device_is_reported) {
  make({file_tier()});
  machine.script.fail_write_in = 0;
  machine.script.for_ever = true;
  const auto items = store(some_pages(5));
  for (const swap::StoreItem& item : items) {
    EXPECT_TRUE(item.slot.is_none());
    EXPECT_EQ(item.error.code, Errc::io_error);
    EXPECT_EQ(item.error.os_errno, EIO);
  }
  EXPECT_EQ(swap->stats().slots_used, 0u);
}

TEST_F(Failure, a_full_file_system_stops_growth_and_freed_clusters_are_used_again) {
  make({file_tier()});
  machine.script.capacity = 64 * 1024;  // two clusters
  const auto pages = some_pages(30, 1024);
  const auto items = store(pages);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (items[i].slot.is_none()) {
      EXPECT_EQ(items[i].error.code, Errc::swap_full);
    } else {
      expect_holds(items[i].slot, pages[i]);
      ++kept;
    }
  }
  EXPECT_GE(kept, 8u);
  EXPECT_LT(kept, 16u);
  EXPECT_TRUE(swap->nearly_full());
  EXPECT_TRUE(swap->check());
  put_all(items);
  const auto again = store(some_pages(6, 1024));
  EXPECT_FALSE(again[0].slot.is_none()) << again[0].error.message();
  put_all(again);
}

TEST_F(Failure, a_file_system_that_has_room_again_is_used_again) {
  make({file_tier()});
  machine.script.capacity = 32 * 1024;
  const auto first = store(some_pages(20, 1024));
  machine.script.capacity = 1 << 30;
  for (int i = 0; i < 64; ++i) swap->maintain();
  const auto second = store(some_pages(20, 1024));
  for (const swap::StoreItem& item : second) EXPECT_FALSE(item.slot.is_none());
  put_all(first);
  put_all(second);
}

TEST_F(Failure, a_full_pool_sends_pages_to_the_next_tier) {
  make({ram_tier(), file_tier()}, 64);
  const auto pages = some_pages(400);
  const auto items = store(pages);
  for (std::size_t i = 0; i < pages.size(); ++i) expect_holds(items[i].slot, pages[i]);
  EXPECT_GT(tier(0).refused_full, 0u);
  EXPECT_GT(tier(1).pages, 0u);
  put_all(items);
}

TEST_F(Failure, a_full_pool_with_no_other_tier_is_swap_full) {
  make({ram_tier()}, 64);
  const auto items = store(some_pages(400));
  EXPECT_EQ(items.back().error.code, Errc::swap_full);
  EXPECT_TRUE(swap->check());
  put_all(items);
}

// Stores, moves, loads and frees; whatever a device does, what has a slot reads back or says that
// it cannot be read now.
void exercise(swap::Swap& swap, std::span<const PageBytes> pages) {
  std::vector<swap::StoreItem> items(pages.size());
  for (std::size_t i = 0; i < pages.size(); ++i) {
    items[i] = {.page = pages[i].bytes, .hash = base::hash_page(pages[i].bytes)};
  }
  const std::size_t half = pages.size() / 2;
  swap.store(std::span(items).first(half), page::Priority::reclaim);
  for (std::size_t i = 0; i < half; i += 2) {
    if (!items[i].slot.is_none()) swap.put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  swap.maintain();
  swap.store(std::span(items).subspan(half), page::Priority::reclaim);
  for (int i = 0; i < 8; ++i) swap.maintain();
  auto page = std::make_unique<PageBytes>();
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (items[i].slot.is_none()) continue;
    swap::LoadItem item{.slot = items[i].slot, .page = page->bytes};
    swap.load({&item, 1});
    if (item.ok) {
      EXPECT_TRUE(*page == pages[i]);
    } else {
      EXPECT_EQ(item.error.code, Errc::io_error);
    }
  }
  EXPECT_TRUE(swap.check());
  for (const swap::StoreItem& item : items) {
    if (!item.slot.is_none()) swap.put(item.slot);
  }
  for (int i = 0; i < 8; ++i) swap.maintain();
  EXPECT_TRUE(swap.check());
  EXPECT_EQ(swap.stats().slots_used, 0u);
}

TEST_F(Failure, the_nth_transfer_fails_for_every_n_until_all_pass) {
  std::vector<PageBytes> pages = some_pages(60);
  for (const PageBytes& page : some_pages(20, 1024)) pages.push_back(page);
  const std::vector<std::vector<swap::TierOptions>> stacks = {
      {ram_tier(48 * 1024), file_tier()},
      {file_tier(256 * 1024), ram_tier()},
      {file_tier()},
      {sealed(file_tier(256 * 1024)), ram_tier()}};
  for (const bool for_ever : {false, true}) {
    for (const auto& tiers : stacks) {
      for (const bool reads : {false, true}) {
        int& fail_in = reads ? machine.script.fail_read_in : machine.script.fail_write_in;
        for (int n = 0;; ++n) {
          SCOPED_TRACE(testing::Message()
                       << "n " << n << " reads " << reads << " ever " << for_ever);
          make(tiers);
          fail_in = n;
          machine.script.for_ever = for_ever;
          exercise(*swap, pages);
          EXPECT_EQ(pool->counts(), at_start);
          const bool reached = for_ever ? fail_in == 0 : fail_in < 0;
          fail_in = -1;
          if (!reached) {
            EXPECT_GT(n, 1);
            break;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace holdfast::tests
