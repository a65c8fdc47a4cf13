// The far tier on a store that does as it is told: packing, reading, freeing.
#include "far_tier_fixture.h"

namespace holdfast::tests {
namespace {

TEST_F(FarTier, a_few_pages_stay_in_the_buffer_and_many_become_objects) {
  make({far_tier()});
  const auto few = some_pages(5);
  const auto first = store(few);
  EXPECT_EQ(script.writes, 0u);
  expect_all(first, few);
  EXPECT_EQ(script.reads, 0u);
  const auto many = some_pages(500);
  const auto rest = store(many);
  EXPECT_GT(script.objects.size(), 4u);
  expect_all(first, few);
  expect_all(rest, many);
  EXPECT_GT(script.reads, 0u);
  EXPECT_EQ(tier(0).pages, 505u);
  EXPECT_EQ(tier(0).written_bytes, script.written_bytes);
  EXPECT_EQ(tier(0).held_bytes, script.written_bytes);
  put_all(first);
  put_all(rest);
}

TEST_F(FarTier, pages_are_packed_into_full_objects) {
  make({far_tier()});
  const auto items = store(some_pages(1000));  // each compresses to a quarter and some
  for (const auto& [number, bytes] : script.objects) {
    EXPECT_GT(bytes.size(), 62u * 1024) << number;
    EXPECT_LE(bytes.size(), 64u * 1024) << number;
  }
  EXPECT_LT(tier(0).written_bytes, tier(0).pages * 1400);
  put_all(items);
}

TEST_F(FarTier, what_is_in_the_store_does_not_show_the_pages) {
  make({far_tier(0, swap::Compression::none)});
  PageBytes page;
  std::memset(page.bytes, 0x5a, sizeof page.bytes);
  std::vector<PageBytes> pages(100, page);
  for (std::size_t i = 0; i < pages.size(); ++i) std::memcpy(pages[i].bytes, &i, sizeof i);
  const auto items = store(pages);
  ASSERT_GT(script.objects.size(), 2u);
  std::array<std::uint64_t, 256> seen{};
  std::uint64_t total = 0;
  for (const auto& [number, bytes] : script.objects) {
    for (const std::byte b : bytes) ++seen[static_cast<std::size_t>(b)];
    total += bytes.size();
  }
  // All bytes are as likely, but for the zeros between images.
  for (std::size_t b = 1; b < seen.size(); ++b) EXPECT_LT(seen[b] * 256, total * 2) << b;
  expect_all(items, pages);
  put_all(items);
}

TEST_F(FarTier, a_changed_byte_is_an_error_that_names_the_object_and_never_data) {
  for (const std::size_t random : {100, 1024}) {
    remake({far_tier()});
    const auto pages = some_pages(random == 100 ? 300 : 60, random);
    const auto items = store(pages);
    ASSERT_GT(script.objects.size(), 1u);
    int corrupted = 0;
    auto& [number, bytes] = *script.objects.begin();
    for (std::size_t at = 0; at < bytes.size(); at += 4001) {
      bytes[at] ^= std::byte{0x10};
      for (std::size_t i = 0; i < pages.size(); ++i) {
        auto page = std::make_unique<PageBytes>();
        const swap::LoadItem item = load(items[i].slot, *page);
        if (item.ok) {
          EXPECT_TRUE(*page == pages[i]);
        } else {
          EXPECT_EQ(item.error.code, Errc::corrupted);
          EXPECT_EQ(item.error.value, number);
          ++corrupted;
        }
      }
      bytes[at] ^= std::byte{0x10};
    }
    EXPECT_GT(corrupted, 0);
    EXPECT_EQ(swap->stats().hash_mismatches, 0u);  // it never came as far as that
    expect_all(items, pages);
    put_all(items);
  }
}

TEST_F(FarTier, an_object_in_the_place_of_another_is_an_error) {
  make({far_tier()});
  const auto pages = some_pages(600);
  const auto items = store(pages);
  ASSERT_GT(script.objects.size(), 2u);
  std::swap(script.objects.begin()->second, std::next(script.objects.begin())->second);
  std::size_t corrupted = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    auto page = std::make_unique<PageBytes>();
    const swap::LoadItem item = load(items[i].slot, *page);
    corrupted += item.ok ? 0 : 1;
    if (item.ok) {
      EXPECT_TRUE(*page == pages[i]);
    }
  }
  EXPECT_GT(corrupted, 60u);
  std::swap(script.objects.begin()->second, std::next(script.objects.begin())->second);
  expect_all(items, pages);
  put_all(items);
}

TEST_F(FarTier, an_older_object_of_the_same_slots_is_an_error) {
  make({far_tier()});
  const auto pages = some_pages(200);
  const auto items = store(pages);
  const auto older = script.objects;
  ASSERT_GT(older.size(), 1u);
  put_all(items);
  // The same pages, in the same order, in the same slots or others.
  const auto again = store(pages);
  const auto newer = script.objects;
  ASSERT_GE(newer.size(), older.size());
  auto old = older.begin();
  for (auto& [number, bytes] : script.objects) {
    ASSERT_FALSE(older.contains(number));  // a number comes once
    if (old == older.end()) continue;
    bytes = (old++)->second;
  }
  std::size_t corrupted = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    auto page = std::make_unique<PageBytes>();
    corrupted += load(again[i].slot, *page).ok ? 0 : 1;
  }
  EXPECT_GT(corrupted, 60u);
  script.objects = newer;
  expect_all(again, pages);
  put_all(again);
}

TEST_F(FarTier, a_run_of_pages_is_read_in_few_requests) {
  make({far_tier()});
  const auto pages = some_pages(400);
  const auto items = store(pages);
  auto back = std::make_unique<PageBytes[]>(64);
  std::vector<swap::LoadItem> loads;
  for (int i = 0; i < 64; ++i) loads.push_back({.slot = items[i].slot, .page = back[i].bytes});
  const std::uint64_t before = script.reads;
  swap->load(loads);
  EXPECT_LE(script.reads - before, 3u);
  for (int i = 0; i < 64; ++i) EXPECT_TRUE(loads[i].ok && back[i] == pages[i]);
  EXPECT_FALSE(loads[0].from_memory);
  put_all(items);
}

TEST_F(FarTier, a_page_that_is_asked_for_twice_at_once_comes_twice) {
  make({far_tier()});
  const auto pages = some_pages(200);
  const auto items = store(pages);
  auto back = std::make_unique<PageBytes[]>(2);
  std::vector<swap::LoadItem> loads{{.slot = items[3].slot, .page = back[0].bytes},
                                    {.slot = items[3].slot, .page = back[1].bytes}};
  swap->load(loads);
  EXPECT_TRUE(loads[0].ok && back[0] == pages[3]);
  EXPECT_TRUE(loads[1].ok && back[1] == pages[3]);
  put_all(items);
}

TEST_F(FarTier, an_object_goes_with_the_last_of_its_pages) {
  make({far_tier()});
  auto items = store(some_pages(500));
  const std::size_t most = script.objects.size();
  for (std::size_t i = 0; i + 1 < items.size(); ++i) {
    swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  EXPECT_LE(script.objects.size(), 1u);
  EXPECT_GE(script.removals, most - 1);
  EXPECT_LE(tier(0).held_bytes, 70u * 1024);
  put_all(items);
  maintain_all();
  // What is left is in the open buffer, which goes with the engine.
  EXPECT_EQ(script.objects.size(), 0u);
}

TEST_F(FarTier, what_is_freed_before_its_buffer_is_full_is_never_written) {
  make({far_tier()});
  for (int round = 0; round < 50; ++round) put_all(store(some_pages(10)));
  EXPECT_EQ(script.writes, 0u);
}

TEST_F(FarTier, nothing_is_left_in_the_store_when_the_engine_goes) {
  make({far_tier()});
  const auto items = store(some_pages(900));
  EXPECT_GT(script.objects.size(), 10u);
  swap.reset();
  EXPECT_TRUE(script.objects.empty());
}

TEST_F(FarTier, sparse_objects_are_compacted_and_removed) {
  make({far_tier()});
  const auto pages = some_pages(1500);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 4 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  const std::uint64_t before = tier(0).held_bytes;
  const std::size_t objects = script.objects.size();
  maintain_all();
  EXPECT_LT(tier(0).held_bytes * 10, before * 6);  // no more than half of it is dead
  EXPECT_LT(script.objects.size() * 10, objects * 6);
  EXPECT_GT(tier(0).moved, 0u);
  for (std::size_t i = 0; i < items.size(); i += 4) expect_holds(items[i].slot, pages[i]);
  EXPECT_TRUE(swap->check());
  put_all(items);
}

TEST_F(FarTier, the_limit_holds_and_what_exceeds_it_goes_to_the_next_tier) {
  make({far_tier(256 * 1024), file_tier()});
  const auto pages = some_pages(1000);
  const auto items = store(pages);
  EXPECT_LE(tier(0).held_bytes, 256u * 1024);
  EXPECT_GT(tier(0).pages, 100u);
  EXPECT_GT(tier(1).pages, 500u);
  expect_all(items, pages);
  put_all(items);
}

TEST_F(FarTier, compressed_memory_moves_down_into_it) {
  make({ram_tier(512 * 1024), far_tier()});
  const auto pages = some_pages(800);
  const auto items = store(pages);
  maintain_all();
  EXPECT_GT(tier(1).pages, 30u);
  EXPECT_EQ(tier(0).pages + tier(1).pages, 800u);
  expect_all(items, pages);
  put_all(items);
}

TEST_F(FarTier, bad_options_and_a_store_that_cannot_be_opened_are_errors) {
  auto made_pool = page::FramePool::create(machine, {.frames = 64});
  ASSERT_TRUE(made_pool);
  const auto refused = [&](const swap::TierOptions& tier) {
    auto made = swap::Swap::create(machine, **made_pool, {.tiers = {tier}, .slots_max = 100});
    EXPECT_FALSE(made);
    return made ? Error() : made.error();
  };
  swap::TierOptions tier = far_tier();
  tier.object_bytes = 100'000;
  EXPECT_STREQ(refused(tier).what, "object_bytes");
  tier = far_tier();
  tier.staging = 1;
  EXPECT_STREQ(refused(tier).what, "staging");
  EXPECT_STREQ(refused(far_tier(1000)).what, "limit_bytes");
  script.open_error = ETIMEDOUT;
  EXPECT_EQ(refused(far_tier()).os_errno, ETIMEDOUT);
}

}  // namespace
}  // namespace holdfast::tests
