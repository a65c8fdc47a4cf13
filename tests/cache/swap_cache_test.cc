// The swap cache on a machine without faults: what stands in a pool window, and when it is free.
#include "cache/swap_cache.h"

#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "support/fake_machine.h"

namespace holdfast::cache {
namespace {

using page::Holder;
using page::Page;
using page::PageState;

// Memory that can be dropped, and moved on paper.
class FakePmap final : public pmap::Pmap {
 public:
  explicit FakePmap(sys::Machine& machine) : machine_(machine) {}
  int attach(Address, std::uint64_t) noexcept override { return 0; }
  int detach(Address, std::uint64_t) noexcept override { return 0; }
  pmap::Entered enter_copy(Address, const std::byte*, std::uint32_t,
                           sys::Protection) noexcept override {
    return {0, ENOSYS};
  }
  int protect(Address, std::uint64_t, sys::Protection) noexcept override { return ENOSYS; }
  bool can_protect() const noexcept override { return false; }
  pmap::Entered enter_move(Address, Address, std::uint32_t pages) noexcept override {
    return {pages, 0};
  }
  bool can_move() const noexcept override { return moves; }
  int remove(Address, Address, std::uint64_t) noexcept override { return 0; }
  int drop(Address address, std::uint64_t bytes) noexcept override {
    if (drop_error != 0) return drop_error;
    ++drops;
    return machine_.discard(address, bytes);
  }
  void wake(Address) noexcept override {}
  std::string description() const override { return "fake"; }

  bool moves = true;
  int drop_error = 0;
  int drops = 0;

 private:
  sys::Machine& machine_;
};

class SwapCacheTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kPages = 16, kWindows = 4;

  void SetUp() override {
    pool = page::FramePool::create(machine, {.frames = 256}).value();
    start(2);
  }
  void TearDown() override {
    EXPECT_TRUE(cache->check());
    cache.reset();
    pool.reset();
    EXPECT_EQ(machine.reserved_ranges(), 0u);
  }
  void start(std::uint32_t recycled_max) {
    cache.reset();
    cache = SwapCache::create(
                machine, *pool, pmap,
                {.window_pages = kPages, .windows = kWindows, .recycled_max = recycled_max})
                .value();
  }
  // A cached page at the place, as reclaim makes one: the VM holds it.
  Page& place(WindowIndex window, std::uint32_t where) {
    auto reservation = pool->reserve(1, page::Priority::normal);
    Page& page = reservation.take(Holder::vm);
    page.set_owner({RegionId(0), PageIndex(where)});
    page.to(PageState::resident);
    page.to(PageState::cached);
    page.set_pool_window(window.value);
    std::memset(machine.view(cache->address_of(window, where)), 7, kPageSize);
    cache->place_page(window, where, pool->index_of(page));
    return page;
  }
  // The page leaves for good; its memory stays at its place.
  void leave_warm(Page& page) {
    const WindowIndex window(page.pool_window());
    ASSERT_TRUE(pool->put_to_warm(page, Holder::vm));
    cache->left_warm(window);
  }
  // A window with warm frames at [0, n), finished.
  WindowIndex finished_window(std::uint32_t n) {
    const WindowIndex window = cache->acquire();
    std::vector<Page*> pages;
    for (std::uint32_t i = 0; i < n; ++i) pages.push_back(&place(window, i));
    for (Page* page : pages) leave_warm(*page);
    cache->release(window);
    return window;
  }
  [[nodiscard]] bool is_zero(WindowIndex window, std::uint32_t where) {
    return *machine.view(cache->address_of(window, where)) == std::byte{0};
  }

  tests::FakeMachine machine;
  FakePmap pmap{machine};
  std::unique_ptr<page::FramePool> pool;
  std::unique_ptr<SwapCache> cache;
};

TEST_F(SwapCacheTest, windows_run_out_and_come_back) {
  std::array<WindowIndex, kWindows> windows;
  for (WindowIndex& window : windows) {
    window = cache->acquire();
    EXPECT_FALSE(window.is_none());
  }
  EXPECT_TRUE(cache->acquire().is_none());
  EXPECT_EQ(cache->counts().windows_in_use, kWindows);
  for (const WindowIndex window : windows) cache->release(window);
  EXPECT_EQ(cache->drop_finished(), 0u);  // nothing stood there
  EXPECT_EQ(cache->counts().windows_in_use, 0u);
  const WindowIndex again = cache->acquire();
  EXPECT_FALSE(again.is_none());
  cache->release(again);
}

TEST_F(SwapCacheTest, places_lie_side_by_side_and_windows_apart) {
  EXPECT_EQ(cache->address_of(WindowIndex(0), 1) - cache->address_of(WindowIndex(0), 0), kPageSize);
  EXPECT_EQ(cache->address_of(WindowIndex(1), 0) - cache->address_of(WindowIndex(0), 0),
            kPages * kPageSize);
}

TEST_F(SwapCacheTest, a_window_is_finished_when_its_last_page_has_left) {
  const WindowIndex window = cache->acquire();
  Page& first = place(window, 2);
  Page& second = place(window, 5);
  cache->release(window);
  EXPECT_EQ(cache->counts().live, 2u);
  EXPECT_TRUE(cache->check());
  leave_warm(first);
  EXPECT_EQ(cache->drop_finished(), 0u);
  EXPECT_EQ(pmap.drops, 0);
  leave_warm(second);
  EXPECT_EQ(pool->counts().warm, 2u);
  EXPECT_EQ(cache->drop_finished(), 2u);
  EXPECT_EQ(pmap.drops, 1);  // one call for the whole window
  EXPECT_EQ(pool->counts().warm, 0u);
  EXPECT_TRUE(is_zero(window, 2));
}

TEST_F(SwapCacheTest, a_reader_keeps_the_window) {
  const WindowIndex window = cache->acquire();
  Page& page = place(window, 0);
  cache->hold(window);
  cache->release(window);
  leave_warm(page);
  EXPECT_EQ(cache->drop_finished(), 0u);
  EXPECT_FALSE(is_zero(window, 0));
  cache->release(window);
  EXPECT_EQ(cache->drop_finished(), 1u);
}

TEST_F(SwapCacheTest, a_rescued_page_leaves_its_place_with_or_without_a_warm_frame) {
  const WindowIndex window = cache->acquire();
  Page& copied = place(window, 0);
  Page& carried = place(window, 1);
  cache->release(window);
  // By copying: another frame stands for the memory that is left.
  auto reservation = pool->reserve(1, page::Priority::normal);
  Page& left = reservation.take(Holder::caller);
  left.set_pool_window(window.value);
  ASSERT_TRUE(pool->put_to_warm(left, Holder::caller));
  copied.to(PageState::resident);
  copied.set_pool_window(Page::kNoPoolWindow);
  cache->vacate(window, 0, pool->index_of(left));
  // By carrying: nothing is left.
  carried.to(PageState::resident);
  carried.set_pool_window(Page::kNoPoolWindow);
  cache->vacate(window, 1, FrameIndex::none());
  EXPECT_EQ(cache->drop_finished(), 1u);
  for (Page* page : {&copied, &carried}) {
    page->to(PageState::orphan);
    pool->put(*page, Holder::vm);
  }
}

TEST_F(SwapCacheTest, a_window_that_the_kernel_will_not_drop_waits_for_the_next_pass) {
  (void)finished_window(3);
  pmap.drop_error = EBUSY;
  EXPECT_EQ(cache->drop_finished(), 0u);
  EXPECT_EQ(pool->counts().warm, 3u);
  pmap.drop_error = 0;
  EXPECT_EQ(cache->drop_finished(), 3u);
}

TEST_F(SwapCacheTest, trimming_frees_what_is_warm_and_leaves_what_is_cached) {
  const WindowIndex window = cache->acquire();
  std::array<Page*, 6> pages;
  for (std::uint32_t i = 0; i < 6; ++i) pages[i] = &place(window, i);
  for (const std::uint32_t i : {0u, 1u, 4u}) leave_warm(*pages[i]);
  pmap.drop_error = EBUSY;
  EXPECT_EQ(cache->trim(window), 0u);
  EXPECT_EQ(pool->counts().warm, 3u);
  pmap.drop_error = 0;
  EXPECT_EQ(cache->trim(window), 3u);
  EXPECT_TRUE(is_zero(window, 0) && is_zero(window, 1) && is_zero(window, 4));
  EXPECT_FALSE(is_zero(window, 2) || is_zero(window, 3) || is_zero(window, 5));
  for (const std::uint32_t i : {2u, 3u, 5u}) leave_warm(*pages[i]);
  cache->release(window);
  EXPECT_EQ(cache->drop_finished(), 3u);
}

TEST_F(SwapCacheTest, a_window_is_kept_warm_for_runs_only_once_one_was_wanted) {
  (void)finished_window(kPages);
  EXPECT_EQ(cache->drop_finished(), kPages);  // nobody wanted it
  WarmRun run;
  EXPECT_FALSE(cache->take_run(kPages, run));
  const WindowIndex window = finished_window(kPages);
  EXPECT_EQ(cache->drop_finished(), 0u);
  EXPECT_EQ(pool->counts().warm, kPages);
  ASSERT_TRUE(cache->take_run(kPages, run));
  EXPECT_EQ(run.window, window);
  EXPECT_EQ(run.pages, kPages);
  EXPECT_EQ(run.address, cache->address_of(window, 0));
  WarmRun second;
  EXPECT_FALSE(cache->take_run(kPages, second));  // one run at a time
  EXPECT_EQ(cache->drop_recycled(), 0u);          // and it is not taken from under it
  cache->end_run(run, 0);
  EXPECT_EQ(cache->drop_recycled(), kPages);
}

TEST_F(SwapCacheTest, what_a_run_carried_is_gone_and_the_rest_is_warm) {
  WarmRun run;
  EXPECT_FALSE(cache->take_run(8, run));
  (void)finished_window(kPages);
  EXPECT_EQ(cache->drop_finished(), 0u);
  ASSERT_TRUE(cache->take_run(8, run));
  EXPECT_EQ(run.pages, 8u);
  std::vector<Page*> carried;
  for (std::uint32_t i = 0; i < 5; ++i) {
    carried.push_back(&pool->take_warm(cache->frame_at(run, i), Holder::entry));
  }
  cache->end_run(run, 5);
  EXPECT_EQ(pool->counts().warm, kPages - 5);
  ASSERT_TRUE(cache->take_run(8, run));
  EXPECT_EQ(run.place, 8u);  // it goes on behind the first
  cache->end_run(run, 0);
  for (Page* page : carried) {
    page->set_pool_window(Page::kNoPoolWindow);
    pool->put(*page, Holder::entry);
  }
  EXPECT_EQ(cache->drop_recycled(), kPages - 5);
}

TEST_F(SwapCacheTest, runs_that_are_too_short_are_not_worth_it) {
  WarmRun run;
  EXPECT_FALSE(cache->take_run(SwapCache::kWarmRunMin - 1, run));
  (void)finished_window(kPages);
  EXPECT_EQ(cache->drop_finished(), kPages);  // that did not count as wanting one
  EXPECT_FALSE(cache->take_run(SwapCache::kWarmRunMin, run));
  (void)finished_window(SwapCache::kWarmRunMin - 1);
  EXPECT_EQ(cache->drop_finished(), SwapCache::kWarmRunMin - 1);
}

TEST_F(SwapCacheTest, nothing_is_kept_warm_where_pages_cannot_be_carried) {
  WarmRun run;
  EXPECT_FALSE(cache->take_run(kPages, run));
  pmap.moves = false;
  (void)finished_window(kPages);
  EXPECT_EQ(cache->drop_finished(), kPages);
}

TEST_F(SwapCacheTest, a_used_up_window_is_empty_again) {
  WarmRun run;
  EXPECT_FALSE(cache->take_run(kPages, run));
  (void)finished_window(kPages);
  EXPECT_EQ(cache->drop_finished(), 0u);
  ASSERT_TRUE(cache->take_run(kPages, run));
  std::vector<Page*> carried;
  for (std::uint32_t i = 0; i < kPages; ++i) {
    carried.push_back(&pool->take_warm(cache->frame_at(run, i), Holder::entry));
  }
  cache->end_run(run, kPages);
  EXPECT_FALSE(cache->take_run(kPages, run));
  EXPECT_EQ(cache->drop_finished(), 0u);
  EXPECT_EQ(cache->counts().windows_in_use, 0u);
  for (Page* page : carried) {
    page->set_pool_window(Page::kNoPoolWindow);
    pool->put(*page, Holder::entry);
  }
}

TEST_F(SwapCacheTest, address_space_that_cannot_be_had_is_an_error_without_effect) {
  const std::size_t ranges = machine.reserved_ranges();
  for (int nth = 0; nth < 2; ++nth) {
    machine.fail_reserve_in = nth;
    EXPECT_FALSE(SwapCache::create(machine, *pool, pmap, {.window_pages = 16, .windows = 4}));
    EXPECT_EQ(machine.reserved_ranges(), ranges) << nth;
  }
}

TEST_F(SwapCacheTest, several_threads_let_go_of_one_window_and_one_finishes_it) {
  for (int round = 0; round < 200; ++round) {
    const WindowIndex window = cache->acquire();
    std::array<Page*, kPages> pages;
    for (std::uint32_t i = 0; i < kPages; ++i) pages[i] = &place(window, i);
    std::thread other([&] {
      for (std::uint32_t i = 0; i < kPages; i += 2) leave_warm(*pages[i]);
    });
    for (std::uint32_t i = 1; i < kPages; i += 2) leave_warm(*pages[i]);
    cache->release(window);
    other.join();
    ASSERT_EQ(cache->drop_finished(), kPages);
  }
}

}  // namespace
}  // namespace holdfast::cache
