#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "sys/real_fixture.h"

namespace holdfast::sys::test {
namespace {

using Page = std::array<std::byte, kPageSize>;

TEST(FaultSource, a_missing_page_is_served_by_the_faulting_thread) {
  const ServedRegion r(Delivery::signal);
  EXPECT_EQ(r.region.word(3), PatternSink::kSalt + 3);
  EXPECT_EQ(r.region.word(3), PatternSink::kSalt + 3);
  EXPECT_EQ(r.sink.reads, 1u);
  EXPECT_EQ(r.sink.writes, 0u);
}

TEST(FaultSource, a_write_fault_says_that_it_is_a_write) {
  const ServedRegion r(Delivery::signal);
  r.region.word(5) = 7;
  EXPECT_EQ(r.region.word(5), 7u);
  EXPECT_EQ(r.sink.reads, 0u);
  EXPECT_EQ(r.sink.writes, 1u);
}

TEST(FaultSource, a_fault_leaves_errno_as_it_was) {
  const ServedRegion r(Delivery::signal);
  errno = 4242;
  const std::uint64_t seen = r.region.word(1);
  EXPECT_EQ(errno, 4242);
  EXPECT_EQ(seen, PatternSink::kSalt + 1);
}

TEST(FaultSource, copy_stops_at_a_page_that_is_there_and_tells_how_far_it_came) {
  const ServedRegion r(Delivery::signal);
  const std::vector<std::byte> data(8 * kPageSize, std::byte{9});
  ASSERT_EQ(r.source->copy(r.region.address(5), data.data(), kPageSize).error, 0);
  const Transfer did = r.source->copy(r.region.address(0), data.data(), 8 * kPageSize);
  EXPECT_EQ(did.done, 5 * kPageSize);
  EXPECT_EQ(did.error, EEXIST);
  const Transfer again = r.source->copy(r.region.address(5), data.data(), kPageSize);
  EXPECT_EQ(again.done, 0u);
  EXPECT_EQ(again.error, EEXIST);
}

TEST(FaultSource, copy_to_what_is_not_registered_says_ENOENT) {
  const ServedRegion r(Delivery::signal);
  const Reserved other(kPageSize, Purpose::table);
  const Page data{};
  EXPECT_EQ(r.source->copy(other.address(), data.data(), kPageSize).error, ENOENT);
}

TEST(FaultSource, copy_past_the_end_of_the_registered_range_does_what_is_registered) {
  const Reserved region(16 * kPageSize, Purpose::region);
  PatternSink sink;
  auto source = real_machine().open_faults({}, sink);
  ASSERT_TRUE(source) << source.error().message();
  ASSERT_EQ((*source)->register_range(region.address(), 5 * kPageSize), 0);
  const std::vector<std::byte> data(16 * kPageSize, std::byte{1});
  const Transfer did = (*source)->copy(region.address(), data.data(), 16 * kPageSize);
  EXPECT_EQ(did.done, 5 * kPageSize);
  EXPECT_EQ(did.error, ENOENT);
  EXPECT_EQ((*source)->unregister_range(region.address(), 5 * kPageSize), 0);
}

TEST(FaultSource, copy_from_memory_that_is_not_there_says_EFAULT) {
  const ServedRegion r(Delivery::signal);
  void* const hole = mmap(nullptr, kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(hole, MAP_FAILED);
  const Transfer did = r.source->copy(r.region.address(), static_cast<std::byte*>(hole), kPageSize);
  EXPECT_EQ(did.done, 0u);
  EXPECT_EQ(did.error, EFAULT);
  munmap(hole, kPageSize);
}

// Moves need Linux 6.8.
class FaultSourceMove : public testing::Test {
 protected:
  void SetUp() override {
    if (!probe_capabilities().has_move) GTEST_SKIP() << "this kernel has no UFFDIO_MOVE";
  }
};

TEST_F(FaultSourceMove, a_page_is_carried_and_missing_where_it_was) {
  const ServedRegion r(Delivery::signal);
  const Reserved pool(kWindow, Purpose::pool);
  pool.word(2) = 77;
  const Transfer did = r.source->move(r.region.address(1), pool.address(2), kPageSize);
  EXPECT_EQ(did.done, kPageSize);
  EXPECT_EQ(did.error, 0);
  EXPECT_EQ(r.region.word(1), 77u);
  EXPECT_EQ(pool.word(2), 0u);
  EXPECT_EQ(r.sink.reads, 0u);
}

TEST_F(FaultSourceMove, a_run_stops_at_a_page_that_is_there) {
  const ServedRegion r(Delivery::signal);
  const Reserved pool(kWindow, Purpose::pool);
  for (std::uint64_t i = 0; i < 8; ++i) pool.word(i) = 100 + i;
  ASSERT_EQ(r.region.word(3), PatternSink::kSalt + 3);
  const Transfer did = r.source->move(r.region.address(0), pool.address(0), 8 * kPageSize);
  EXPECT_EQ(did.done, 3 * kPageSize);
  EXPECT_EQ(did.error, EEXIST);
  EXPECT_EQ(r.region.word(2), 102u);
  EXPECT_EQ(pool.word(3), 103u);
}

// Linux 6.18 may move a batch and then say EEXIST for it: what it leaves behind, and what we find
// when we go on, is the same as if the pages had been moved one by one before.
TEST_F(FaultSourceMove, a_run_counts_what_the_kernel_has_carried_without_telling) {
  const ServedRegion r(Delivery::signal);
  const Reserved pool(kWindow, Purpose::pool);
  for (std::uint64_t i = 0; i < 8; ++i) pool.word(i) = 100 + i;
  for (std::uint64_t i : {0, 1, 4, 5, 7}) {
    ASSERT_EQ(r.source->move(r.region.address(i), pool.address(i), kPageSize).error, 0);
  }
  EXPECT_EQ(pool.word(5), 0u);  // somebody still reads there: the kernel's page of zeros now
  const Transfer did = r.source->move(r.region.address(0), pool.address(0), 8 * kPageSize);
  EXPECT_EQ(did.done, 8 * kPageSize);
  EXPECT_EQ(did.error, 0);
  for (std::uint64_t i = 0; i < 8; ++i) EXPECT_EQ(r.region.word(i), 100 + i);
  EXPECT_EQ(r.sink.reads, 0u);
}

TEST_F(FaultSourceMove, a_run_is_told_whole_while_the_kernel_changes_the_entries_of_its_pages) {
  constexpr std::uint64_t kRun = 64;
  constexpr std::uint64_t kRounds = 2000;
  const ServedRegion r(Delivery::signal, kRun);
  const Reserved pool(kRun * kPageSize, Purpose::pool);
  std::atomic<bool> stop{false};
  std::thread ager([&] {
    while (!stop) madvise(reinterpret_cast<void*>(pool.address()), pool.bytes(), MADV_COLD);
  });
  for (std::uint64_t round = 1; round <= kRounds && !HasFailure(); ++round) {
    for (std::uint64_t i = 0; i < kRun; ++i) pool.word(i) = round * kRun + i;
    const Transfer did = r.source->move(r.region.address(0), pool.address(0), kRun * kPageSize);
    EXPECT_EQ(did.done, kRun * kPageSize) << "round " << round;
    EXPECT_EQ(did.error, 0) << "round " << round;
    for (std::uint64_t i = 0; i < kRun; ++i) EXPECT_EQ(r.region.word(i), round * kRun + i);
    real_machine().discard(r.region.address(0), kRun * kPageSize);
  }
  stop = true;
  ager.join();
  EXPECT_EQ(r.sink.reads, 0u);
}

TEST_F(FaultSourceMove, a_run_stops_at_a_hole_in_the_source) {
  const ServedRegion r(Delivery::signal);
  const Reserved pool(kWindow, Purpose::pool);
  for (std::uint64_t i = 0; i < 8; ++i) {
    if (i != 4) pool.word(i) = 100 + i;
  }
  const Transfer did = r.source->move(r.region.address(0), pool.address(0), 8 * kPageSize);
  EXPECT_EQ(did.done, 4 * kPageSize);
  EXPECT_EQ(did.error, ENOENT);
}

TEST_F(FaultSourceMove, a_run_crosses_from_one_window_of_the_pool_into_the_next) {
  // Windows that left a region stand in mappings of their own, which the kernel moves out of only
  // one by one.
  const ServedRegion r(Delivery::signal, 1024);
  const Reserved pool(2 * kWindow, Purpose::pool, kWindow);
  constexpr std::uint64_t kWindowPages = kWindow / kPageSize;
  for (std::uint64_t i = 0; i < 2 * kWindowPages; ++i) r.region.word(i) = 1000 + i;
  for (std::uint64_t w : {1, 0}) {
    ASSERT_EQ(real_machine().remap_out(pool.address(w * kWindowPages),
                                       r.region.address(w * kWindowPages), kWindow),
              0);
  }
  const std::uint64_t from = kWindowPages - 3;
  const Transfer did = r.source->move(r.region.address(10), pool.address(from), 7 * kPageSize);
  EXPECT_EQ(did.error, 0);
  EXPECT_EQ(did.done, 7 * kPageSize);
  for (std::uint64_t i = 0; i < 7; ++i) EXPECT_EQ(r.region.word(10 + i), 1000 + from + i);
}

TEST_F(FaultSourceMove, to_what_is_not_registered_is_refused) {
  const ServedRegion r(Delivery::signal);
  const Reserved pool(2 * kPageSize, Purpose::pool);
  pool.word(0) = 1;
  const Transfer did = r.source->move(pool.address(1), pool.address(0), kPageSize);
  EXPECT_EQ(did.done, 0u);
  EXPECT_EQ(did.error, EINVAL);
}

TEST_F(FaultSourceMove, is_off_where_the_options_say_so) {
  const ServedRegion r(Delivery::signal, 16, false);
  EXPECT_FALSE(r.source->can_move());
  EXPECT_EQ(r.source->move(r.region.address(), r.region.address(1), kPageSize).error, EOPNOTSUPP);
}

TEST(RemapOut, a_window_leaves_whole_and_faults_again) {
  const ServedRegion r(Delivery::signal, 1024);
  const Reserved pool(kWindow, Purpose::pool, kWindow);
  r.region.word(0) = 11;
  r.region.word(511) = 12;
  ASSERT_EQ(real_machine().remap_out(pool.address(), r.region.address(), kWindow), 0);
  EXPECT_EQ(pool.word(0), 11u);
  EXPECT_EQ(pool.word(511), 12u);
  EXPECT_EQ(r.region.word(0), PatternSink::kSalt);
  EXPECT_EQ(r.sink.reads, 1u);
}

// Brings one page back from the pool. `moving` keeps the mover and the handler apart, as an entry's
// lock does in the engine; the writer's stores are held by nothing.
class BringBackSink : public FaultSink {
 public:
  BringBackSink(const Reserved& region, const Reserved& pool) : region_(region), pool_(pool) {}
  bool owns(Address a) const noexcept override {
    return a >= region_.address() && a < region_.address() + region_.bytes();
  }
  FaultOutcome on_fault(Address a, Access) noexcept override {
    while (moving.test_and_set(std::memory_order_acquire)) sync::parking().relax();
    const Transfer did =
        source->copy(a & ~(kPageSize - 1), real_machine().view(pool_.address()), kPageSize);
    present.store(1);
    sync::parking().wake(present, 1);
    moving.clear(std::memory_order_release);
    return did.error == 0 || did.error == EEXIST ? FaultOutcome::served : FaultOutcome::fatal;
  }

  FaultSource* source = nullptr;
  std::atomic_flag moving;
  std::atomic<std::uint32_t> present{0};

 private:
  const Reserved& region_;
  const Reserved& pool_;
};

TEST(RemapOut, a_store_that_races_with_it_is_never_lost) {
  // The writer counts a word up without pause. Each value lands before the window leaves, and is
  // then in the pool, or after, and then faults.
  const Reserved pool(kWindow, Purpose::pool, kWindow);
  const Reserved region(kWindow, Purpose::region, kWindow);
  BringBackSink sink(region, pool);
  auto source = real_machine().open_faults({}, sink);
  ASSERT_TRUE(source) << source.error().message();
  sink.source = source->get();
  ASSERT_EQ((*source)->register_range(region.address(), kWindow), 0);

  std::atomic<bool> stop{false};
  std::uint64_t stored = 0;
  std::uint64_t lost = 0;
  std::thread writer([&] {
    volatile std::uint64_t& word = region.word(0);
    while (!stop.load(std::memory_order_relaxed)) {
      if (word != stored) ++lost;
      word = ++stored;
    }
  });
  for (int round = 0; round < 2000; ++round) {
    while (sink.present.load() == 0) sync::parking().wait(sink.present, 0, 0);
    while (sink.moving.test_and_set(std::memory_order_acquire)) sync::parking().relax();
    ASSERT_EQ(real_machine().remap_out(pool.address(), region.address(), kWindow), 0);
    sink.present.store(0);
    sink.moving.clear(std::memory_order_release);
  }
  stop = true;
  writer.join();
  EXPECT_EQ(lost, 0u);
  EXPECT_GT(stored, 0u);
  EXPECT_EQ(region.word(0), stored);
  EXPECT_EQ((*source)->unregister_range(region.address(), kWindow), 0);
}

TEST(FaultSource, an_unregistered_range_reads_as_zeros_again) {
  const Reserved region(4 * kPageSize, Purpose::region);
  PatternSink sink;
  auto source = real_machine().open_faults({}, sink);
  ASSERT_TRUE(source) << source.error().message();
  ASSERT_EQ((*source)->register_range(region.address(), region.bytes()), 0);
  ASSERT_EQ((*source)->unregister_range(region.address(), region.bytes()), 0);
  EXPECT_EQ(region.word(0), 0u);
  EXPECT_EQ(sink.reads, 0u);
}

TEST(FaultSource, a_range_of_another_source_is_refused) {
  const ServedRegion r(Delivery::signal);
  PatternSink sink;
  auto other = real_machine().open_faults({}, sink);
  ASSERT_TRUE(other) << other.error().message();
  EXPECT_EQ((*other)->register_range(r.region.address(), kPageSize), EBUSY);
}

TEST(FaultSource, its_description_says_how_it_was_opened_and_what_it_can_do) {
  const ServedRegion with(Delivery::signal, 4);
  const ServedRegion without(Delivery::signal, 4, false);
  EXPECT_NE(std::string(with.source->description()).find("userfaultfd"), std::string::npos);
  EXPECT_NE(std::string(without.source->description()).find("COPY"), std::string::npos);
}

}  // namespace
}  // namespace holdfast::sys::test
