#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "sys/real/memory_limit.h"
#include "sys/real/real_parking.h"
#include "sys/real_fixture.h"

namespace holdfast::sys::test {
namespace {

TEST(RealMachine, reserved_memory_is_aligned_as_asked_and_zero) {
  for (std::uint64_t align = kPageSize; align <= std::uint64_t{1} << 30; align *= 8) {
    const Reserved memory(3 * kPageSize, Purpose::pool, align);
    EXPECT_EQ(memory.address() % align, 0u);
    EXPECT_EQ(memory.word(0), 0u);
    EXPECT_EQ(memory.word(2), 0u);
  }
}

// ThreadSanitizer leaves the program about 1.5 TiB of addresses, broken up at random.
#if defined(__SANITIZE_THREAD__)
constexpr std::uint64_t kVast = std::uint64_t{1} << 36;
#else
constexpr std::uint64_t kVast = std::uint64_t{1} << 40;
#endif

TEST(RealMachine, a_tebibyte_is_reserved_and_costs_memory_only_where_it_is_touched) {
  const std::uint64_t before = real_machine().resident_bytes();
  const Reserved memory(kVast, Purpose::region, kHugeSize);
  memory.word(0) = 1;
  memory.word(kVast / kPageSize - 1) = 2;
  EXPECT_LT(real_machine().resident_bytes(), before + (std::uint64_t{8} << 20));
}

TEST(RealMachine, more_than_the_address_space_is_refused) {
  const auto address = real_machine().reserve(std::uint64_t{1} << 60, kPageSize, Purpose::region);
  ASSERT_FALSE(address);
  EXPECT_EQ(address.error().code, Errc::out_of_memory);
  EXPECT_EQ(address.error().os_errno, ENOMEM);
  EXPECT_STRNE(address.error().remedy, "");
  const auto wrapping = real_machine().reserve(~std::uint64_t{0} << 12, kHugeSize, Purpose::pool);
  EXPECT_FALSE(wrapping);
}

TEST(RealMachine, discarded_memory_reads_as_zeros) {
  const Reserved memory(4 * kPageSize, Purpose::pool);
  for (std::uint64_t i = 0; i < 4; ++i) memory.word(i) = i + 1;
  EXPECT_EQ(real_machine().discard(memory.address(1), 2 * kPageSize), 0);
  EXPECT_EQ(memory.word(0), 1u);
  EXPECT_EQ(memory.word(1), 0u);
  EXPECT_EQ(memory.word(2), 0u);
  EXPECT_EQ(memory.word(3), 4u);
}

TEST(RealMachine, discard_of_what_is_not_there_says_so_and_leaves_errno) {
  const Reserved brief(kPageSize, Purpose::pool);
  const Address address = brief.address();
  real_machine().release(address, kPageSize);
  errno = 77;
  EXPECT_EQ(real_machine().discard(address, kPageSize), ENOMEM);
  EXPECT_EQ(errno, 77);
}

TEST(RealMachine, remap_out_of_what_is_not_there_says_EFAULT) {
  const Reserved pool(kPageSize, Purpose::pool);
  const Reserved brief(kPageSize, Purpose::pool);
  real_machine().release(brief.address(), kPageSize);
  EXPECT_EQ(real_machine().remap_out(pool.address(), brief.address(), kPageSize), EFAULT);
}

TEST(RealMachine, a_view_is_the_memory_itself) {
  const Reserved memory(2 * kPageSize, Purpose::table);
  *real_machine().view(memory.address(1)) = std::byte{5};
  EXPECT_EQ(memory.word(1), 5u);
}

TEST(RealMachine, the_clock_does_not_run_backwards) {
  std::uint64_t last = real_machine().now_ns();
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t now = real_machine().now_ns();
    ASSERT_GE(now, last);
    last = now;
  }
}

TEST(RealMachine, the_current_cpu_is_below_their_count) {
  EXPECT_GE(real_machine().cpu_count(), 1u);
  EXPECT_LT(real_machine().current_cpu(), real_machine().cpu_count());
}

TEST(RealMachine, random_numbers_differ) {
  std::set<std::uint64_t> seen;
  for (int i = 0; i < 100; ++i) seen.insert(real_machine().random_u64());
  EXPECT_EQ(seen.size(), 100u);
}

TEST(RealMachine, resident_bytes_follow_what_is_touched) {
  constexpr std::uint64_t kBytes = std::uint64_t{64} << 20;
  const Reserved memory(kBytes, Purpose::pool);
  const std::uint64_t before = real_machine().resident_bytes();
  EXPECT_GT(before, 0u);
  for (std::uint64_t i = 0; i < kBytes / kPageSize; ++i) memory.word(i) = 1;
  EXPECT_GT(real_machine().resident_bytes(), before + kBytes / 2);
}

TEST(RealMachine, print_line_writes_one_line_to_standard_error) {
  testing::internal::CaptureStderr();
  real_machine().print_line("two words");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "two words\n");
}

TEST(RealMachine, a_thread_runs_with_asynchronous_signals_blocked) {
  sigset_t mask;
  sigemptyset(&mask);
  auto thread = real_machine().start_thread(
      "holdfast-test",
      [](void* argument) {
        pthread_sigmask(SIG_SETMASK, nullptr, static_cast<sigset_t*>(argument));
      },
      &mask);
  ASSERT_TRUE(thread) << thread.error().message();
  (*thread)->join();
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGALRM, SIGCHLD}) {
    EXPECT_EQ(sigismember(&mask, signal), 1) << signal;
  }
  for (const int signal : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) {
    EXPECT_EQ(sigismember(&mask, signal), 0) << signal;
  }
}

TEST(RealMachine, starting_a_thread_leaves_the_callers_signal_mask) {
  sigset_t before;
  sigset_t after;
  pthread_sigmask(SIG_SETMASK, nullptr, &before);
  auto thread = real_machine().start_thread("holdfast-test", [](void*) {}, nullptr);
  ASSERT_TRUE(thread) << thread.error().message();
  pthread_sigmask(SIG_SETMASK, nullptr, &after);
  (*thread)->join();
  for (int signal = 1; signal < NSIG; ++signal) {
    EXPECT_EQ(sigismember(&before, signal), sigismember(&after, signal)) << signal;
  }
}

TEST(RealParking, is_installed_before_main) { EXPECT_EQ(&sync::parking(), &real::real_parking()); }

TEST(RealParking, a_waiter_is_woken) {
  std::atomic<std::uint32_t> word{0};
  std::thread waiter([&] {
    while (word.load() == 0) sync::parking().wait(word, 0, 0);
  });
  word.store(1);
  sync::parking().wake(word, 1);
  waiter.join();
}

TEST(RealParking, a_wait_on_another_value_returns_at_once) {
  const std::atomic<std::uint32_t> word{1};
  errno = 55;
  sync::parking().wait(word, 0, 0);
  EXPECT_EQ(errno, 55);
}

TEST(RealParking, a_wait_ends_with_its_timeout) {
  const std::atomic<std::uint32_t> word{0};
  const std::uint64_t before = real_machine().now_ns();
  sync::parking().wait(word, 0, 1'000'000);
  EXPECT_GT(real_machine().now_ns(), before);
}

// A control group hierarchy in files of the test's own.
class MemoryLimit : public testing::Test {
 protected:
  void SetUp() override {
    root_ = testing::TempDir() + "/holdfast-cgroup-XXXXXX";
    ASSERT_NE(mkdtemp(root_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_ + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  std::string root_;
};

TEST_F(MemoryLimit, the_least_limit_up_to_the_root_counts) {
  write("/a/b/memory.max", "max\n");
  write("/a/memory.max", "1073741824\n");
  write("/memory.max", "4294967296\n");
  EXPECT_EQ(real::cgroup_memory_limit("0::/a/b\n", root_), 1073741824u);
}

TEST_F(MemoryLimit, a_container_sees_its_own_group_as_the_root) {
  write("/memory.max", "536870912\n");
  EXPECT_EQ(real::cgroup_memory_limit("0::/\n", root_), 536870912u);
}

TEST_F(MemoryLimit, version_1_is_read_where_the_group_is_or_from_the_mount) {
  const std::string membership = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/y\n";
  write("/memory/memory.limit_in_bytes", "268435456\n");
  EXPECT_EQ(real::cgroup_memory_limit(membership, root_), 268435456u);
  write("/memory/docker/x/memory.limit_in_bytes", "134217728\n");
  EXPECT_EQ(real::cgroup_memory_limit(membership, root_), 134217728u);
}

TEST_F(MemoryLimit, no_limit_and_no_sense_are_no_limit) {
  EXPECT_EQ(real::cgroup_memory_limit("", root_), real::kNoLimit);
  EXPECT_EQ(real::cgroup_memory_limit("0::\nnonsense\n:\n::\n", root_), real::kNoLimit);
  write("/memory.max", "max\n");
  EXPECT_EQ(real::cgroup_memory_limit("0::/a\n", root_), real::kNoLimit);
}

TEST_F(MemoryLimit, the_machine_tells_no_more_than_it_has) {
  EXPECT_GT(real_machine().memory_bytes(), 0u);
  EXPECT_LE(real_machine().memory_bytes(), real::physical_memory_bytes());
}

TEST(Probe, what_it_reports_agrees_with_itself) {
  const Capabilities found = probe_capabilities();
  EXPECT_FALSE(found.kernel_release.empty());
  for (const Ability& ability :
       {found.userfault_device, found.userfault_call, found.userfault_user_mode, found.io_uring,
        found.vectored_discard, found.remap_out, found.signal_delivery}) {
    EXPECT_EQ(ability.works, ability.os_errno == 0);
  }
  EXPECT_EQ(found.has_move, (found.features >> 16 & 1) != 0);
  EXPECT_GE(found.cpus_usable, 1u);
  EXPECT_LE(found.cpus_usable, found.cpus_configured);
  EXPECT_GT(found.memory.value, 0u);
}

TEST(Probe, leaves_no_descriptor_behind) {
  const auto count = [] {
    std::size_t n = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator("/proc/self/fd")) {
      ++n;
    }
    return n;
  };
  const std::size_t before = count();
  static_cast<void>(probe_capabilities());
  EXPECT_EQ(count(), before);
}

}  // namespace
}  // namespace holdfast::sys::test
