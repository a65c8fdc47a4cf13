// Clones and snapshots on the real machine: what each of them sees, whoever writes.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <thread>

#include "engine/real_engine.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kPages = 600;  // more than one leaf, and not a whole number of them

class Copies : public testing::TestWithParam<FaultDelivery> {
 protected:
  void SetUp() override {
    Options options = small_options(GetParam());
    options.memory_budget = 4 * kBudget;  // a table of what is shared takes a frame
    if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
    engine = make_engine(options);
    ASSERT_NE(engine, nullptr);
    region = map(*engine, kPages * kPageSize);
    // Only what is touched comes in, and only what is written is copied.
    ASSERT_TRUE(region.advise(0, kPages * kPageSize, Advice::random));
  }
  void TearDown() override {
    if (engine == nullptr) return;
    EXPECT_TRUE(all_is_well(*engine));
    region = {};
    EXPECT_TRUE(all_is_well(*engine));
    EXPECT_EQ(engine->stats().slots_used, 0u);
  }

  Snapshot snapshot(const Source& source) {
    auto made = engine->snapshot(source);
    if (made) return std::move(*made);
    ADD_FAILURE() << made.error().message();
    return {};
  }
  Region clone(const Source& source) {
    auto made = engine->clone(source);
    if (made) return std::move(*made);
    ADD_FAILURE() << made.error().message();
    return {};
  }
  static const std::byte* page_of(const Snapshot& of, std::uint64_t page) {
    return of.data() + page * kPageSize;
  }
  // Pages of [first, end) that read(), without mapping, does not find to hold key + number.
  static std::uint64_t wrong_by_read(const Snapshot& of, std::uint64_t first, std::uint64_t end,
                                     std::uint64_t key) {
    std::vector<std::byte> bytes((end - first) * kPageSize + 8);
    auto* aligned =
        reinterpret_cast<std::byte*>(round_up(reinterpret_cast<std::uintptr_t>(bytes.data()), 8));
    const auto done = of.read(first * kPageSize, std::span(aligned, (end - first) * kPageSize));
    if (!done) ADD_FAILURE() << done.error().message();
    std::uint64_t wrong = 0;
    for (std::uint64_t p = first; p < end; ++p) {
      wrong += page_holds(aligned + (p - first) * kPageSize, key + p) ? 0 : 1;
    }
    return wrong;
  }
  static std::uint64_t wrong_in(const Snapshot& of, std::uint64_t first, std::uint64_t end,
                                std::uint64_t key) {
    std::uint64_t wrong = 0;
    for (std::uint64_t p = first; p < end; ++p) {
      wrong += page_holds(page_of(of, p), key + p) ? 0 : 1;
    }
    return wrong;
  }

  std::unique_ptr<Engine> engine;
  Region region;
};

TEST_P(Copies, a_snapshot_keeps_what_was_there_when_the_region_is_written_to) {
  write_pages(region, 0, kPages, 1000);
  const Snapshot before = snapshot(region);
  ASSERT_TRUE(before);
  EXPECT_EQ(before.size(), kPages * kPageSize);
  write_pages(region, 0, kPages, 5000);
  EXPECT_EQ(wrong_by_read(before, 0, kPages, 1000), 0u);
  EXPECT_EQ(wrong_in(before, 0, kPages, 1000), 0u);
  EXPECT_EQ(wrong_pages(region, 0, kPages, 5000), 0u);
  EXPECT_GE(engine->stats().cow_copied, kPages);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_P(Copies, a_clone_and_its_region_do_not_see_each_others_writes) {
  write_pages(region, 0, kPages, 1000);
  Region other = clone(region);
  ASSERT_TRUE(other);
  write_pages(other, 0, 300, 2000);
  write_pages(region, 200, kPages, 3000);
  EXPECT_EQ(wrong_pages(region, 0, 200, 1000), 0u);
  EXPECT_EQ(wrong_pages(region, 200, kPages, 3000), 0u);
  EXPECT_EQ(wrong_pages(other, 0, 300, 2000), 0u);
  EXPECT_EQ(wrong_pages(other, 300, kPages, 1000), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_P(Copies, nothing_is_copied_when_nobody_is_left_who_shares) {
  write_pages(region, 0, kPages, 1000);
  {
    const Snapshot gone = snapshot(region);
  }
  const std::uint64_t copied = engine->stats().cow_copied;
  write_pages(region, 0, kPages, 2000);
  EXPECT_EQ(engine->stats().cow_copied, copied);
  EXPECT_EQ(wrong_pages(region, 0, kPages, 2000), 0u);
}

TEST_P(Copies, a_version_is_copied_once_however_many_share_it) {
  write_pages(region, 0, 64, 1000);
  std::vector<Snapshot> many;
  for (int i = 0; i < 10; ++i) many.push_back(snapshot(region));
  write_pages(region, 0, 64, 2000);
  EXPECT_EQ(engine->stats().cow_copied, 64u);
  for (const Snapshot& each : many) EXPECT_EQ(wrong_by_read(each, 0, 64, 1000), 0u);
}

TEST_P(Copies, a_store_to_a_snapshot_goes_to_the_error_handler_and_changes_nothing) {
  write_pages(region, 0, 8, 1000);
  const Snapshot before = snapshot(region);
  // The handler mends it by making the store harmless: it cannot, so it ends the program; in a
  // child of its own, with an engine of its own.
  const auto die = [] {
    Options options = small_options(GetParam());
    options.on_error = [](const Error& error, std::uintptr_t address,
                          void* base) noexcept -> OnError {
      const auto at = *static_cast<const std::byte* const*>(base);
      const bool good = error.code == Errc::permission && error.value == address &&
                        address == reinterpret_cast<std::uintptr_t>(at) + 3 * kPageSize + 8 &&
                        error.holder == reinterpret_cast<std::uintptr_t>(at);
      std::_Exit(good ? 42 : 1);
    };
    static const std::byte* base = nullptr;
    options.on_error_context = &base;
    auto own = make_engine(options);
    Region source = map(*own, 8 * kPageSize);
    write_pages(source, 0, 8, 1);
    auto made = own->snapshot(source);
    base = made->data();
    if (!page_holds(page_of(*made, 3), 4)) std::_Exit(2);
    reinterpret_cast<volatile std::uint64_t*>(const_cast<std::byte*>(base) + 3 * kPageSize)[1] = 1;
    std::_Exit(3);
  };
  // (ThreadSanitizer ends the child of a fork that starts a thread.)
  if (GetParam() == FaultDelivery::signal && !kUnderTsan) {
    EXPECT_EXIT(die(), testing::ExitedWithCode(42), "");
  }
  EXPECT_EQ(wrong_in(before, 0, 8, 1000), 0u);
}

TEST_P(Copies, outlive_their_region_and_one_another_in_any_order) {
  write_pages(region, 0, kPages, 1000);
  Snapshot first = snapshot(region);
  write_pages(region, 100, 200, 2000);
  Region child = clone(region);
  Snapshot of_child = snapshot(child);
  write_pages(child, 0, 50, 3000);
  Snapshot second = snapshot(child);
  region = {};
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_EQ(wrong_by_read(first, 0, kPages, 1000), 0u);
  child = {};
  EXPECT_TRUE(all_is_well(*engine));
  first = {};
  EXPECT_EQ(wrong_by_read(of_child, 100, 200, 2000), 0u);
  EXPECT_EQ(wrong_in(of_child, 0, 100, 1000), 0u);
  EXPECT_EQ(wrong_in(second, 0, 50, 3000), 0u);
  EXPECT_EQ(wrong_in(second, 200, kPages, 1000), 0u);
  Region again = clone(second);
  second = {};
  of_child = {};
  EXPECT_EQ(wrong_pages(again, 0, 50, 3000), 0u);
  EXPECT_EQ(wrong_pages(again, 50, 100, 1000), 0u);
  EXPECT_EQ(wrong_pages(again, 100, 200, 2000), 0u);
}

TEST_P(Copies, what_is_swapped_takes_one_slot_for_all_who_share_it) {
  write_pages(region, 0, 64, 1000);
  const Snapshot before = snapshot(region);
  Region child = clone(region);
  push_out(*engine);
  EXPECT_EQ(engine->stats().slots_used, 64u);
  EXPECT_EQ(wrong_pages(region, 0, 64, 1000), 0u);
  EXPECT_EQ(wrong_pages(child, 0, 64, 1000), 0u);
  EXPECT_EQ(wrong_in(before, 0, 64, 1000), 0u);
  push_out(*engine);  // unchanged: they rejoin
  EXPECT_EQ(engine->stats().slots_used, 64u);
  write_pages(child, 0, 32, 2000);
  push_out(*engine);
  EXPECT_EQ(engine->stats().slots_used, 96u);
  EXPECT_EQ(wrong_pages(region, 0, 64, 1000), 0u);
  EXPECT_EQ(wrong_pages(child, 0, 32, 2000), 0u);
  EXPECT_EQ(wrong_by_read(before, 0, 64, 1000), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_P(Copies, a_pinned_page_is_copied_at_once_and_stays_with_its_region) {
  write_pages(region, 0, 16, 1000);
  auto pin = engine->pin(region.data() + 4 * kPageSize, 2 * kPageSize);
  ASSERT_TRUE(pin) << pin.error().message();
  const Snapshot before = snapshot(region);
  EXPECT_EQ(engine->stats().cow_copied, 2u);
  const std::uint64_t faults = engine->stats().cow_faults;
  write_pages(region, 4, 6, 2000);
  EXPECT_EQ(engine->stats().cow_faults, faults);  // never protected
  pin->reset();
  EXPECT_EQ(wrong_by_read(before, 0, 16, 1000), 0u);
  EXPECT_EQ(wrong_pages(region, 4, 6, 2000), 0u);
}

TEST_P(Copies, a_pin_on_a_shared_page_first_unshares_it) {
  write_pages(region, 0, 16, 1000);
  const Snapshot before = snapshot(region);
  auto pin = engine->pin(region.data() + 4 * kPageSize, kPageSize);
  ASSERT_TRUE(pin) << pin.error().message();
  EXPECT_EQ(engine->stats().cow_copied, 1u);
  const std::uint64_t faults = engine->stats().faults;
  write_page(page_at(region, 4), 77);
  EXPECT_EQ(engine->stats().faults, faults);
  EXPECT_EQ(wrong_by_read(before, 0, 16, 1000), 0u);
}

TEST_P(Copies, runs_tell_data_from_zeros_and_what_has_not_changed) {
  write_pages(region, 10, 20, 1000);
  const Snapshot first = snapshot(region);
  write_pages(region, 15, 16, 9000);
  write_page(page_at(region, 560), 1);
  const Snapshot second = snapshot(region);
  std::vector<holdfast::Run> runs;
  ASSERT_TRUE(first.for_each_run([&](const holdfast::Run& run) { runs.push_back(run); }));
  const auto at = [](std::uint64_t from, std::uint64_t to, RunKind kind) {
    return holdfast::Run{from * kPageSize, (to - from) * kPageSize, kind};
  };
  EXPECT_EQ(runs, (std::vector<holdfast::Run>{at(0, 10, RunKind::zero), at(10, 20, RunKind::data),
                                              at(20, kPages, RunKind::zero)}));
  std::uint64_t bytes = 0;
  const auto count = [&bytes](const holdfast::Run& run) { bytes += run.bytes; };
  ASSERT_TRUE(first.for_each_run(count)) << "a callable may be const";
  EXPECT_EQ(bytes, first.size());
  const auto changed = second.diff(first);
  ASSERT_TRUE(changed) << changed.error().message();
  EXPECT_EQ(*changed,
            (std::vector<holdfast::Run>{at(15, 16, RunKind::data), at(560, 561, RunKind::data)}));
}

TEST_P(Copies, several_regions_are_copied_as_they_are_at_one_moment) {
  Region second = map(*engine, 64 * kPageSize);
  Region third = map(*engine, 64 * kPageSize);
  auto* a = reinterpret_cast<std::atomic<std::uint64_t>*>(second.data());
  auto* b = reinterpret_cast<std::atomic<std::uint64_t>*>(third.data());
  a->store(0);
  b->store(0);
  std::atomic<bool> stop{false};
  // b follows a: a copy in which b is ahead of a has seen an effect without its cause.
  std::thread writer([&] {
    for (std::uint64_t i = 1; !stop.load(); ++i) {
      a->store(i);
      b->store(i);
    }
  });
  for (int round = 0; round < 200; ++round) {
    const Source sources[] = {third, second};
    auto both = engine->snapshot(sources);
    ASSERT_TRUE(both) << both.error().message();
    std::uint64_t seen_a = 0, seen_b = 0;
    ASSERT_TRUE((*both)[0].read(0, std::as_writable_bytes(std::span(&seen_b, 1))));
    ASSERT_TRUE((*both)[1].read(0, std::as_writable_bytes(std::span(&seen_a, 1))));
    EXPECT_LE(seen_b, seen_a);
    EXPECT_LE(seen_a, seen_b + 1);
  }
  stop = true;
  writer.join();
}

TEST_P(Copies, an_armed_region_has_only_what_was_written_since_to_protect) {
  write_pages(region, 0, kPages, 1000);
  ASSERT_TRUE(engine->arm(region));
  write_pages(region, 7, 8, 2000);
  const Snapshot before = snapshot(region);
  write_pages(region, 0, kPages, 3000);
  EXPECT_EQ(wrong_by_read(before, 0, 7, 1000), 0u);
  EXPECT_EQ(wrong_by_read(before, 7, 8, 2000), 0u);
  EXPECT_EQ(wrong_by_read(before, 8, kPages, 1000), 0u);
  EXPECT_EQ(wrong_pages(region, 0, kPages, 3000), 0u);
}

TEST_P(Copies, what_was_written_under_a_pin_is_in_the_next_snapshot_though_the_region_was_armed) {
  write_pages(region, 0, 4, 1000);
  auto pin = engine->pin(region.data(), kPageSize, Access::write);
  ASSERT_TRUE(pin) << pin.error().message();
  const Snapshot before = snapshot(region);
  pin->reset();
  write_pages(region, 0, 1, 2000);  // without a fault: the page stayed writable
  ASSERT_TRUE(engine->arm(region));
  const Snapshot after = snapshot(region);
  EXPECT_EQ(wrong_by_read(before, 0, 4, 1000), 0u);
  EXPECT_EQ(wrong_by_read(after, 0, 1, 2000), 0u);
  EXPECT_EQ(wrong_by_read(after, 1, 4, 1000), 0u);
}

TEST_P(Copies, freed_and_cut_off_pages_read_as_zeros_here_and_stay_in_the_copies) {
  write_pages(region, 0, kPages, 1000);
  Region child = clone(region);
  ASSERT_TRUE(region.advise(0, 64 * kPageSize, Advice::free));
  ASSERT_TRUE(child.advise(64 * kPageSize, 64 * kPageSize, Advice::free));
  EXPECT_EQ(nonzero_pages(region, 0, 64), 0u);
  EXPECT_EQ(nonzero_pages(child, 64, 128), 0u);
  EXPECT_EQ(wrong_pages(child, 0, 64, 1000), 0u);
  EXPECT_EQ(wrong_pages(region, 64, kPages, 1000), 0u);
  ASSERT_TRUE(child.resize(100 * kPageSize));
  ASSERT_TRUE(child.resize(kPages * kPageSize));
  EXPECT_EQ(nonzero_pages(child, 100, kPages), 0u);
  EXPECT_EQ(wrong_pages(region, 100, kPages, 1000), 0u);
}

TEST_P(Copies, a_thousand_snapshots_and_a_tree_a_thousand_deep_cost_no_more_per_fault) {
  write_pages(region, 0, 64, 1000);
  std::vector<Snapshot> snapshots;
  for (std::uint64_t i = 0; i < 1000; ++i) {
    write_page(page_at(region, i % 64), 10'000 + i);
    snapshots.push_back(snapshot(region));
    ASSERT_TRUE(snapshots.back());
  }
  for (std::uint64_t i = 0; i < 1000; i += 97) {
    EXPECT_EQ(wrong_by_read(snapshots[i], i % 64, i % 64 + 1, 10'000 + i - i % 64), 0u) << i;
  }
  const std::uint64_t copied = engine->stats().cow_copied;
  EXPECT_EQ(copied, 999u);  // a version each
  snapshots.clear();
  EXPECT_TRUE(all_is_well(*engine));
  std::vector<Region> tree;
  tree.push_back(clone(region));
  for (std::uint64_t i = 1; i < 1000; ++i) {
    tree.push_back(clone(tree.back()));
    ASSERT_TRUE(tree.back());
    write_page(page_at(tree.back(), i % 64), 20'000 + i);
  }
  EXPECT_TRUE(page_holds(page_at(tree.back(), 999 % 64), 20'999));
  EXPECT_TRUE(page_holds(page_at(tree[500], 500 % 64), 20'500));
  EXPECT_TRUE(page_holds(page_at(tree[500], 501 % 64), 20'000 + 501 - 64));
  for (std::size_t i = 0; i < tree.size(); i += 2) tree[i] = {};
  EXPECT_TRUE(page_holds(page_at(tree[501], 501 % 64), 20'501));
  tree.clear();
}

INSTANTIATE_TEST_SUITE_P(Delivery, Copies,
                         testing::Values(FaultDelivery::signal, FaultDelivery::thread),
                         [](const auto& kind) {
                           return kind.param == FaultDelivery::signal ? "signal" : "thread";
                         });

}  // namespace
}  // namespace holdfast::engine::test
