#include "holdfast/memory_resource.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "engine/fake_engine.h"
#include "engine/region_heap.h"
#include "support/seed.h"

namespace holdfast {
namespace {

using engine::kSlabBytes;
using engine::test::FakeEngine;

// One live allocation: what was asked for, and the byte that fills it.
struct Block {
  std::size_t bytes, alignment;
  unsigned char fill;
};

// Random allocations of all sizes and alignments, each filled with a byte of its own, against a map
// of what lives: no overlap, right alignment, contents kept until they are freed.
class Model {
 public:
  Model(RegionResource& resource, std::uint64_t seed) : resource_(resource), random_(seed) {}

  void step() {
    if (blocks_.empty() || below(100) < grow_percent) {
      allocate();
    } else {
      free_one();
    }
  }
  void free_all() {
    while (!blocks_.empty()) free_one();
  }
  unsigned grow_percent = 55;
  std::size_t largest = 300'000;
  std::uint64_t refused = 0;
  [[nodiscard]] std::uint64_t live_bytes() const { return live_; }

 private:
  std::size_t below(std::size_t limit) { return random_() % limit; }

  std::size_t random_size() {
    switch (below(8)) {
      case 0:
        return below(largest);
      case 1:
      case 2:
        return below(8192);
      default:
        return below(700);
    }
  }

  void allocate() {
    const std::size_t bytes = random_size();
    const std::size_t alignment = below(4) == 0 ? std::size_t{1} << below(17) : 16;
    void* memory = nullptr;
    try {
      memory = resource_.allocate(bytes, alignment);
    } catch (const std::bad_alloc&) {
      ++refused;
      return;
    }
    const auto address = reinterpret_cast<std::uintptr_t>(memory);
    ASSERT_EQ(address % alignment, 0u) << bytes;
    const auto next = blocks_.lower_bound(address);
    ASSERT_TRUE(next == blocks_.end() || next->first >= address + bytes);
    if (next != blocks_.begin()) {
      const auto previous = std::prev(next);
      ASSERT_LE(previous->first + std::max<std::size_t>(previous->second.bytes, 1), address);
    }
    const auto fill = static_cast<unsigned char>(1 + below(255));
    std::memset(memory, fill, bytes);
    blocks_[address] = {bytes, alignment, fill};
    live_ += bytes;
  }

  void free_one() {
    const auto start = reinterpret_cast<std::uintptr_t>(resource_.region().data());
    auto victim = blocks_.lower_bound(start + below(resource_.region().size()));
    if (victim == blocks_.end()) victim = blocks_.begin();
    const auto [address, block] = *victim;
    const auto* const bytes = reinterpret_cast<const unsigned char*>(address);
    ASSERT_TRUE(std::all_of(bytes, bytes + block.bytes,
                            [&](unsigned char byte) { return byte == block.fill; }))
        << "content lost at " << address;
    resource_.deallocate(reinterpret_cast<void*>(address), block.bytes, block.alignment);
    live_ -= block.bytes;
    blocks_.erase(victim);
  }

  RegionResource& resource_;
  std::mt19937_64 random_;
  std::map<std::uintptr_t, Block> blocks_;
  std::uint64_t live_ = 0;
};

TEST(RegionResource, random_sizes_and_alignments_agree_with_the_model) {
  FakeEngine engine;
  RegionResource resource(engine, 1ull << 30);
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  Model model(resource, seed);
  for (int i = 0; i < 60'000; ++i) {
    model.grow_percent = i % 20'000 < 12'000 ? 60 : 40;
    model.step();
    if (HasFatalFailure()) return;
  }
  EXPECT_EQ(model.refused, 0u);
  EXPECT_EQ(resource.allocated_bytes(), model.live_bytes());
  model.free_all();
  EXPECT_EQ(resource.allocated_bytes(), 0u);
}

TEST(RegionResource, a_full_region_refuses_and_goes_on_with_what_is_freed) {
  FakeEngine engine;
  RegionResource resource(engine, 8ull << 20);
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  Model model(resource, seed);
  model.grow_percent = 60;
  for (int i = 0; i < 60'000; ++i) {
    model.step();
    if (HasFatalFailure()) return;
  }
  EXPECT_GT(model.refused, 0u);
  model.free_all();
  // All came back and coalesced, the empty slabs that the classes had kept included.
  void* const all = resource.allocate(8 << 20);
  resource.deallocate(all, 8 << 20);
}

TEST(RegionResource, every_slot_of_a_full_region_can_be_used) {
  FakeEngine engine;
  RegionResource resource(engine, 4 * kSlabBytes);
  std::vector<void*> blocks;
  try {
    for (;;) blocks.push_back(resource.allocate(64));
  } catch (const std::bad_alloc&) {
  }
  EXPECT_EQ(blocks.size(), 4 * kSlabBytes / 64);
  // One hole in a slab that is not current: too little to go back to, but not when full.
  resource.deallocate(blocks[5], 64);
  EXPECT_EQ(resource.allocate(64), blocks[5]);
  for (void* block : blocks) resource.deallocate(block, 64);
  EXPECT_EQ(resource.allocated_bytes(), 0u);
  EXPECT_EQ(resource.peak_bytes(), 4 * kSlabBytes);
}

TEST(RegionResource, objects_made_together_lie_together) {
  FakeEngine engine;
  RegionResource resource(engine, 1 << 20);
  auto* const first = static_cast<std::byte*>(resource.allocate(48));
  for (int i = 1; i < 1000; ++i) EXPECT_EQ(resource.allocate(48), first + 48 * i);
}

TEST(RegionResource, an_emptied_slab_and_a_large_block_go_back_to_the_engine) {
  FakeEngine engine;
  RegionResource resource(engine, 1 << 20);
  const auto& control = engine.controls.front();
  std::vector<void*> blocks;
  for (std::size_t i = 0; i < 2 * kSlabBytes / 512; ++i) blocks.push_back(resource.allocate(512));
  for (void* block : blocks) resource.deallocate(block, 512);
  EXPECT_EQ(control.freed_bytes, kSlabBytes);  // the second one stays current
  void* const large = resource.allocate(200'000);
  const auto* const bytes = static_cast<const unsigned char*>(large);
  std::memset(large, 7, 200'000);
  resource.deallocate(large, 200'000);
  EXPECT_EQ(control.freed_bytes, kSlabBytes + round_up(200'000, kPageSize));
  EXPECT_EQ(bytes[0], 0);
}

TEST(RegionResource, memory_that_the_engine_does_not_take_back_is_reused_all_the_same) {
  FakeEngine engine;
  RegionResource resource(engine, 1 << 20);
  engine.controls.front().refuse_advice = true;
  void* const large = resource.allocate(600'000);
  resource.deallocate(large, 600'000);
  EXPECT_EQ(resource.allocate(600'000), large);
}

TEST(RegionResource, a_region_that_cannot_be_mapped_is_bad_alloc_or_an_error) {
  FakeEngine engine;
  engine.refuse_map = true;
  EXPECT_THROW(RegionResource(engine, 1 << 20), std::bad_alloc);
  const auto made = RegionResource::create(engine, 1 << 20);
  ASSERT_FALSE(made.has_value());
  EXPECT_EQ(made.error().code, Errc::out_of_memory);
}

TEST(RegionResource, impossible_sizes_and_large_alignments_are_handled) {
  FakeEngine engine;
  RegionResource resource(engine, 64 << 20);
  EXPECT_THROW((void)resource.allocate(~std::size_t{0} >> 1), std::bad_alloc);
  EXPECT_THROW((void)resource.allocate(65 << 20), std::bad_alloc);
  void* const aligned = resource.allocate(100, 4 << 20);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(aligned) % (4 << 20), 0u);
  resource.deallocate(aligned, 100, 4 << 20);
  void* const nothing = resource.allocate(0);
  EXPECT_NE(nothing, resource.allocate(0));
}

TEST(RegionResource, standard_containers_work_on_it) {
  FakeEngine engine;
  RegionResource resource(engine, 256 << 20);
  {
    std::pmr::unordered_map<std::pmr::string, std::pmr::vector<int>> index(&resource);
    for (int i = 0; i < 200'000; ++i) {
      const std::string number = std::to_string(i % 5'000);
      index[std::pmr::string("a term too long for the small buffer " + number)].push_back(i);
    }
    ASSERT_EQ(index.size(), 5'000u);
    for (const auto& [term, numbers] : index) ASSERT_EQ(numbers.size(), 40u) << term;
    EXPECT_GT(resource.allocated_bytes(), 1u << 20);
  }
  EXPECT_EQ(resource.allocated_bytes(), 0u);
  EXPECT_GT(resource.peak_bytes(), 1u << 20);
}

TEST(RegionResource, threads_share_it) {
  FakeEngine engine;
  RegionResource resource(engine, 256 << 20);
  std::vector<std::jthread> threads;
  for (unsigned id = 0; id < 4; ++id) {
    threads.emplace_back([&resource, id] {
      std::pmr::vector<std::pmr::string> words(&resource);
      for (int i = 0; i < 20'000; ++i) {
        words.emplace_back(50 + id, static_cast<char>('a' + i % 26));
        if (i % 3 == 0) words.erase(words.begin() + static_cast<long>(words.size() / 2));
        if (words.size() > 100) words.clear();
      }
    });
  }
  threads.clear();
  EXPECT_EQ(resource.allocated_bytes(), 0u);
}

TEST(RegionResource, its_tables_are_small_beside_what_they_manage) {
  FakeEngine engine;
  RegionResource resource(engine, 64 << 20);
  for (int i = 0; i < 500'000; ++i) (void)resource.allocate(48);
  EXPECT_LT(resource.table_bytes(), resource.allocated_bytes() / 64);
}

TEST(RegionResourceDeath, a_double_free_is_named) {
  FakeEngine engine;
  RegionResource resource(engine, 1 << 20);
  void* const block = resource.allocate(40);
  resource.deallocate(block, 40);
  EXPECT_DEATH(resource.deallocate(block, 40), "slab");
}

TEST(RegionResourceDeath, a_free_with_the_wrong_size_is_named) {
  FakeEngine engine;
  RegionResource resource(engine, 1 << 20);
  void* const block = resource.allocate(40);
  EXPECT_DEATH(resource.deallocate(block, 400), "region_heap");
}

// The heap alone, over addresses that no memory stands behind: it must never touch them.
struct NoTaker final : engine::PageTaker {
  bool give_back(std::uint64_t, std::uint64_t pages) noexcept override {
    given += pages;
    return true;
  }
  std::uint64_t given = 0;
};

TEST(RegionHeap, it_never_touches_what_it_manages) {
  NoTaker taker;
  engine::RegionHeap heap(std::uintptr_t{1} << 40, 1ull << 40, taker);
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::vector<std::pair<std::uintptr_t, std::size_t>> live;
  for (int i = 0; i < 100'000; ++i) {
    if (random() % 100 < (i < 50'000 ? 60u : 35u) || live.empty()) {
      const std::size_t bytes = 1 + random() % (random() % 10 == 0 ? 100'000 : 2'500);
      live.emplace_back(*heap.allocate(bytes, 8), bytes);
    } else {
      std::swap(live[random() % live.size()], live.back());
      heap.free(live.back().first, live.back().second, 8);
      live.pop_back();
    }
    if (i % 5'000 == 0) heap.check();
  }
  for (const auto& [address, bytes] : live) heap.free(address, bytes, 8);
  heap.check();
  heap.trim();
  EXPECT_EQ(heap.runs().used_pages(), 0u);
  EXPECT_EQ(heap.runs().run_count(), 1u);
  EXPECT_GT(taker.given, 0u);
  heap.check();
}

}  // namespace
}  // namespace holdfast
