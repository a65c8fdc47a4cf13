// An address space with real memory below it and no reclaimer: tests decide what leaves and when.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "cache/cache.h"
#include "space/space.h"
#include "sys/sys.h"

namespace holdfast::space::test {

// Makes no room, and counts who asked for some.
class NoRelief final : public MemoryRelief {
 public:
  bool relieve(std::uint32_t, page::Priority) noexcept override {
    ++asked;
    return false;
  }
  std::atomic<int> asked{0};
};

class SpaceTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kWindow = 16;  // pages

  explicit SpaceTest(std::uint32_t frames = 1024) {
    auto& machine = sys::real_machine();
    pool = page::FramePool::create(machine, {.frames = frames, .watermarks = {32, 48, 64}}).value();
    lru.emplace(*pool);
    const swap::TierOptions tier{.block_bytes = 16 * 1024};  // less than what min keeps for it
    swap = swap::Swap::create(machine, *pool, {.tiers = {tier}, .slots_max = 65536}).value();
    EXPECT_TRUE(regions.start());
    EXPECT_TRUE(staging.start());
    EXPECT_TRUE(clean.start(machine, frames));
    parts.emplace(Parts{.machine = machine,
                        .pool = *pool,
                        .lru = *lru,
                        .swap = *swap,
                        .counters = counters,
                        .regions = regions,
                        .staging = staging,
                        .clean = clean,
                        .window_pages = kWindow});
    space.emplace(*parts);
    auto made = pmap::create_remap(machine, {}, *space);
    EXPECT_TRUE(made) << made.error().message();
    pmap = std::move(*made);
    cache = cache::SwapCache::create(machine, *pool, *pmap,
                                     {.window_pages = kWindow, .windows = 128, .recycled_max = 0})
                .value();
    parts->pmap = pmap.get();
    parts->cache = cache.get();
    parts->relief = &relief;
  }
  void TearDown() override {
    for (RegionRecord* region : mapped) {
      if (region->state() == RegionRecord::State::live) {
        EXPECT_TRUE(space->unmap(*region));
      }
    }
    (void)space->sweep_zombies();
    free_orphans();
    EXPECT_TRUE(check());
    const page::FrameCounts now = pool->counts();
    EXPECT_EQ(now.used, 0u);
    EXPECT_EQ(swap->stats().slots_used, 0u);
    EXPECT_EQ(space->counts().regions, 0u);
    pmap.reset();
  }

  RegionRecord& map(std::uint64_t pages, std::uint64_t capacity = 0) {
    RegionRecord* const region =
        space->map(PageCount(pages), PageCount(capacity == 0 ? pages : capacity)).value();
    mapped.push_back(region);
    return *region;
  }
  // The word at the start of a page, read or written as the program would.
  static volatile std::uint64_t& word(const RegionRecord& region, std::uint64_t page) {
    return *reinterpret_cast<volatile std::uint64_t*>(region.address_of(page));
  }
  // A page that is not of one word, with `value` first.
  static void write(const RegionRecord& region, std::uint64_t page, std::uint64_t value) {
    (&word(region, page))[1] = ~value;
    word(region, page) = value;
  }
  static EntryKind kind(const RegionRecord& region, std::uint64_t page) {
    return region.entry(page).peek().kind();
  }
  page::Page& page_of(const RegionRecord& region, std::uint64_t index) {
    return pool->page(region.entry(index).peek().frame());
  }

  // Unmaps the window in which the page stands.
  UnmapResult unmap_window_of(const RegionRecord& region, std::uint64_t page, bool urgent = true) {
    return space->evictor().unmap_window(region.entry(page).peek().frame(), urgent);
  }
  // Writes out what is inactive, a batch of it.
  void write_out() {
    FrameIndex frames[kWriteOutBatch];
    const std::uint32_t n = lru->oldest_inactive(frames);
    (void)space->evictor().write_out(std::span(frames, n));
    (void)cache->drop_finished();
  }
  void evict(const RegionRecord& region, std::uint64_t page) {
    EXPECT_EQ(unmap_window_of(region, page).what, Unmapped::pages);
    write_out();
  }
  void free_orphans() {
    for (std::uint64_t last = ~0ULL; lru->counts().inactive < last;) {
      last = lru->counts().inactive;
      write_out();
    }
    while (swap->maintain()) {
    }
    (void)pool->drain();
  }
  bool check() {
    return pool->check() && lru->check() && cache->check() && space->check() && swap->check();
  }
  [[nodiscard]] std::uint64_t count(Count what) const { return counters.sum(what); }

  Counters counters{sys::real_machine()};
  std::unique_ptr<page::FramePool> pool;
  std::optional<lru::Lru> lru;
  std::unique_ptr<swap::Swap> swap;
  RegionTable regions{sys::real_machine()};
  StagingPool staging{sys::real_machine()};
  object::CleanHashes clean;
  std::optional<Parts> parts;
  std::optional<AddressSpace> space;
  std::unique_ptr<pmap::Pmap> pmap;
  std::unique_ptr<cache::SwapCache> cache;
  NoRelief relief;
  std::vector<RegionRecord*> mapped;
};

}  // namespace holdfast::space::test
