// Write-back, compaction, reuse.
#include <set>
#include <thread>

#include "swap_machine.h"

namespace holdfast::tests {
namespace {

class Housekeeping : public SwapTest {
 protected:
  Housekeeping() : SwapTest(31) {}
  void expect_all(std::span<const swap::StoreItem> items, std::span<const PageBytes> pages) {
    for (std::size_t i = 0; i < pages.size(); ++i) {
      if (!items[i].slot.is_none()) expect_holds(items[i].slot, pages[i]);
    }
  }
};

TEST_F(Housekeeping, the_oldest_pages_move_down_when_memory_nears_its_share) {
  make({ram_tier(512 * 1024), file_tier()});
  const auto pages = some_pages(450);
  const auto items = store(pages);
  ASSERT_EQ(tier(0).pages, 450u);
  ASSERT_GT(tier(0).held_bytes * 10, tier(0).limit_bytes * 9);
  maintain_all();
  EXPECT_LE(tier(0).held_bytes * 10, tier(0).limit_bytes * 8);
  EXPECT_GT(tier(1).pages, 30u);
  EXPECT_EQ(tier(0).pages + tier(1).pages, 450u);
  EXPECT_EQ(swap->stats().written_back, tier(1).pages);
  expect_all(items, pages);
  // The first ones stored have to be read, the last ones have not.
  const std::uint64_t reads = machine.script.reads;
  expect_holds(items[449].slot, pages[449]);
  EXPECT_EQ(machine.script.reads, reads);
  expect_holds(items[0].slot, pages[0]);
  EXPECT_EQ(machine.script.reads, reads + 1);
  put_all(items);
}

TEST_F(Housekeeping, write_back_writes_clusters_and_not_single_pages) {
  make({ram_tier(512 * 1024), file_tier()});
  const auto items = store(some_pages(450));
  maintain_all();
  ASSERT_GT(tier(1).pages, 40u);
  EXPECT_LE(machine.script.writes, tier(1).pages / 10);
  put_all(items);
}

TEST_F(Housekeeping, write_back_that_fails_leaves_every_page_where_it_was) {
  make({ram_tier(512 * 1024), file_tier()});
  const auto pages = some_pages(450);
  const auto items = store(pages);
  machine.script.fail_write_in = 0;
  machine.script.for_ever = true;
  for (int i = 0; i < 20; ++i) EXPECT_FALSE(swap->maintain());
  EXPECT_GT(tier(1).write_errors, 0u);
  EXPECT_EQ(tier(0).pages, 450u);
  EXPECT_TRUE(swap->check());
  expect_all(items, pages);
  put_all(items);
}

TEST_F(Housekeeping, compaction_of_memory_gives_frames_back) {
  make({ram_tier()});
  const auto pages = some_pages(1000);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 4 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  const std::uint64_t before = tier(0).held_bytes;
  maintain_all();
  EXPECT_LT(tier(0).held_bytes * 2, before);
  EXPECT_EQ(swap->compressed_bytes(), tier(0).held_bytes);
  EXPECT_EQ(pool->counts().charged * kPageSize, tier(0).held_bytes);
  EXPECT_GT(tier(0).moved, 0u);
  EXPECT_GT(tier(0).compactions, 0u);
  EXPECT_EQ(tier(0).pages, 250u);
  EXPECT_EQ(tier(0).stores, 1000u);
  EXPECT_EQ(tier(0).frees, 750u);
  expect_all(items, pages);
  put_all(items);
}

TEST_F(Housekeeping, compaction_of_a_file_frees_clusters) {
  make({file_tier()});
  const auto pages = some_pages(1000);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 5 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  const std::uint64_t before = tier(0).held_bytes;
  maintain_all();
  EXPECT_LT(tier(0).held_bytes * 2, before);
  EXPECT_GT(tier(0).moved, 0u);
  EXPECT_EQ(tier(0).pages, 200u);
  expect_all(items, pages);
  put_all(items);
}

TEST_F(Housekeeping, a_file_at_its_limit_is_compacted_to_take_more) {
  make({file_tier(320 * 1024)});  // ten clusters
  const auto pages = some_pages(400);
  auto items = store(pages);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (items[i].slot.is_none()) continue;
    ++kept;
    if (i % 2 == 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  EXPECT_LT(kept, 400u);
  EXPECT_TRUE(swap->nearly_full());
  maintain_all();
  EXPECT_TRUE(swap->check());
  const auto more_pages = some_pages(45);
  const auto more = store(more_pages);
  for (const swap::StoreItem& item : more) EXPECT_FALSE(item.slot.is_none());
  expect_all(items, pages);
  expect_all(more, more_pages);
  put_all(items);
  put_all(more);
}

TEST_F(Housekeeping, a_cluster_whose_pages_are_gone_is_written_again) {
  make({file_tier(320 * 1024)});
  for (int round = 0; round < 30; ++round) {
    const auto pages = some_pages(150);
    const auto items = store(pages);
    for (const swap::StoreItem& item : items) ASSERT_FALSE(item.slot.is_none()) << round;
    expect_all(items, pages);
    put_all(items);
  }
  EXPECT_LE(machine.script.bytes.size(), 320u * 1024);
}

TEST_F(Housekeeping, a_cluster_with_a_damaged_directory_is_left_alone) {
  make({file_tier()});
  const auto pages = some_pages(300);
  auto items = store(pages);
  std::set<std::uint64_t> headers;
  for (const auto& [offset, bytes] : machine.script.written) headers.insert(offset);
  for (const std::uint64_t at : headers) machine.script.bytes[at] ^= std::byte{1};
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 5 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  maintain_all();
  EXPECT_GT(tier(0).places_retired, 0u);
  expect_all(items, pages);
  put_all(items);
}

TEST_F(Housekeeping, random_work_agrees_with_a_plain_map) {
  const std::uint64_t seed = test_seed();
  HF_SEED_TRACE(seed);
  const std::vector<std::vector<swap::TierOptions>> stacks = {
      {ram_tier()},
      {ram_tier(128 * 1024), file_tier(512 * 1024)},
      {ram_tier(128 * 1024), sealed(file_tier(512 * 1024))},
      {file_tier(256 * 1024), ram_tier(0, swap::Compression::zstd)},
      {ram_tier(96 * 1024), ram_tier(96 * 1024, swap::Compression::zstd), file_tier()}};
  struct Kept {
    SlotIndex slot;
    std::uint32_t count;
    PageBytes page;
  };
  for (std::size_t s = 0; s < stacks.size(); ++s) {
    std::mt19937_64 random(seed + s);
    make(stacks[s], 256, 600);
    std::vector<Kept> model;
    for (int step = 0; step < 3000; ++step) {
      const auto what = random() % 16;
      if (what < 5 || model.empty()) {
        std::vector<PageBytes> pages;
        static constexpr std::size_t kRandom[] = {0, 100, 256, 600, 1024};
        for (auto n = random() % 20 + 1; n > 0; --n)
          pages.push_back(make_page(random, kRandom[random() % 5]));
        const auto items = store(pages);
        for (std::size_t i = 0; i < items.size(); ++i) {
          if (!items[i].slot.is_none()) model.push_back({items[i].slot, 1, pages[i]});
        }
      } else if (what < 9) {
        const Kept& kept = model[random() % model.size()];
        expect_holds(kept.slot, kept.page);
      } else if (what == 9) {
        Kept& kept = model[random() % model.size()];
        swap->get(kept.slot);
        ++kept.count;
      } else if (what < 15) {
        for (auto n = random() % 10 + 1; n > 0 && !model.empty(); --n) {
          Kept& kept = model[random() % model.size()];
          EXPECT_EQ(swap->count_of(kept.slot), kept.count);
          swap->put(kept.slot);
          if (--kept.count == 0) {
            kept = model.back();
            model.pop_back();
          }
        }
      } else {
        swap->maintain();
      }
      if (step % 100 == 0) {
        ASSERT_TRUE(swap->check()) << step;
      }
    }
    EXPECT_EQ(swap->stats().slots_used, model.size());
    for (const Kept& kept : model) {
      expect_holds(kept.slot, kept.page);
      for (auto n = kept.count; n > 0; --n) swap->put(kept.slot);
    }
    maintain_all();
    EXPECT_TRUE(swap->check());
    EXPECT_EQ(pool->counts(), at_start);
  }
}

// Loads, stores and frees of several threads while images move under them.
TEST_F(Housekeeping, pages_can_be_loaded_stored_and_freed_while_images_move) {
  const std::vector<std::vector<swap::TierOptions>> stacks = {
      {ram_tier()}, {ram_tier(128 * 1024), file_tier(1024 * 1024)}, {file_tier(1024 * 1024)}};
  for (const auto& tiers : stacks) {
    make(tiers);
    std::atomic<int> running{3};
    std::atomic<int> wrong{0};
    const auto work = [&](std::uint64_t seed) {
      std::mt19937_64 random(seed);
      std::vector<std::pair<SlotIndex, PageBytes>> mine;
      auto back = std::make_unique<PageBytes>();
      for (int step = 0; step < 1500; ++step) {
        if (mine.size() < 60) {
          const PageBytes page = make_page(random, 200 + random() % 100);
          swap::StoreItem item{.page = page.bytes, .hash = base::hash_page(page.bytes)};
          swap->store({&item, 1}, page::Priority::reclaim);
          if (!item.slot.is_none()) mine.emplace_back(item.slot, page);
        }
        if (mine.empty()) continue;
        const std::size_t i = random() % mine.size();
        swap::LoadItem item{.slot = mine[i].first, .page = back->bytes};
        swap->load({&item, 1});
        if (!item.ok || !(*back == mine[i].second)) ++wrong;
        if (random() % 2 == 0) {
          swap->put(mine[i].first);
          mine[i] = mine.back();
          mine.pop_back();
        }
      }
      for (const auto& [slot, page] : mine) swap->put(slot);
      --running;
    };
    std::vector<std::thread> threads;
    for (std::uint64_t t = 1; t <= 3; ++t) threads.emplace_back(work, t);
    while (running.load() > 0) swap->maintain();
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(wrong.load(), 0);
    maintain_all();
    EXPECT_TRUE(swap->check());
    EXPECT_EQ(swap->stats().slots_used, 0u);
    EXPECT_EQ(pool->counts(), at_start);
  }
}

}  // namespace
}  // namespace holdfast::tests
