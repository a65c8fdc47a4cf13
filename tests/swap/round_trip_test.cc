// What is stored comes back, whatever it is made of and wherever it stands.
#include <map>
#include <string>

#include "swap/location.h"
#include "swap_machine.h"

namespace holdfast::tests {
namespace {

using swap::Compression;

struct Stack {
  const char* name;
  std::vector<swap::TierOptions> tiers;
};

std::vector<Stack> stacks() {
  constexpr std::uint64_t kLimit = 128 * 1024;
  return {
      {"ram", {ram_tier()}},
      {"ram zstd", {ram_tier(0, Compression::zstd)}},
      {"ram uncompressed", {ram_tier(0, Compression::none)}},
      {"file", {file_tier()}},
      {"file zstd", {file_tier(0, Compression::zstd)}},
      {"file raw", {file_tier(0, Compression::none)}},
      {"ram, file", {ram_tier(kLimit), file_tier()}},
      {"ram, raw file", {ram_tier(kLimit), file_tier(0, Compression::none)}},
      {"file, ram", {file_tier(kLimit), ram_tier()}},
      {"ram lz4, ram zstd, file",
       {ram_tier(kLimit), ram_tier(kLimit, Compression::zstd), file_tier()}},
      {"sealed file", {sealed(file_tier())}},
      {"sealed raw file", {sealed(file_tier(0, Compression::none))}},
      {"ram, sealed file", {ram_tier(kLimit), sealed(file_tier())}},
      {"sealed file, ram", {sealed(file_tier(kLimit)), ram_tier()}},
      {"file, file, ram", {file_tier(kLimit), file_tier(kLimit, Compression::none), ram_tier()}},
  };
}

std::vector<PageBytes> mixed_pages(std::mt19937_64& chance, std::size_t count) {
  std::vector<PageBytes> pages;
  for (std::size_t i = 0; i < count; ++i) {
    static constexpr std::size_t kRandom[] = {0, 64, 256, 500, 700, 900, 1024};
    pages.push_back(make_page(chance, kRandom[chance() % std::size(kRandom)]));
  }
  return pages;
}

class RoundTrip : public SwapTest {
 protected:
  void come_back_from_every_stack(std::uint64_t seed);
};

void RoundTrip::come_back_from_every_stack(std::uint64_t seed) {
  HF_SEED_TRACE(seed);
  for (const Stack& stack : stacks()) {
    SCOPED_TRACE(stack.name);
    chance.seed(seed);
    make(stack.tiers);
    const std::vector<PageBytes> pages = mixed_pages(chance, 300);
    const auto items = store(pages);
    ASSERT_TRUE(swap->check());
    for (std::size_t i = 0; i < pages.size(); ++i) {
      ASSERT_FALSE(items[i].slot.is_none()) << items[i].error.message();
      expect_holds(items[i].slot, pages[i]);
    }
    maintain_all();
    EXPECT_TRUE(swap->check());
    for (std::size_t i = 0; i < pages.size(); ++i) expect_holds(items[i].slot, pages[i]);
    put_all(items);
    EXPECT_EQ(swap->stats().slots_used, 0u);
    maintain_all();
    EXPECT_TRUE(swap->check());
    EXPECT_EQ(pool->counts(), at_start);
    EXPECT_EQ(swap->compressed_bytes(), 0u);
  }
}

TEST_F(RoundTrip, pages_of_every_kind_come_back_from_every_stack_of_tiers) {
  come_back_from_every_stack(test_seed());
}

// Its clusters came out of compaction as full as they went in, for ever.
TEST_F(RoundTrip, compaction_that_gains_nothing_comes_to_an_end) {
  come_back_from_every_stack(16188179633113702805U);
}

TEST_F(RoundTrip, many_slots_load_in_one_call_in_any_order) {
  chance.seed(11);
  make({ram_tier(64 * 1024), file_tier()});
  const std::vector<PageBytes> pages = mixed_pages(chance, 200);
  const auto items = store(pages);
  std::vector<std::size_t> order(pages.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::shuffle(order.begin(), order.end(), chance);
  auto back = std::make_unique<PageBytes[]>(pages.size());
  std::vector<swap::LoadItem> loads;
  for (const std::size_t i : order) loads.push_back({.slot = items[i].slot, .page = back[i].bytes});
  swap->load(loads);
  for (std::size_t i = 0; i < order.size(); ++i) {
    EXPECT_TRUE(loads[i].ok) << loads[i].error.message();
    EXPECT_TRUE(back[order[i]] == pages[order[i]]);
  }
  put_all(items);
}

TEST_F(RoundTrip, a_run_that_was_stored_together_comes_back_in_one_read) {
  for (const Compression compression : {Compression::lz4, Compression::none}) {
    chance.seed(3);
    swap::TierOptions file = file_tier(0, compression);
    file.cluster_bytes = 512 * 1024;
    make({file});
    std::vector<PageBytes> pages;
    for (int i = 0; i < 64; ++i) pages.push_back(make_page(chance, 256));
    const auto items = store(pages);
    EXPECT_EQ(machine.script.writes, 1u);
    auto back = std::make_unique<PageBytes[]>(64);
    std::vector<swap::LoadItem> loads;
    for (int i = 0; i < 64; ++i) loads.push_back({.slot = items[i].slot, .page = back[i].bytes});
    swap->load(loads);
    EXPECT_EQ(machine.script.reads, 1u);
    for (int i = 0; i < 64; ++i) EXPECT_TRUE(loads[i].ok && back[i] == pages[i]);
    machine.script.reads = machine.script.writes = 0;
    put_all(items);
  }
}

TEST_F(RoundTrip, a_compressed_image_costs_few_blocks_of_the_file) {
  chance.seed(4);
  make({file_tier()});
  std::vector<PageBytes> pages;
  for (int i = 0; i < 60; ++i) pages.push_back(make_page(chance, 256));
  const auto items = store(pages);
  // 60 pages of a good kilobyte each: a third of their size at most, directory and padding
  // included.
  EXPECT_LT(tier(0).written_bytes, 60 * kPageSize / 3);
  const std::uint64_t before = tier(0).read_bytes;
  expect_holds(items[7].slot, pages[7]);
  EXPECT_LE(tier(0).read_bytes - before, 2 * kPageSize);
  put_all(items);
}

TEST_F(RoundTrip, incompressible_pages_go_past_memory_to_the_file) {
  chance.seed(5);
  make({ram_tier(), file_tier()});
  const PageBytes noise = make_page(chance, 1024);
  const PageBytes text = make_page(chance, 100);
  const auto items = store(std::vector<PageBytes>{noise, text});
  EXPECT_EQ(tier(0).pages, 1u);
  EXPECT_EQ(tier(1).pages, 1u);
  EXPECT_EQ(tier(1).image_bytes, kPageSize);
  EXPECT_EQ(swap->stats().incompressible, 1u);
  put_all(items);
}

TEST_F(RoundTrip, a_slot_lives_until_its_last_holder_puts_it) {
  chance.seed(6);
  make({ram_tier()});
  const PageBytes page = make_page(chance, 200);
  const auto item = store_one(page);
  EXPECT_EQ(swap->count_of(item.slot), 1u);
  EXPECT_EQ(swap->hash_of(item.slot), item.hash);
  swap->get(item.slot);
  swap->get(item.slot);
  EXPECT_EQ(swap->count_of(item.slot), 3u);
  swap->put(item.slot);
  swap->put(item.slot);
  expect_holds(item.slot, page);
  swap->put(item.slot);
  EXPECT_EQ(swap->stats().slots_used, 0u);
  EXPECT_EQ(tier(0).pages, 0u);
  EXPECT_EQ(tier(0).frees, 1u);
}

TEST_F(RoundTrip, slots_run_out_one_item_at_a_time_and_come_back) {
  chance.seed(7);
  make({ram_tier()}, 4096, 32);
  std::vector<PageBytes> pages;
  for (int i = 0; i < 40; ++i) pages.push_back(make_page(chance, 10));
  EXPECT_FALSE(swap->nearly_full());
  auto items = store(pages);
  EXPECT_TRUE(swap->nearly_full());
  for (int i = 0; i < 40; ++i) {
    EXPECT_EQ(items[i].slot.is_none(), i >= 32) << i;
    if (i >= 32) {
      EXPECT_EQ(items[i].error.code, Errc::swap_full);
    }
  }
  swap->put(items[3].slot);
  items[3].slot = SlotIndex::none();
  const auto again = store_one(pages[39]);
  ASSERT_FALSE(again.slot.is_none());
  expect_holds(again.slot, pages[39]);
  swap->put(again.slot);
  put_all(items);
}

TEST_F(RoundTrip, metadata_is_32_bytes_a_slot_and_little_more) {
  chance.seed(8);
  swap::TierOptions ram = ram_tier();
  ram.block_bytes = 64 * 1024;
  make({ram, file_tier()});
  std::vector<PageBytes> pages;
  for (int i = 0; i < 4000; ++i) pages.push_back(make_page(chance, 256));
  const auto items = store(pages);
  EXPECT_EQ(swap->stats().slots_used, 4000u);
  EXPECT_LE(swap->metadata_bytes(), 4000u * 36 + 64 * 256);
  put_all(items);
}

TEST(SwapOptions, bad_ones_are_refused_with_the_reason) {
  SwapMachine machine;
  auto pool = page::FramePool::create(machine, {.frames = 256});
  ASSERT_TRUE(pool);
  const auto why = [&](std::vector<swap::TierOptions> tiers, std::uint64_t slots = 100) {
    auto made =
        swap::Swap::create(machine, **pool, {.tiers = std::move(tiers), .slots_max = slots});
    return made ? std::string("made")
                : std::string(name(made.error().code)) + " " + made.error().what;
  };
  EXPECT_EQ(why({}), "invalid_argument tiers");
  EXPECT_EQ(why(std::vector<swap::TierOptions>(9, ram_tier())), "invalid_argument tiers");
  EXPECT_EQ(why({ram_tier()}, 0), "invalid_argument slots_max");
  EXPECT_EQ(why({ram_tier(4096)}), "invalid_argument limit_bytes");
  EXPECT_EQ(why({file_tier(4096)}), "invalid_argument limit_bytes");
  swap::TierOptions odd = ram_tier();
  odd.block_bytes = 12 * 1024;
  EXPECT_EQ(why({odd}), "invalid_argument block_bytes");
  odd = file_tier();
  odd.cluster_bytes = 4096;
  EXPECT_EQ(why({odd}), "invalid_argument cluster_bytes");
  odd = file_tier();
  odd.directory = "missing";
  EXPECT_EQ(why({ram_tier(), odd}), "not_found ");
  EXPECT_EQ(why({ram_tier()}), "made");
}

TEST(SwapOptions, memory_that_cannot_be_reserved_is_an_error_that_leaves_nothing_behind) {
  SwapMachine machine;
  auto pool = page::FramePool::create(machine, {.frames = 256});
  ASSERT_TRUE(pool);
  const std::size_t before = machine.reserved_ranges();
  int n = 0;
  for (;; ++n) {
    machine.fail_reserve_in = n;
    auto made = swap::Swap::create(
        machine, **pool,
        {.tiers = {ram_tier(0, Compression::zstd), file_tier()}, .slots_max = 100});
    if (made) break;
    EXPECT_EQ(made.error().os_errno, ENOMEM);
    EXPECT_EQ(machine.reserved_ranges(), before);
  }
  EXPECT_GE(n, 5);
}

}  // namespace
}  // namespace holdfast::tests
