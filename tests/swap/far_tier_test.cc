// The far tier on a store that does as it is told: packing, reading, freeing, and every way to
// fail.
#include "swap/far_tier.h"

#include <thread>

#include "swap_machine.h"

namespace holdfast::tests {
namespace {

class FarTier : public SwapTest {
 protected:
  std::vector<PageBytes> some_pages(std::size_t count, std::size_t random = 256) {
    std::vector<PageBytes> pages;
    for (std::size_t i = 0; i < count; ++i) pages.push_back(make_page(chance, random));
    return pages;
  }
  void expect_all(std::span<const swap::StoreItem> items, std::span<const PageBytes> pages) {
    for (std::size_t i = 0; i < pages.size(); ++i) {
      ASSERT_FALSE(items[i].slot.is_none()) << i << ": " << items[i].error.message();
      expect_holds(items[i].slot, pages[i]);
    }
  }
  void remake(std::vector<swap::TierOptions> tiers) {
    machine.objects.objects.clear();
    make(std::move(tiers));
  }
  ObjectScript& script = machine.objects;
  std::mt19937_64 chance{41};
};

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

TEST_F(FarTier, a_read_that_fails_is_an_error_with_its_errno_and_the_page_stays) {
  make({far_tier()});
  const auto pages = some_pages(200);
  const auto items = store(pages);
  for (const int error : {EIO, ETIMEDOUT, ENOENT}) {
    script.read_error = error;
    auto page = std::make_unique<PageBytes>();
    const swap::LoadItem item = load(items[0].slot, *page);
    EXPECT_FALSE(item.ok);
    EXPECT_EQ(item.error.code, error == ETIMEDOUT ? Errc::timed_out : Errc::io_error);
    EXPECT_EQ(item.error.os_errno, error);
    EXPECT_STREQ(item.error.what, "object");
  }
  script.read_error = 0;
  expect_all(items, pages);
  put_all(items);
}

TEST_F(FarTier, what_cannot_be_written_stays_and_the_next_tier_takes_the_rest) {
  for (const int error : {EIO, ENOSPC, EDQUOT, ENOENT}) {
    remake({far_tier(), file_tier()});
    script.write_error = error;
    const auto pages = some_pages(500);
    const auto items = store(pages);
    EXPECT_GT(tier(1).pages, 300u);
    EXPECT_TRUE(script.objects.empty());
    expect_all(items, pages);
    // What stands in buffers moves down too.
    maintain_all();
    expect_all(items, pages);
    EXPECT_LT(tier(0).pages, 70u);
    // Better weather.
    script.write_error = 0;
    machine.clock_step_ns = 1'000'000'000;
    const auto more = some_pages(300);
    const auto later = store(more);
    EXPECT_FALSE(script.objects.empty());
    expect_all(items, pages);
    expect_all(later, more);
    machine.clock_step_ns = 0;
    put_all(items);
    put_all(later);
  }
}

TEST_F(FarTier, with_no_tier_left_it_is_refused_with_the_reason_and_nothing_is_lost) {
  make({far_tier()});
  script.write_error = ENOSPC;
  const auto pages = some_pages(400);
  const auto items = store(pages);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < pages.size(); ++i) {
    if (items[i].slot.is_none()) {
      EXPECT_EQ(items[i].error.code, Errc::swap_full);
      EXPECT_EQ(items[i].error.os_errno, ENOSPC);
      EXPECT_STREQ(items[i].error.what, "pool");
    } else {
      expect_holds(items[i].slot, pages[i]);
      ++kept;
    }
  }
  EXPECT_GT(kept, 30u);
  EXPECT_LT(kept, 200u);
  // The mark by which who was refused knows to try again moves with time.
  const std::uint64_t mark = swap->room_mark();
  machine.clock_step_ns = 2'000'000'000;
  EXPECT_NE(swap->room_mark(), mark);
  script.write_error = 0;
  const auto again = store(pages);
  expect_all(again, pages);
  put_all(again);
  put_all(items);
}

TEST_F(FarTier, a_session_that_lost_its_lock_writes_no_more_and_reads_on) {
  make({far_tier(), file_tier()});
  const auto before = some_pages(200);
  const auto first = store(before);
  const std::uint64_t written = script.written_bytes;
  ASSERT_GT(written, 0u);
  script.owns = false;
  const auto after = some_pages(300);
  const auto second = store(after);
  EXPECT_EQ(script.written_bytes, written);
  maintain_all();
  EXPECT_EQ(script.written_bytes, written);
  expect_all(first, before);
  expect_all(second, after);
  EXPECT_GT(tier(1).pages, 200u);
  put_all(first);
  put_all(second);
  swap.reset();
  EXPECT_FALSE(script.objects.empty());  // they are whose lock it is
}

TEST_F(FarTier, a_store_that_does_not_answer_is_waited_for_once_and_then_passed_by) {
  make({far_tier(), file_tier()});
  script.holding = true;
  machine.clock_step_ns = 300'000'000;
  const auto pages = some_pages(500);
  const auto items = store(pages);
  EXPECT_GT(tier(1).pages, 200u);
  EXPECT_GT(tier(0).refused_full, 200u);
  EXPECT_EQ(script.held.size(), 3u);  // all the buffers there are
  // What is on its way is read from where it still stands.
  expect_all(items, pages);
  machine.clock_step_ns = 0;
  script.let_go(chance);
  const auto more = some_pages(300);
  const auto later = store(more);
  EXPECT_GT(tier(0).pages, 300u);
  expect_all(items, pages);
  expect_all(later, more);
  put_all(items);
  put_all(later);
}

TEST_F(FarTier, who_asks_for_what_is_here_gets_that_and_is_told_what_is_far) {
  make({ram_tier(256 * 1024), far_tier()});
  const auto pages = some_pages(1000);
  const auto items = store(pages);
  std::vector<PageBytes> room(64);
  std::vector<swap::LoadItem> loads(64);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    loads[i] = {.slot = items[i * 15].slot, .page = room[i].bytes};
  }
  script.holding = true;  // nobody who asked for one of these would come back
  swap->load(loads, swap::Reach::here);
  std::size_t near = 0;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    EXPECT_NE(loads[i].ok, loads[i].is_far) << i;
    if (!loads[i].ok) continue;
    ++near;
    EXPECT_TRUE(room[i] == pages[i * 15]) << i;
  }
  EXPECT_GT(near, 0u);
  EXPECT_LT(near, loads.size());
  script.let_go(chance);
  swap->load(loads);
  for (std::size_t i = 0; i < loads.size(); ++i) {
    EXPECT_TRUE(loads[i].ok && !loads[i].is_far && room[i] == pages[i * 15]) << i;
  }
  put_all(items);
}

TEST_F(FarTier, who_keeps_house_waits_for_no_store_that_does_not_answer) {
  make({far_tier()});
  const auto pages = some_pages(1500);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 4 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  script.holding = true;
  machine.clock_step_ns = 300'000'000;
  for (int i = 0; i < 10; ++i) swap->maintain();
  EXPECT_EQ(tier(0).moved, 0u);
  EXPECT_EQ(std::ranges::count(script.held, sys::ObjectAction::read, &sys::ObjectRequest::action),
            1);  // and asks it for no more
  machine.clock_step_ns = 0;
  script.let_go(chance);
  const std::uint64_t before = tier(0).held_bytes;
  swap->put(std::exchange(items[0].slot, SlotIndex::none()));  // something has changed
  maintain_all();
  EXPECT_LT(tier(0).held_bytes * 10, before * 6);
  for (std::size_t i = 4; i < items.size(); i += 4) expect_holds(items[i].slot, pages[i]);
  put_all(items);
}

TEST_F(FarTier, who_finds_no_buffer_waits_for_an_answer) {
  make({far_tier()});
  script.holding = true;
  const auto pages = some_pages(500);
  std::vector<swap::StoreItem> items;
  std::thread writer([&] { items = store(pages); });
  // It comes to a stop with all buffers on their way, and goes on with each answer.
  std::atomic<bool> ended{false};
  std::thread cluster([&] {
    while (!ended) {
      script.let_go(chance);
      const std::lock_guard<std::mutex> guard(script.mutex);
      script.holding = true;
    }
  });
  writer.join();
  ended = true;
  cluster.join();
  script.let_go(chance);
  expect_all(items, pages);
  EXPECT_EQ(tier(0).refused_full, 0u);
  put_all(items);
}

TEST_F(FarTier, a_write_without_an_answer_in_time_is_sent_again_as_it_was) {
  make({far_tier()});
  script.write_error = ETIMEDOUT;
  const auto pages = some_pages(100);
  const auto items = store(pages);
  ASSERT_GT(script.writes, 0u);
  EXPECT_TRUE(script.objects.empty());
  script.write_error = 0;
  swap->maintain();
  EXPECT_FALSE(script.objects.empty());
  expect_all(items, pages);
  EXPECT_GT(tier(0).write_errors, 0u);
  put_all(items);
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

TEST_F(FarTier, an_object_that_was_tampered_with_is_not_compacted_and_costs_only_its_own_pages) {
  make({far_tier()});
  const auto pages = some_pages(1500);
  auto items = store(pages);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i % 4 != 0) swap->put(std::exchange(items[i].slot, SlotIndex::none()));
  }
  auto& bytes = script.objects.begin()->second;
  bytes[10] ^= std::byte{1};                // an image
  bytes[bytes.size() - 1] ^= std::byte{1};  // the directory
  maintain_all();
  std::size_t corrupted = 0;
  for (std::size_t i = 0; i < items.size(); i += 4) {
    auto page = std::make_unique<PageBytes>();
    const swap::LoadItem item = load(items[i].slot, *page);
    corrupted += item.ok ? 0 : 1;
    if (item.ok) {
      EXPECT_TRUE(*page == pages[i]);
    }
  }
  EXPECT_EQ(corrupted, 1u);
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

TEST_F(FarTier, a_removal_that_fails_is_tried_again) {
  make({far_tier()});
  const auto items = store(some_pages(300));
  script.removal_error = ETIMEDOUT;
  put_all(items);
  EXPECT_FALSE(script.objects.empty());
  script.removal_error = 0;
  machine.clock_step_ns = 1'000'000'000;
  for (int i = 0; i < 8; ++i) swap->maintain();
  EXPECT_TRUE(script.objects.empty());
  EXPECT_EQ(tier(0).held_bytes, 0u);
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
