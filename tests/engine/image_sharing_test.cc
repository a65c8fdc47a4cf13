// Images together with clones and snapshots: saving what a running program goes on writing to, and
// sharing memory that has not even been read from its image.
#include <gtest/gtest.h>

#include <random>
#include <thread>

#include "engine/image_engine.h"
#include "support/seed.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kBudgetPages = kBudget / kPageSize;
constexpr std::uint64_t kPages = 2 * kBudgetPages;

class EngineImageSharing : public testing::Test {
 protected:
  void SetUp() override { engine = make_engine(small_options()); }
  void TearDown() override {
    EXPECT_TRUE(all_is_well(*engine));
    EXPECT_EQ(engine->stats().managed_bytes, 0u);
  }
  [[nodiscard]] std::string file(const std::string& name) const { return directory.file(name); }
  // A region restored from an image of memory as fill() makes it.
  [[nodiscard]] Region restored() {
    fill(memory);
    EXPECT_TRUE(save_to(Snapshot(&memory), file("image")));
    auto region = restore_from(*engine, file("image"));
    EXPECT_TRUE(region) << region.error().message();
    return std::move(*region);
  }
  static bool same(const Snapshot& snapshot, std::uint64_t page, PlainSnapshot& expected) {
    std::vector<std::byte> room(kPageSize);
    const auto read = snapshot.read(page * kPageSize, room);
    EXPECT_TRUE(read) << read.error().message();
    return std::memcmp(room.data(), expected.page(page), kPageSize) == 0;
  }
  tests::TempDirectory directory;
  PlainSnapshot memory{kPages};
  std::unique_ptr<Engine> engine;
};

TEST_F(EngineImageSharing, an_image_holds_the_moment_of_its_snapshot_while_the_program_writes_on) {
  Region region = map(*engine, kPages * kPageSize);
  for (std::uint64_t page = 0; page < kPages; page += 2) {
    write_page(page_at(region, page), page + 1);
  }
  auto snapshot = engine->snapshot(region);
  ASSERT_TRUE(snapshot) << snapshot.error().message();
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    std::mt19937_64 chance(1);
    while (!stop) write_page(page_at(region, chance() % kPages), 1'000'000);
  });
  const auto report = save_to(*snapshot, file("image"));
  stop = true;
  writer.join();
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->data_bytes, kPages / 2 * kPageSize);
  ASSERT_TRUE(snapshot->drop());
  ASSERT_TRUE(region.unmap());
  auto again = restore_from(*engine, file("image"));
  ASSERT_TRUE(again);
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_TRUE(page % 2 == 0 ? page_holds(page_at(*again, page), page + 1)
                              : page_is_zero(page_at(*again, page)))
        << page;
  }
}

TEST_F(EngineImageSharing, incremental_saves_of_live_memory_chain) {
  Region region = map(*engine, kPages * kPageSize);
  for (std::uint64_t page = 0; page < kPages; ++page) write_page(page_at(region, page), page + 1);
  auto before = engine->snapshot(region);
  ASSERT_TRUE(before);
  ASSERT_TRUE(save_to(*before, file("0")));
  for (int step = 1; step <= 4; ++step) {
    for (std::uint64_t page = 0; page < 20; ++page) {
      write_page(page_at(region, page * 7 + static_cast<unsigned>(step)), 1000U * step + page);
    }
    auto now = engine->snapshot(region);
    ASSERT_TRUE(now) << now.error().message();
    const auto base = Image::open(file(std::to_string(step - 1)));
    ASSERT_TRUE(base) << base.error().message();
    const auto report =
        save_to(*now, file(std::to_string(step)), {.base = &*base, .since = &*before});
    ASSERT_TRUE(report) << report.error().message();
    EXPECT_EQ(report->data_bytes, 20 * kPageSize);
    EXPECT_EQ(report->unchanged_bytes, (kPages - 20) * kPageSize);
    before = std::move(now);
  }
  auto again = restore_from(*engine, file("4"));
  ASSERT_TRUE(again) << again.error().message();
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_EQ(std::memcmp(page_at(*again, page), page_at(region, page), kPageSize), 0) << page;
  }
}

TEST_F(EngineImageSharing, a_clone_of_restored_memory_goes_its_own_way) {
  Region region = restored();
  write_page(page_at(region, 1), 111);
  EXPECT_TRUE(same_page(region, 2, memory));
  auto clone = engine->clone(region);
  ASSERT_TRUE(clone) << clone.error().message();
  write_page(page_at(region, 3), 333);
  write_page(page_at(*clone, 4), 444);
  write_page(page_at(region, 700), 777);  // a leaf that nobody had touched
  ASSERT_TRUE(region.advise(800 * kPageSize, 100 * kPageSize, Advice::free));
  for (std::uint64_t page = 0; page < kPages; ++page) {
    if (page == 1) {
      ASSERT_TRUE(page_holds(page_at(*clone, page), 111));
    } else if (page == 4) {
      ASSERT_TRUE(page_holds(page_at(*clone, page), 444));
    } else {
      ASSERT_TRUE(same_page(*clone, page, memory)) << page;
    }
  }
  ASSERT_TRUE(clone->unmap());
  EXPECT_TRUE(page_holds(page_at(region, 1), 111));
  EXPECT_TRUE(page_holds(page_at(region, 3), 333));
  EXPECT_TRUE(same_page(region, 4, memory));
  EXPECT_TRUE(page_holds(page_at(region, 700), 777));
  EXPECT_TRUE(page_is_zero(page_at(region, 850)));
  EXPECT_TRUE(same_page(region, 900, memory));
}

TEST_F(EngineImageSharing, a_clone_outlives_the_region_that_was_restored) {
  Region region = restored();
  auto clone = engine->clone(region);
  ASSERT_TRUE(clone);
  ASSERT_TRUE(region.unmap());
  std::filesystem::remove(file("image"));
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_TRUE(same_page(*clone, page, memory)) << page;
  }
}

TEST_F(EngineImageSharing, what_a_clone_cuts_off_does_not_come_back_when_it_grows) {
  Region region = restored();
  ASSERT_TRUE(region.resize(100 * kPageSize));
  auto clone = engine->clone(region);
  ASSERT_TRUE(clone);
  ASSERT_TRUE(clone->resize(kPages * kPageSize));
  ASSERT_TRUE(region.resize(kPages * kPageSize));
  for (std::uint64_t page = 0; page < kPages; ++page) {
    if (page < 100) {
      ASSERT_TRUE(same_page(*clone, page, memory)) << page;
    } else {
      ASSERT_TRUE(page_is_zero(page_at(*clone, page))) << page;
      ASSERT_TRUE(page_is_zero(page_at(region, page))) << page;
    }
  }
}

TEST_F(EngineImageSharing, snapshots_of_restored_memory_read_what_was_never_touched) {
  Region region = restored();
  write_page(page_at(region, 1), 111);
  auto before = engine->snapshot(region);
  ASSERT_TRUE(before) << before.error().message();
  write_page(page_at(region, 2), 222);
  write_page(page_at(region, 1500), 333);
  auto after = engine->snapshot(region);
  ASSERT_TRUE(after) << after.error().message();
  for (std::uint64_t page = 0; page < kPages; page += 3) {
    ASSERT_TRUE(page == 1 || same(*before, page, memory)) << page;
  }
  EXPECT_EQ(std::memcmp(before->data() + 1500 * kPageSize, memory.page(1500), kPageSize), 0)
      << "as memory, too";
  std::uint64_t data = 0;
  ASSERT_TRUE(before->for_each_run(
      [&](const holdfast::Run& run) { data += run.kind == RunKind::data ? run.bytes : 0; }));
  EXPECT_GE(data, kPages * kPageSize * 4 / 5 - kPageSize);
  const auto differs = after->diff(*before);
  ASSERT_TRUE(differs) << differs.error().message();
  ASSERT_EQ(differs->size(), 2u);
  EXPECT_EQ((*differs)[0].offset, 2 * kPageSize);
  EXPECT_EQ((*differs)[1].offset, 1500 * kPageSize);
}

TEST_F(EngineImageSharing, restored_memory_is_saved_incrementally_against_its_image) {
  Region region = restored();
  write_page(page_at(region, 10), 1010);
  auto snapshot = engine->snapshot(region);
  ASSERT_TRUE(snapshot);
  const auto base = Image::open(file("image"));
  const auto report = save_to(*snapshot, file("next"), {.base = &*base});
  ASSERT_TRUE(report) << report.error().message();
  EXPECT_EQ(report->data_bytes, kPageSize);
  ASSERT_TRUE(snapshot->drop());
  ASSERT_TRUE(region.unmap());
  auto again = restore_from(*engine, file("next"));
  ASSERT_TRUE(again) << again.error().message();
  for (std::uint64_t page = 0; page < kPages; ++page) {
    ASSERT_TRUE(page == 10 ? page_holds(page_at(*again, page), 1010)
                           : same_page(*again, page, memory))
        << page;
  }
}

TEST_F(EngineImageSharing, snapshots_of_different_images_are_not_taken_for_the_same) {
  Region one = restored();
  PlainSnapshot other(kPages);
  write_page(other.page(5), 5);
  ASSERT_TRUE(save_to(Snapshot(&other), file("other")));
  auto two = restore_from(*engine, file("other"));
  ASSERT_TRUE(two);
  Region empty = map(*engine, kPages * kPageSize);
  auto a = engine->snapshot(one), b = engine->snapshot(*two), c = engine->snapshot(empty);
  ASSERT_TRUE(a && b && c);
  std::uint64_t unchanged = 0;
  auto count = [&](const holdfast::Run& run) {
    unchanged += run.kind == RunKind::unchanged ? run.bytes : 0;
  };
  ASSERT_TRUE(a->for_each_run(count, &*b));
  ASSERT_TRUE(a->for_each_run(count, &*c));
  ASSERT_TRUE(c->for_each_run(count, &*a));
  EXPECT_EQ(unchanged, 0u);
  EXPECT_EQ(b->diff(*c)->size(), 1u);
}

}  // namespace
}  // namespace holdfast::engine::test
