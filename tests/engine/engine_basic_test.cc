// What an engine does for its users, on the real machine.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory_resource>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <unordered_map>

#include "engine/real_engine.h"
#include "support/seed.h"
#include "sys/sys.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kBudgetPages = kBudget / kPageSize;

class EngineBasic : public testing::Test {
 protected:
  void start(const Options& options) {
    engine = make_engine(options);
    ASSERT_NE(engine, nullptr);
  }
  void SetUp() override { start(small_options()); }
  void TearDown() override {
    if (engine != nullptr) {
      EXPECT_TRUE(all_is_well(*engine));
    }
  }
  std::unique_ptr<Engine> engine;
};

TEST_F(EngineBasic, memory_reads_as_zeros_until_it_is_written) {
  const Region region = map(*engine, 2 * kBudget);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(region.data()) % kHugeSize, 0u);
  EXPECT_EQ(nonzero_pages(region, 0, 2 * kBudgetPages), 0u);
  push_out(*engine);
  EXPECT_EQ(nonzero_pages(region, 0, 2 * kBudgetPages), 0u);
}

TEST_F(EngineBasic, its_description_says_what_was_chosen) {
  EXPECT_NE(engine->description().find("signal delivery"), std::string::npos);
  EXPECT_NE(engine->description().find("remap"), std::string::npos);
}

TEST_F(EngineBasic, pages_of_one_repeated_word_take_no_slot) {
  const Region region = map(*engine, 4 * kBudget);
  auto* words = reinterpret_cast<volatile std::uint64_t*>(region.data());
  const std::uint64_t per_page = kPageSize / sizeof(std::uint64_t);
  for (std::uint64_t i = 0; i < 4 * kBudgetPages * per_page; ++i) words[i] = i / per_page % 1000;
  push_out(*engine);
  const Stats out = engine->stats();
  EXPECT_EQ(out.slots_used, 0u);
  EXPECT_EQ(out.evicted_written, 0u);
  EXPECT_GE(out.evicted_same_filled, 4 * kBudgetPages);
  std::uint64_t wrong = 0;
  for (std::uint64_t i = 0; i < 4 * kBudgetPages * per_page; ++i) {
    wrong += words[i] == i / per_page % 1000 ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_GT(engine->stats().faults_same_filled, 3 * kBudgetPages);
}

TEST_F(EngineBasic, a_page_that_did_not_change_is_not_written_again) {
  const std::uint64_t pages = 2 * kBudgetPages;
  const Region region = map(*engine, pages * kPageSize);
  write_pages(region, 0, pages, 3);
  push_out(*engine);
  ASSERT_TRUE(all_is_well(*engine));
  const Stats before = engine->stats();
  EXPECT_EQ(wrong_pages(region, 0, pages, 3), 0u);
  push_out(*engine);
  ASSERT_TRUE(all_is_well(*engine));
  const Stats after = engine->stats();
  EXPECT_EQ(after.evicted_written, before.evicted_written);
  EXPECT_GE(after.evicted_clean - before.evicted_clean, pages);

  // What changes is written, and nothing else.
  for (std::uint64_t p = 0; p < pages; p += 8) write_page(page_at(region, p), 500 + p);
  push_out(*engine);
  ASSERT_TRUE(all_is_well(*engine));
  EXPECT_EQ(engine->stats().evicted_written - after.evicted_written, pages / 8);
}

TEST_F(EngineBasic, what_is_touched_again_soon_is_rescued_not_read) {
  const std::uint64_t pages = 2 * kBudgetPages;
  const Region region = map(*engine, pages * kPageSize);
  write_pages(region, 0, pages, 3);
  // Backwards from what is surely resident to what has been unmapped last.
  for (std::uint64_t p = pages; p-- > 0 && engine->stats().faults_rescued == 0;) {
    EXPECT_TRUE(page_holds(page_at(region, p), 3 + p));
  }
  EXPECT_GT(engine->stats().faults_rescued, 0u);
  EXPECT_EQ(wrong_pages(region, 0, pages, 3), 0u);
}

// --- streams ---

class EngineStreams : public EngineBasic {
 protected:
  static constexpr std::uint64_t kPages = 1024;
  void SetUp() override {
    EngineBasic::SetUp();
    region = map(*engine, kPages * kPageSize);
    write_pages(region, 0, kPages, 11);
    push_out(*engine);
    before = engine->stats();
  }
  void TearDown() override {
    (void)region.unmap();
    EngineBasic::TearDown();
  }
  void touch(std::uint64_t page) {
    EXPECT_TRUE(page_holds(page_at(region, page), 11 + page)) << page;
  }
  std::uint64_t faults() { return engine->stats().faults - before.faults; }
  std::uint64_t run_pages() { return engine->stats().run_pages - before.run_pages; }

  Region region;
  Stats before;
};

TEST_F(EngineStreams, a_forward_stream_comes_in_by_runs) {
  for (std::uint64_t p = 0; p < kPages; ++p) touch(p);
  EXPECT_LT(faults(), kPages / 8);
  EXPECT_GT(run_pages(), kPages * 3 / 4);
}

TEST_F(EngineStreams, a_backward_stream_comes_in_by_runs) {
  for (std::uint64_t p = kPages; p-- > 0;) touch(p);
  EXPECT_LT(faults(), kPages / 8);
}

TEST_F(EngineStreams, a_strided_stream_brings_in_its_own_pages_only) {
  for (std::uint64_t p = 0; p < kPages; p += 5) touch(p);
  EXPECT_LT(faults(), kPages / 5 / 4);
  EXPECT_LE(faults() + run_pages(), kPages / 5 + 64);
}

TEST_F(EngineStreams, two_interleaved_streams_are_told_apart) {
  for (std::uint64_t p = 0; p < kPages / 2; ++p) {
    touch(p);
    touch(kPages / 2 + p);
  }
  EXPECT_LT(faults(), kPages / 8);
}

TEST_F(EngineStreams, advice_sequential_takes_full_runs_at_once) {
  ASSERT_TRUE(region.advise(0, region.size(), Advice::sequential));
  touch(128);
  EXPECT_EQ(faults(), 1u);
  EXPECT_EQ(run_pages(), 63u);
}

TEST_F(EngineStreams, advice_random_brings_in_what_was_touched) {
  ASSERT_TRUE(region.advise(0, region.size(), Advice::random));
  for (std::uint64_t p = 0; p < 256; ++p) touch(p);
  EXPECT_EQ(faults(), 256u);
  EXPECT_EQ(run_pages(), 0u);
}

TEST_F(EngineBasic, scattered_faults_never_widen) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  constexpr std::uint64_t kSteps = 512, kApart = 128;  // pages: too far to be a stride
  const Region region = map(*engine, kSteps * kApart * kPageSize);
  std::vector<std::uint64_t> order(kSteps);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 chance(seed);
  std::shuffle(order.begin(), order.end(), chance);
  for (const std::uint64_t i : order) write_page(page_at(region, i * kApart), i);
  EXPECT_EQ(engine->stats().run_pages, 0u);
  EXPECT_EQ(engine->stats().faults_zero, kSteps);
}

// --- regions ---

TEST_F(EngineBasic, a_vast_region_costs_memory_only_where_it_is_touched) {
  // ThreadSanitizer leaves the program too few addresses for a TiB.
  const std::uint64_t bytes = std::uint64_t{1} << (kUnderTsan ? 34 : 40);
  constexpr std::uint64_t kTouches = 100;
  const std::uint64_t resident = sys::real_machine().resident_bytes();
  const Stats before = engine->stats();
  Region region = map(*engine, bytes);
  EXPECT_EQ(region.size(), bytes);
  for (std::uint64_t i = 0; i < kTouches; ++i) {
    region.data()[bytes / kTouches / kPageSize * kPageSize * i] = std::byte{1};
  }
  const Stats after = engine->stats();
  EXPECT_EQ(after.managed_bytes, bytes);
  EXPECT_EQ(after.pages_resident, kTouches);
  EXPECT_EQ(after.frames_charged - before.frames_charged, kTouches);  // a page of table each
  if (!kUnderAsan && !kUnderTsan) {
    EXPECT_LT(sys::real_machine().resident_bytes() - resident, 4 * kMiB);
  }
  EXPECT_TRUE(region.unmap());
  EXPECT_EQ(engine->stats().managed_bytes, 0u);
}

TEST_F(EngineBasic, a_region_grows_and_shrinks_in_place) {
  Region region = map(*engine, 16 * kPageSize, 4 * kBudget);
  std::byte* const base = region.data();
  write_pages(region, 0, 16, 5);
  ASSERT_TRUE(region.resize(4 * kBudget));
  EXPECT_EQ(region.data(), base);
  EXPECT_EQ(region.size(), 4 * kBudget);
  EXPECT_EQ(wrong_pages(region, 0, 16, 5), 0u);
  EXPECT_TRUE(page_is_zero(page_at(region, 16)));
  write_pages(region, 16, 4 * kBudgetPages, 5);
  ASSERT_TRUE(region.resize(8 * kPageSize));
  EXPECT_EQ(wrong_pages(region, 0, 8, 5), 0u);
  ASSERT_TRUE(region.resize(64 * kPageSize));
  EXPECT_EQ(wrong_pages(region, 0, 8, 5), 0u);
  EXPECT_EQ(nonzero_pages(region, 8, 64), 0u);  // what was cut off is gone for good
}

TEST_F(EngineBasic, freed_memory_reads_as_zeros_and_its_neighbours_stay) {
  const std::uint64_t pages = 2 * kBudgetPages;
  Region region = map(*engine, pages * kPageSize);
  write_pages(region, 0, pages, 5);
  const std::uint64_t used = engine->stats().slots_used;
  EXPECT_GT(used, 0u);
  // Whole pages inside the range alone: the first and the last stay.
  const std::uint64_t first = 100, end = pages - 100;
  ASSERT_TRUE(region.advise(first * kPageSize - 1, (end - first) * kPageSize + 2, Advice::free));
  EXPECT_LT(engine->stats().slots_used, 250u);
  EXPECT_EQ(wrong_pages(region, 0, first, 5), 0u);
  EXPECT_EQ(nonzero_pages(region, first, end), 0u);
  EXPECT_EQ(wrong_pages(region, end, pages, 5), 0u);
}

TEST_F(EngineBasic, cold_memory_leaves_first) {
  Options options = small_options();
  options.background_reclaim = false;
  start(options);
  Region hot = map(*engine, 256 * kPageSize), cold = map(*engine, 256 * kPageSize);
  write_pages(hot, 0, 256, 1);
  write_pages(cold, 0, 256, 1);
  ASSERT_TRUE(cold.advise(0, cold.size(), Advice::cold));
  push_out(*engine);
  EXPECT_EQ(wrong_pages(cold, 0, 256, 1) + wrong_pages(hot, 0, 256, 1), 0u);
}

TEST_F(EngineBasic, prefetch_brings_in_what_is_then_there_without_a_fault) {
  Region region = map(*engine, 256 * kPageSize);
  write_pages(region, 0, 256, 5);
  push_out(*engine);
  const auto came = region.prefetch(0, region.size());
  ASSERT_TRUE(came) << came.error().message();
  EXPECT_EQ(*came, 256u);
  const std::uint64_t faults = engine->stats().faults;
  EXPECT_EQ(wrong_pages(region, 0, 256, 5), 0u);
  EXPECT_EQ(engine->stats().faults, faults);
  EXPECT_EQ(region.prefetch(0, region.size()), 0u);

  push_out(*engine);
  ASSERT_TRUE(region.advise(64 * kPageSize, 64 * kPageSize, Advice::will_need));
  EXPECT_EQ(wrong_pages(region, 64, 128, 5), 0u);
  EXPECT_EQ(engine->stats().faults, faults);
}

TEST_F(EngineBasic, a_prefetch_of_more_than_the_budget_stops_early) {
  Region region = map(*engine, 8 * kBudget);
  const auto came = region.prefetch(0, region.size());
  ASSERT_TRUE(came) << came.error().message();
  EXPECT_GT(*came, kBudgetPages / 4);
  EXPECT_LT(*came, kBudgetPages);
}

// --- engines ---

TEST_F(EngineBasic, several_engines_in_one_process_keep_to_themselves) {
  Options by_thread = small_options();
  by_thread.use_move = false;
  if (cannot_run(small_options(FaultDelivery::thread)).empty()) {
    by_thread.delivery = FaultDelivery::thread;
  }
  auto second = make_engine(by_thread);
  auto third = make_engine(small_options());
  Region a = map(*engine, 2 * kBudget), b = map(*second, 2 * kBudget), c = map(*third, 2 * kBudget);
  for (std::uint64_t p = 0; p < 2 * kBudgetPages; ++p) {
    write_page(page_at(a, p), 1 + p);
    write_page(page_at(b, p), 100'000 + p);
    write_page(page_at(c, p), 200'000 + p);
  }
  EXPECT_EQ(engine->pin(b.data(), 1).error().code, Errc::not_mapped);
  EXPECT_TRUE(all_is_well(*third));
  c = Region();
  third.reset();
  EXPECT_EQ(wrong_pages(a, 0, 2 * kBudgetPages, 1), 0u);
  EXPECT_EQ(wrong_pages(b, 0, 2 * kBudgetPages, 100'000), 0u);
  EXPECT_TRUE(all_is_well(*second));
}

TEST_F(EngineBasic, standard_containers_work_beyond_the_budget) {
  RegionResource resource(*engine, 16 * kBudget);
  {
    std::pmr::unordered_map<std::uint64_t, std::pmr::string> table(&resource);
    const std::uint64_t entries = tests::seed_count(60'000);
    const auto text = [](std::uint64_t i) {
      return std::string(300 + i % 100, static_cast<char>('a' + i % 26));
    };
    for (std::uint64_t i = 0; i < entries; ++i) table.emplace(i, text(i));
    if (entries == 60'000) {
      EXPECT_GT(resource.allocated_bytes(), 2 * kBudget);
    }
    for (std::uint64_t i = 0; i < entries; i += 3) table.erase(i);
    std::uint64_t wrong = 0;
    for (std::uint64_t i = 0; i < entries; ++i) {
      const auto found = table.find(i);
      if (i % 3 == 0) {
        wrong += found == table.end() ? 0 : 1;
      } else {
        wrong += found != table.end() && std::string_view(found->second) == text(i) ? 0 : 1;
      }
    }
    EXPECT_EQ(wrong, 0u);
  }
  EXPECT_EQ(resource.allocated_bytes(), 0u);
}

// --- whose bytes ---

TEST_F(EngineBasic, no_memory_ever_shows_what_another_owner_left) {
  for (int round = 0; round < 3; ++round) {
    {
      const Region secret = map(*engine, 2 * kBudget);
      write_pages(secret, 0, 2 * kBudgetPages, 77);
    }
    std::vector<std::pair<std::byte*, unsigned>> blocks;
    for (unsigned order = 0; order <= 6; ++order) {
      const auto block = engine->allocate_pages(order);
      ASSERT_TRUE(block) << block.error().message();
      for (std::uint64_t p = 0; p < 1U << order; ++p) {
        EXPECT_TRUE(page_is_zero(*block + p * kPageSize)) << "order " << order;
        write_page(*block + p * kPageSize, 88);
      }
      blocks.emplace_back(*block, order);
    }
    const Region fresh = map(*engine, 2 * kBudget);
    EXPECT_EQ(nonzero_pages(fresh, 0, 2 * kBudgetPages), 0u);
    for (const auto& [block, order] : blocks) engine->free_pages(block, order);
    const Region after = map(*engine, kBudget);
    EXPECT_EQ(nonzero_pages(after, 0, kBudgetPages), 0u);
  }
}

TEST_F(EngineBasic, blocks_are_found_where_free_frames_lie_in_pieces) {
  const Region region = map(*engine, 4 * kBudget);
  std::mt19937_64 random(11);
  write_pages(region, 0, 4 * kBudgetPages, 1);
  for (int i = 0; i < 20000; ++i) {  // frames change hands until none has its neighbour for one
    const std::uint64_t p = random() % (4 * kBudgetPages);
    EXPECT_TRUE(page_holds(page_at(region, p), 1 + p));
  }
  std::vector<std::byte*> blocks;
  for (int i = 0; i < 8; ++i) {
    const auto block = engine->allocate_pages(3);
    ASSERT_TRUE(block) << block.error().message();
    blocks.push_back(*block);
  }
  for (std::byte* block : blocks) engine->free_pages(block, 3);
  EXPECT_EQ(wrong_pages(region, 0, 4 * kBudgetPages, 1), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_F(EngineBasic, blocks_keep_their_content_and_are_naturally_aligned) {
  std::byte* const block = engine->allocate_pages(4).value();
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % (16 * kPageSize), 0u);
  for (std::uint64_t p = 0; p < 16; ++p) write_page(block + p * kPageSize, p);
  {
    const Region region = map(*engine, 4 * kBudget);
    write_pages(region, 0, 4 * kBudgetPages, 1);
  }
  for (std::uint64_t p = 0; p < 16; ++p) EXPECT_TRUE(page_holds(block + p * kPageSize, p));
  engine->free_pages(block, 4);
}

TEST_F(EngineBasic, what_is_deferred_runs_on_the_engines_thread) {
  static std::atomic<int> ran;
  ran = 0;
  int one = 1;
  for (int i = 1; i <= 10; ++i) {
    EXPECT_TRUE(engine->defer([](void* by) noexcept { ran += *static_cast<int*>(by); }, &one));
    while (ran != i) std::this_thread::yield();
  }
}

TEST_F(EngineBasic, pins_keep_pages_where_they_are) {
  const Region region = map(*engine, 4 * kBudget);
  write_pages(region, 0, 4 * kBudgetPages, 9);
  const auto pin = engine->pin(page_at(region, 10) + 100, 3 * kPageSize);
  ASSERT_TRUE(pin) << pin.error().message();
  EXPECT_EQ(pin->pages(), 4u);
  EXPECT_EQ(engine->stats().pins, 4u);
  push_out(*engine);
  const std::uint64_t faults = engine->stats().faults;
  EXPECT_EQ(wrong_pages(region, 10, 14, 9), 0u);
  EXPECT_EQ(engine->stats().faults, faults);
  EXPECT_GT(engine->stats().skipped_pinned, 0u);
}

TEST_F(EngineBasic, pinned_pages_outlive_their_region) {
  Region region = map(*engine, kBudget);
  write_pages(region, 0, 64, 9);
  std::byte* const base = region.data();
  auto first = engine->pin(base + 3 * kPageSize, kPageSize);
  auto second = engine->pin(base + 3 * kPageSize, 2 * kPageSize);
  ASSERT_TRUE(first && second);
  EXPECT_TRUE(region.unmap());
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_TRUE(page_holds(base + 3 * kPageSize, 12));
  EXPECT_TRUE(page_holds(base + 4 * kPageSize, 13));
  first->reset();
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_TRUE(page_holds(base + 3 * kPageSize, 12));
  second->reset();
  EXPECT_TRUE(all_is_well(*engine));
  const Stats stats = engine->stats();
  EXPECT_EQ(stats.pages_resident + stats.pages_cached + stats.pins, 0u);
  EXPECT_EQ(stats.frames_charged, 0u);
}

// --- the budget ---

// Fills four times the budget and reads it; returns how much more was resident at the most than
// before the engine came, and what the engine allows.
std::pair<std::uint64_t, std::uint64_t> peak_and_allowance(std::uint64_t budget) {
  const std::uint64_t baseline = sys::real_machine().resident_bytes();
  Options options = small_options();
  options.memory_budget = budget;
  options.window_pages = 512;
  auto engine = make_engine(options);
  const std::uint64_t pages = 4 * budget / kPageSize;
  const Region region = map(*engine, pages * kPageSize);
  std::uint64_t peak = 0;
  for (int pass = 0; pass < 2; ++pass) {
    for (std::uint64_t p = 0; p < pages; ++p) {
      if (pass == 0) write_page(page_at(region, p), p);
      if (pass == 1 && !page_holds(page_at(region, p), p)) return {~0ULL, 0};
      if (p % 128 == 0) peak = std::max(peak, sys::real_machine().resident_bytes());
    }
  }
  return {peak - std::min(peak, baseline), budget + engine->stats().overhead_bytes};
}

TEST(EngineBudget, the_process_stays_under_the_budget_and_the_stated_overhead) {
  if (kUnderAsan || kUnderTsan) GTEST_SKIP() << "the sanitizer's shadow counts as resident";
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto [peak, allowed] = peak_and_allowance(64 * kMiB);
    std::fprintf(stderr, "peak %llu KiB, allowed %llu KiB\n",
                 static_cast<unsigned long long>(peak >> 10),
                 static_cast<unsigned long long>(allowed >> 10));
    _exit(peak <= allowed ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace holdfast::engine::test
