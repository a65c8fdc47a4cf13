// pmap `remap` on the real machine: in by copying and by carrying, out by the run.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "pmap/pmap.h"

namespace holdfast::pmap {
namespace {

constexpr std::uint32_t kWindow = kHugeSize / kPageSize;  // pages

// Serves nothing: what faults is a mistake of the test, except where it asks for zeros.
class Sink final : public sys::FaultSink {
 public:
  bool owns(Address address) const noexcept override {
    return address >= first && address < first + bytes;
  }
  sys::FaultOutcome on_fault(Address address, sys::Access) noexcept override {
    ++faults;
    alignas(kPageSize) static const std::byte zeros[kPageSize] = {};
    const Entered entered = pmap->enter_copy(address & ~(kPageSize - 1), zeros, 1);
    return entered.pages == 1 || entered.error == EEXIST ? sys::FaultOutcome::served
                                                         : sys::FaultOutcome::fatal;
  }
  Address first = 0;
  std::uint64_t bytes = 0;
  Pmap* pmap = nullptr;
  std::atomic<int> faults{0};
};

class RemapPmap : public testing::TestWithParam<bool> {
 protected:
  static constexpr std::uint64_t kBytes = 2 * kHugeSize;

  void SetUp() override {
    region = machine.reserve(kBytes, kHugeSize, sys::Purpose::region).value();
    pool = machine.reserve(kBytes, kHugeSize, sys::Purpose::pool).value();
    sink.first = region;
    sink.bytes = kBytes;
    auto made = create_remap(machine, {.allow_move = GetParam()}, sink);
    ASSERT_TRUE(made) << made.error().message();
    pmap = std::move(*made);
    sink.pmap = pmap.get();
    ASSERT_EQ(pmap->attach(region, kBytes), 0);
    from.resize((kWindow + 1) * kPageSize);
  }
  void TearDown() override {
    if (pmap != nullptr) {
      EXPECT_EQ(pmap->detach(region, kBytes), 0);
    }
    pmap.reset();
    machine.release(region, kBytes);
    machine.release(pool, kBytes);
  }

  // A source of that many pages, page i filled with i + 1.
  const std::byte* source(std::uint32_t pages) {
    std::byte* const first = reinterpret_cast<std::byte*>(
        round_up(reinterpret_cast<std::uintptr_t>(from.data()), kPageSize));
    for (std::uint32_t i = 0; i < pages; ++i) {
      std::memset(first + i * kPageSize, static_cast<int>(i + 1), kPageSize);
    }
    return first;
  }
  [[nodiscard]] static std::uint32_t page_byte(Address first, std::uint32_t page) {
    return *reinterpret_cast<volatile std::uint8_t*>(first + page * kPageSize + 17);
  }

  sys::Machine& machine = sys::real_machine();
  Address region = 0, pool = 0;
  Sink sink;
  std::unique_ptr<Pmap> pmap;
  std::vector<std::byte> from;
};

TEST_P(RemapPmap, a_run_enters_by_copy_and_is_read_without_a_fault) {
  const Entered entered = pmap->enter_copy(region, source(64), 64);
  EXPECT_EQ(entered.pages, 64u);
  EXPECT_EQ(entered.error, 0);
  for (std::uint32_t i = 0; i < 64; ++i) EXPECT_EQ(page_byte(region, i), i + 1);
  EXPECT_EQ(sink.faults, 0);
}

TEST_P(RemapPmap, a_copy_stops_at_a_page_that_is_there) {
  ASSERT_EQ(pmap->enter_copy(region + 5 * kPageSize, source(1), 1).pages, 1u);
  const Entered entered = pmap->enter_copy(region, source(8), 8);
  EXPECT_EQ(entered.pages, 5u);
  EXPECT_EQ(entered.error, EEXIST);
  EXPECT_EQ(page_byte(region, 4), 5u);
  EXPECT_EQ(page_byte(region, 5), 1u);
}

TEST_P(RemapPmap, a_copy_to_where_nothing_is_managed_is_refused) {
  const Entered entered = pmap->enter_copy(pool, source(1), 1);
  EXPECT_EQ(entered.pages, 0u);
  EXPECT_EQ(entered.error, ENOENT);
}

TEST_P(RemapPmap, what_is_removed_stands_in_the_pool_and_is_missing_in_the_region) {
  ASSERT_EQ(pmap->enter_copy(region, source(16), 16).pages, 16u);
  *reinterpret_cast<volatile std::uint8_t*>(region + 3 * kPageSize + 17) = 99;
  ASSERT_EQ(pmap->remove(pool, region, 16 * kPageSize), 0);
  for (std::uint32_t i = 0; i < 16; ++i) EXPECT_EQ(page_byte(pool, i), i == 3 ? 99 : i + 1);
  EXPECT_EQ(page_byte(region, 3), 0u);  // it faulted
  EXPECT_EQ(sink.faults, 1);
}

TEST_P(RemapPmap, a_whole_window_leaves_with_its_holes) {
  ASSERT_EQ(pmap->enter_copy(region + 7 * kPageSize, source(1), 1).pages, 1u);
  ASSERT_EQ(pmap->enter_copy(region + 500 * kPageSize, source(1), 1).pages, 1u);
  ASSERT_EQ(pmap->remove(pool, region, kHugeSize), 0);
  EXPECT_EQ(page_byte(pool, 7), 1u);
  EXPECT_EQ(page_byte(pool, 500), 1u);
  EXPECT_EQ(page_byte(pool, 8), 0u);
  EXPECT_EQ(page_byte(region, 7), 0u);
  EXPECT_EQ(sink.faults, 1);
}

TEST_P(RemapPmap, what_is_dropped_is_missing_in_the_region_and_zero_in_the_pool) {
  ASSERT_EQ(pmap->enter_copy(region, source(4), 4).pages, 4u);
  ASSERT_EQ(pmap->drop(region + kPageSize, 2 * kPageSize), 0);
  EXPECT_EQ(page_byte(region, 0), 1u);
  EXPECT_EQ(page_byte(region, 1), 0u);
  EXPECT_EQ(page_byte(region, 3), 4u);
  EXPECT_EQ(sink.faults, 1);
  std::memset(machine.view(pool), 5, kPageSize);
  ASSERT_EQ(pmap->drop(pool, kPageSize), 0);
  EXPECT_EQ(page_byte(pool, 0), 0u);
}

TEST_P(RemapPmap, a_run_that_left_is_carried_back_where_the_kernel_can) {
  if (!GetParam()) {
    EXPECT_FALSE(pmap->can_move());
    return;
  }
  if (!pmap->can_move()) GTEST_SKIP() << "this kernel has no UFFDIO_MOVE";
  ASSERT_EQ(pmap->enter_copy(region, source(32), 32).pages, 32u);
  ASSERT_EQ(pmap->remove(pool, region, 32 * kPageSize), 0);
  const Entered entered = pmap->enter_move(region, pool, 32);
  EXPECT_EQ(entered.pages, 32u) << entered.error;
  for (std::uint32_t i = 0; i < 32; ++i) EXPECT_EQ(page_byte(region, i), i + 1);
  EXPECT_EQ(sink.faults, 0);
  EXPECT_EQ(page_byte(pool, 0), 0u);  // nothing is left there

  // A hole stops it; what came before it is there.
  ASSERT_EQ(pmap->remove(pool, region, 32 * kPageSize), 0);
  ASSERT_EQ(pmap->drop(pool + 9 * kPageSize, kPageSize), 0);
  const Entered partly = pmap->enter_move(region, pool, 32);
  EXPECT_EQ(partly.pages, 9u);
  EXPECT_EQ(partly.error, ENOENT);
  EXPECT_EQ(page_byte(region, 8), 9u);
}

TEST_P(RemapPmap, its_description_says_whether_it_moves) {
  const std::string text = pmap->description();
  EXPECT_NE(text.find("remap"), std::string::npos) << text;
  if (!pmap->can_move()) {
    EXPECT_EQ(text.find(", MOVE"), std::string::npos) << text;
  }
}

TEST_P(RemapPmap, no_store_is_lost_when_its_page_is_removed) {
  // The program counts in a page that is taken away and brought back all the time. A page that is
  // missing comes back by a fault, so its count is added up where it stands in the pool.
  std::atomic<bool> done{false};
  std::uint64_t counted = 0;
  std::thread program([&] {
    for (int i = 0; i < 20'000; ++i) {
      reinterpret_cast<std::atomic<std::uint64_t>*>(region)->fetch_add(1);
      ++counted;
    }
    done = true;
  });
  std::uint64_t seen = 0;
  const auto take_away = [&] {
    EXPECT_EQ(pmap->remove(pool, region, kPageSize), 0);
    seen += *reinterpret_cast<volatile std::uint64_t*>(pool);
    EXPECT_EQ(pmap->drop(pool, kPageSize), 0);
  };
  while (!done) take_away();
  program.join();
  take_away();
  EXPECT_EQ(seen, counted);
}

INSTANTIATE_TEST_SUITE_P(Means, RemapPmap, testing::Bool(),
                         [](const auto& p) { return p.param ? "move" : "copy"; });

}  // namespace
}  // namespace holdfast::pmap
