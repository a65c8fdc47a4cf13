#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "sys/cpu_follower.h"
#include "sys/real_fixture.h"

namespace holdfast::sys::test {
namespace {

class ThreadDelivery : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = no_thread_delivery(); !reason.empty()) GTEST_SKIP() << reason;
  }
};
using ThreadDeliveryDeathTest = ThreadDelivery;

TEST_F(ThreadDelivery, a_missing_page_is_served_by_the_handler_thread) {
  const ServedRegion r(Delivery::thread);
  EXPECT_EQ(r.region.word(3), PatternSink::kSalt + 3);
  r.region.word(4) = 9;
  EXPECT_EQ(r.region.word(4), 9u);
  EXPECT_EQ(r.sink.reads, 1u);
  EXPECT_EQ(r.sink.writes, 1u);
}

TEST_F(ThreadDelivery, a_system_call_may_write_into_a_page_that_is_missing) {
  const ServedRegion r(Delivery::thread);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const std::uint64_t sent = 0x1122334455667788;
  ASSERT_EQ(write(ends[1], &sent, sizeof(sent)), static_cast<ssize_t>(sizeof(sent)));
  EXPECT_EQ(read(ends[0], reinterpret_cast<void*>(r.region.address(7)), sizeof(sent)),
            static_cast<ssize_t>(sizeof(sent)));
  EXPECT_EQ(r.region.word(7), sent);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(ThreadDelivery, a_system_call_may_read_from_a_page_that_is_missing) {
  const ServedRegion r(Delivery::thread);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::uint64_t got = 0;
  EXPECT_EQ(write(ends[1], reinterpret_cast<void*>(r.region.address(9)), sizeof(got)),
            static_cast<ssize_t>(sizeof(got)));
  ASSERT_EQ(read(ends[0], &got, sizeof(got)), static_cast<ssize_t>(sizeof(got)));
  EXPECT_EQ(got, PatternSink::kSalt + 9);
  close(ends[0]);
  close(ends[1]);
}

TEST(SignalDelivery, a_system_call_on_a_missing_page_gets_EFAULT) {
  const ServedRegion r(Delivery::signal);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], reinterpret_cast<void*>(r.region.address(9)), 8), -1);
  EXPECT_EQ(errno, EFAULT);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(ThreadDelivery, a_thread_that_blocks_all_signals_is_served) {
  const ServedRegion r(Delivery::thread);
  std::uint64_t seen = 0;
  std::thread blocker([&] {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    seen = r.region.word(2);
  });
  blocker.join();
  EXPECT_EQ(seen, PatternSink::kSalt + 2);
}

TEST_F(ThreadDelivery, many_threads_fault_at_once) {
  constexpr std::uint64_t kThreads = 6;
  constexpr std::uint64_t kPages = 1024;
  const ServedRegion r(Delivery::thread, kPages);
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (std::uint64_t i = 0; i < kPages; ++i) {
        const std::uint64_t page = (i * 7 + t) % kPages;
        if (r.region.word(page) != PatternSink::kSalt + page) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

TEST_F(ThreadDelivery, sources_open_and_close_many_times) {
  for (std::uint64_t i = 0; i < 50; ++i) {
    const ServedRegion r(Delivery::thread, 4);
    EXPECT_EQ(r.region.word(i % 4), PatternSink::kSalt + i % 4);
  }
}

TEST_F(ThreadDeliveryDeathTest, a_fault_that_cannot_be_served_ends_the_program_with_sigbus) {
  EXPECT_EXIT(
      {
        signal(SIGBUS, SIG_DFL);
        const ServedRegion r(Delivery::thread, 4);
        r.sink.fatal = true;
        r.region.word(0) = 1;
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST(CpuFollower, the_processor_is_field_39_whatever_the_name_holds) {
  const std::string tail =
      " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 "
      "33 "
      "34 35 5 0 0 0";
  EXPECT_EQ(CpuFollower::cpu_in_stat(("123 (name)" + tail).c_str()), 5);
  EXPECT_EQ(CpuFollower::cpu_in_stat(("123 (a ) b (c)" + tail).c_str()), 5);
}

TEST(CpuFollower, a_text_that_is_cut_short_gives_no_cpu) {
  EXPECT_EQ(CpuFollower::cpu_in_stat(""), -1);
  EXPECT_EQ(CpuFollower::cpu_in_stat("123 (name"), -1);
  EXPECT_EQ(CpuFollower::cpu_in_stat("123 (name) S 1 2 3"), -1);
}

}  // namespace
}  // namespace holdfast::sys::test
