// The life of a page, a step at a time: none, resident, cached, swapped, and back.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "space/space_fixture.h"
#include "support/seed.h"

namespace holdfast::space {
namespace {

using page::PageState;
using test::SpaceTest;

class Eviction : public SpaceTest {};

TEST_F(Eviction, a_touched_page_is_resident_with_two_references) {
  RegionRecord& region = map(64);
  EXPECT_EQ(kind(region, 5), EntryKind::none);
  write(region, 5, 7);
  ASSERT_EQ(kind(region, 5), EntryKind::resident);
  EXPECT_EQ(page_of(region, 5).count(), 2u);  // the VM's and the entry's
  EXPECT_EQ(page_of(region, 5).state(), PageState::resident);
  EXPECT_EQ(count(Count::faults_zero), 1u);
  EXPECT_EQ(region.leaves_charged, 1u);
  EXPECT_TRUE(check());
}

TEST_F(Eviction, an_unmapped_window_stands_in_the_swap_cache_with_the_vms_reference) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 16; p < 32; p += 3) write(region, p, p);
  write(region, 32, 32);
  const UnmapResult result = unmap_window_of(region, 16);
  EXPECT_EQ(result.what, Unmapped::pages);
  EXPECT_EQ(result.pages, 6u);
  for (std::uint64_t p = 16; p < 32; p += 3) {
    ASSERT_EQ(kind(region, p), EntryKind::cached) << p;
    EXPECT_EQ(page_of(region, p).count(), 1u);
  }
  EXPECT_EQ(kind(region, 32), EntryKind::resident);  // of the next window
  EXPECT_EQ(lru->counts().inactive, 6u);
  EXPECT_TRUE(check());
}

TEST_F(Eviction, a_touch_rescues_a_cached_page_and_no_other) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 16; ++p) write(region, p, 100 + p);
  (void)unmap_window_of(region, 0);
  EXPECT_EQ(word(region, 9), 109u);
  EXPECT_EQ(kind(region, 9), EntryKind::resident);
  EXPECT_EQ(page_of(region, 9).count(), 2u);
  EXPECT_EQ(kind(region, 8), EntryKind::cached);
  EXPECT_EQ(count(Count::faults_rescued), 1u);
  EXPECT_EQ(count(Count::faults_swap), 0u);
  EXPECT_TRUE(check());
  for (std::uint64_t p = 0; p < 16; ++p) EXPECT_EQ(word(region, p), 100 + p);
}

TEST_F(Eviction, what_nobody_rescues_is_written_and_comes_back_from_its_slot) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 16; ++p) write(region, p, 100 + p);
  evict(region, 0);
  for (std::uint64_t p = 0; p < 16; ++p) EXPECT_EQ(kind(region, p), EntryKind::swapped);
  EXPECT_EQ(count(Count::evicted_written), 16u);
  EXPECT_EQ(swap->stats().slots_used, 16u);
  EXPECT_EQ(space->counts().cached, 0u);
  EXPECT_TRUE(check());
  for (std::uint64_t p = 0; p < 16; ++p) EXPECT_EQ(word(region, p), 100 + p);
  EXPECT_EQ(swap->stats().slots_used, 16u);  // a clean page keeps its slot
}

TEST_F(Eviction, a_clean_page_leaves_without_a_store_and_a_changed_one_gives_its_slot_up) {
  RegionRecord& region = map(64);
  write(region, 0, 1);
  write(region, 1, 2);
  evict(region, 0);
  EXPECT_EQ(word(region, 0) + word(region, 1), 3u);
  write(region, 1, 5);
  evict(region, 0);
  EXPECT_EQ(count(Count::evicted_clean), 1u);
  EXPECT_EQ(count(Count::evicted_written), 3u);
  EXPECT_EQ(swap->stats().slots_used, 2u);
  EXPECT_EQ(word(region, 0), 1u);
  EXPECT_EQ(word(region, 1), 5u);
}

TEST_F(Eviction, same_filled_pages_leave_a_tag_and_zeros_leave_nothing) {
  RegionRecord& region = map(64);
  word(region, 0) = 0;
  auto* words = &word(region, 1);
  for (std::size_t i = 0; i < kPageSize / 8; ++i) words[i] = 42;
  evict(region, 0);
  EXPECT_EQ(kind(region, 0), EntryKind::none);
  EXPECT_EQ(kind(region, 1), EntryKind::filled);
  EXPECT_EQ(swap->stats().slots_used, 0u);
  EXPECT_EQ(words[511], 42u);
  EXPECT_EQ(count(Count::faults_same_filled), 1u);
}

TEST_F(Eviction, a_window_leaves_around_its_pinned_pages) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 16; ++p) write(region, p, p + 1);
  ASSERT_TRUE(space->pin(region.address_of(4), kPageSize + 1));
  EXPECT_EQ(unmap_window_of(region, 0).pages, 14u);
  EXPECT_EQ(kind(region, 4), EntryKind::resident);
  EXPECT_EQ(kind(region, 5), EntryKind::resident);
  EXPECT_EQ(count(Count::skipped_pinned), 2u);
  EXPECT_EQ(unmap_window_of(region, 4).what, Unmapped::pinned);
  space->unpin(region.address_of(4), 2);
  EXPECT_EQ(unmap_window_of(region, 4).pages, 2u);
}

TEST_F(Eviction, a_window_in_use_is_spared_unless_it_is_urgent_or_cold) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 16; ++p) write(region, p, p + 1);
  (void)unmap_window_of(region, 0);
  for (std::uint64_t p = 0; p < 16; ++p) EXPECT_EQ(word(region, p), p + 1);
  EXPECT_EQ(unmap_window_of(region, 0, false).what, Unmapped::recent);
  ASSERT_TRUE(space->advise(region, 0, 16 * kPageSize, Advice::cold));
  EXPECT_EQ(unmap_window_of(region, 0, false).what, Unmapped::pages);
}

TEST_F(Eviction, a_window_that_is_spared_again_and_again_leaves_at_last) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 16; ++p) write(region, p, p + 1);
  (void)unmap_window_of(region, 0);
  for (std::uint64_t p = 0; p < 16; ++p) EXPECT_EQ(word(region, p), p + 1);
  int spared = 0;
  while (unmap_window_of(region, 0, false).what == Unmapped::recent) ASSERT_LT(++spared, 10);
  EXPECT_GT(spared, 0);
}

TEST_F(Eviction, an_unmapped_regions_pages_are_orphans_that_the_vm_frees) {
  RegionRecord& region = map(64);
  for (std::uint64_t p = 0; p < 32; ++p) write(region, p, p + 1);
  (void)unmap_window_of(region, 0);
  const SpaceCounts before = space->counts();  // with what came in ahead of the stream
  EXPECT_EQ(before.cached, 16u);
  ASSERT_TRUE(space->unmap(region));
  EXPECT_EQ(space->unmap(region).error().code, Errc::not_mapped);
  EXPECT_EQ(space->counts().regions, 0u);
  free_orphans();
  EXPECT_EQ(count(Count::orphans_freed), before.resident + before.cached);
  EXPECT_EQ(pool->counts().used, 0u);
}

TEST_F(Eviction, faults_without_a_free_frame_ask_for_relief_and_are_refused) {
  std::vector<page::Page*> taken;
  RegionRecord& region = map(64);
  write(region, 0, 1);
  for (;;) {
    auto page = pool->allocate_block(0, page::Priority::normal);
    if (!page) break;
    taken.push_back(*page);
  }
  const auto came = space->prefetch(region, kPageSize, kPageSize);
  ASSERT_FALSE(came);
  EXPECT_EQ(came.error().code, Errc::out_of_memory);
  EXPECT_EQ(relief.asked, 1);
  EXPECT_EQ(count(Count::refused_memory), 1u);
  EXPECT_EQ(word(region, 0), 1u);
  for (page::Page* page : taken) pool->free_pages(*page, 0);
  (void)pool->drain();
  EXPECT_EQ(space->prefetch(region, kPageSize, kPageSize), 1u);
}

TEST_F(Eviction, a_rescue_and_the_write_out_of_the_same_page_agree) {
  RegionRecord& region = map(16);
  const std::uint64_t rounds = tests::seed_count(500);
  for (std::uint64_t round = 0; round < rounds; ++round) {
    for (std::uint64_t p = 0; p < 16; ++p) write(region, p, round + p);
    (void)unmap_window_of(region, 0);
    std::atomic<bool> go{false};
    std::thread writer([&] {
      while (!go) {
      }
      write_out();
    });
    go = true;
    for (std::uint64_t p = 16; p-- > 0;) EXPECT_EQ(word(region, p), round + p);
    writer.join();
    for (std::uint64_t p = 0; p < 16; ++p) EXPECT_EQ(word(region, p), round + p);
  }
  EXPECT_TRUE(check());
}

}  // namespace
}  // namespace holdfast::space
