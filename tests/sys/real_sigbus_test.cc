// Whose SIGBUS it is: ours, somebody else's, nobody's.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csetjmp>
#include <thread>
#include <vector>

#include "sys/real/sigbus_router.h"
#include "sys/real_fixture.h"

namespace holdfast::sys::test {
namespace {

// A page of a file mapping beyond the file's end: touching it raises a SIGBUS that is not ours.
class TruncatedMapping {
 public:
  TruncatedMapping() : fd_(memfd_create("truncated", 0)) {
    EXPECT_EQ(ftruncate(fd_, kPageSize), 0);
    map_ = mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    EXPECT_NE(map_, MAP_FAILED);
    EXPECT_EQ(ftruncate(fd_, 0), 0);
  }
  ~TruncatedMapping() {
    munmap(map_, kPageSize);
    close(fd_);
  }
  TruncatedMapping(const TruncatedMapping&) = delete;
  TruncatedMapping& operator=(const TruncatedMapping&) = delete;
  [[nodiscard]] volatile char& byte() const { return *static_cast<volatile char*>(map_); }
  [[nodiscard]] const void* address() const { return map_; }

 private:
  int fd_;
  void* map_ = nullptr;
};

sigjmp_buf g_back;
volatile sig_atomic_t g_calls = 0;
const void* volatile g_address = nullptr;
sigset_t g_mask;

void previous_handler(int, siginfo_t* info, void*) {
  g_calls = g_calls + 1;
  g_address = info->si_addr;
  pthread_sigmask(SIG_SETMASK, nullptr, &g_mask);
  if (info->si_code == BUS_ADRERR) siglongjmp(g_back, 1);
}

// SIGBUS handled by previous_handler while it lives, and as before afterwards.
class HandledBefore {
 public:
  HandledBefore() {
    g_calls = 0;
    struct sigaction action{};
    action.sa_sigaction = &previous_handler;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGBUS, &action, &old_);
  }
  ~HandledBefore() { sigaction(SIGBUS, &old_, nullptr); }
  HandledBefore(const HandledBefore&) = delete;
  HandledBefore& operator=(const HandledBefore&) = delete;

 private:
  struct sigaction old_{};
};

bool is_current(void (*handler)(int, siginfo_t*, void*)) {
  struct sigaction current{};
  sigaction(SIGBUS, nullptr, &current);
  return (current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == handler;
}

TEST(SigbusRouter, a_sigbus_of_a_truncated_file_goes_to_whoever_was_there_before) {
  const HandledBefore before;
  const ServedRegion r(Delivery::signal);
  const TruncatedMapping file;
  if (sigsetjmp(g_back, 1) == 0) file.byte() = 1;
  EXPECT_EQ(g_calls, 1);
  EXPECT_EQ(g_address, file.address());
  EXPECT_EQ(r.region.word(1), PatternSink::kSalt + 1);  // ours are still served
}

TEST(SigbusRouter, the_previous_handler_runs_under_its_own_mask) {
  const HandledBefore before;
  const ServedRegion r(Delivery::signal);
  const TruncatedMapping file;
  if (sigsetjmp(g_back, 1) == 0) file.byte() = 1;
  EXPECT_EQ(sigismember(&g_mask, SIGUSR2), 1);
  EXPECT_EQ(sigismember(&g_mask, SIGBUS), 1);
  EXPECT_EQ(sigismember(&g_mask, SIGUSR1), 0);
}

TEST(SigbusRouter, a_sigbus_sent_by_kill_goes_to_whoever_was_there_before) {
  const HandledBefore before;
  const ServedRegion r(Delivery::signal);
  raise(SIGBUS);
  EXPECT_EQ(g_calls, 1);
}

TEST(SigbusRouter, a_sent_sigbus_that_was_ignored_stays_ignored) {
  struct sigaction ignore{};
  struct sigaction old{};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGBUS, &ignore, &old);
  {
    const ServedRegion r(Delivery::signal);
    raise(SIGBUS);
    EXPECT_EQ(r.region.word(0), PatternSink::kSalt);
  }
  sigaction(SIGBUS, &old, nullptr);
}

TEST(SigbusRouter, the_previous_action_is_put_back_with_the_last_source) {
  const HandledBefore before;
  {
    const ServedRegion one(Delivery::signal, 4);
    EXPECT_FALSE(is_current(&previous_handler));
    {
      const ServedRegion two(Delivery::signal, 4);
    }
    EXPECT_FALSE(is_current(&previous_handler));
  }
  EXPECT_TRUE(is_current(&previous_handler));
}

TEST(SigbusRouter, each_of_several_sources_gets_its_own_faults) {
  const ServedRegion one(Delivery::signal, 4);
  const ServedRegion two(Delivery::signal, 4);
  EXPECT_EQ(one.region.word(1), PatternSink::kSalt + 1);
  EXPECT_EQ(two.region.word(2), PatternSink::kSalt + 2);
  EXPECT_EQ(one.sink.reads, 1u);
  EXPECT_EQ(two.sink.reads, 1u);
}

TEST(SigbusRouter, one_sink_too_many_is_refused) {
  std::vector<std::unique_ptr<PatternSink>> sinks;
  for (std::size_t i = 0; i < real::kSinksMax; ++i) {
    sinks.push_back(std::make_unique<PatternSink>());
    ASSERT_EQ(real::add_sink(*sinks.back()), 0);
  }
  PatternSink more;
  EXPECT_EQ(real::add_sink(more), EMFILE);
  auto source = real_machine().open_faults({}, more);
  ASSERT_FALSE(source);
  EXPECT_EQ(source.error().limit, real::kSinksMax);
  for (auto& sink : sinks) real::remove_sink(*sink);
  EXPECT_EQ(real::add_sink(more), 0);
  real::remove_sink(more);
}

TEST(SigbusRouter, sources_come_and_go_while_others_fault) {
  const ServedRegion busy(Delivery::signal, 4096);
  std::atomic<bool> stop{false};
  std::uint64_t wrong = 0;
  std::thread faulter([&] {
    for (std::uint64_t page = 0; !stop.load(std::memory_order_relaxed); page = (page + 1) % 4096) {
      if (busy.region.word(page) != PatternSink::kSalt + page) ++wrong;
      real_machine().discard(busy.region.address(page), kPageSize);
    }
  });
  for (std::uint64_t round = 0; round < 200; ++round) {
    const ServedRegion brief(Delivery::signal, 4);
    EXPECT_EQ(brief.region.word(round % 4), PatternSink::kSalt + round % 4);
  }
  stop = true;
  faulter.join();
  EXPECT_EQ(wrong, 0u);
}

TEST(SigbusRouter, removing_a_sink_waits_until_no_handler_is_inside) {
  struct SlowSink : PatternSink {
    FaultOutcome on_fault(Address a, Access access) noexcept override {
      inside.store(1);
      sync::parking().wake(inside, 1);
      while (go_on.load() == 0) sync::parking().wait(go_on, 0, 0);
      const FaultOutcome outcome = PatternSink::on_fault(a, access);
      left.store(true);
      return outcome;
    }
    std::atomic<std::uint32_t> inside{0};
    std::atomic<std::uint32_t> go_on{0};
    std::atomic<bool> left{false};
  } sink;
  const Reserved region(kPageSize, Purpose::region);
  auto source = real_machine().open_faults({}, sink);
  ASSERT_TRUE(source) << source.error().message();
  sink.source = source->get();
  sink.serve(region);
  ASSERT_EQ((*source)->register_range(region.address(), kPageSize), 0);
  std::thread faulter([&] { EXPECT_EQ(region.word(0), PatternSink::kSalt); });
  while (sink.inside.load() == 0) sync::parking().wait(sink.inside, 0, 0);
  std::atomic<bool> removed_too_early{false};
  std::thread remover([&] {
    source->reset();
    removed_too_early = !sink.left.load();
  });
  sink.go_on.store(1);
  sync::parking().wake(sink.go_on, 1);
  faulter.join();
  remover.join();
  EXPECT_FALSE(removed_too_early);
}

using SigbusRouterDeathTest = testing::Test;

void touch_what_cannot_be_served() {
  signal(SIGBUS, SIG_DFL);
  const ServedRegion r(Delivery::signal, 4);
  r.sink.fatal = true;
  r.region.word(0) = 1;
}

TEST(SigbusRouterDeathTest, a_fault_that_cannot_be_served_ends_the_program_with_sigbus) {
  EXPECT_EXIT(touch_what_cannot_be_served(), testing::KilledBySignal(SIGBUS), "");
}

TEST(SigbusRouterDeathTest, a_fatal_fault_does_not_reach_the_previous_handler) {
  EXPECT_EXIT(
      {
        const HandledBefore before;
        const ServedRegion r(Delivery::signal, 4);
        r.sink.fatal = true;
        if (sigsetjmp(g_back, 1) == 0) r.region.word(0) = 1;
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST(SigbusRouterDeathTest, a_foreign_sigbus_with_no_handler_before_ends_the_program) {
  EXPECT_EXIT(
      {
        signal(SIGBUS, SIG_DFL);
        const ServedRegion r(Delivery::signal, 4);
        const TruncatedMapping file;
        file.byte() = 1;
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST(SigbusRouterDeathTest, a_sent_sigbus_with_no_handler_before_ends_the_program) {
  EXPECT_EXIT(
      {
        signal(SIGBUS, SIG_DFL);
        const ServedRegion r(Delivery::signal, 4);
        raise(SIGBUS);
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST(SigbusRouterDeathTest, a_foreign_sigbus_that_was_ignored_ends_the_program_all_the_same) {
  EXPECT_EXIT(
      {
        signal(SIGBUS, SIG_IGN);
        const ServedRegion r(Delivery::signal, 4);
        const TruncatedMapping file;
        file.byte() = 1;
        _exit(0);
      },
      testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace holdfast::sys::test
