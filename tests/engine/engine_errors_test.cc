// What no call can return: errors in plain loads and stores reach the handler, or end the process
// with one line; so does what the design forbids (a blocked SIGBUS, a forked child).
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "engine/real_engine.h"
#include "sync/sync.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kBudgetPages = kBudget / kPageSize;

// --- errors in plain loads and stores ---

struct Rescue {
  Engine* engine = nullptr;
  std::vector<std::byte*> blocks;
  std::atomic<bool> ready{false};  // the blocks are there
  std::atomic<int> calls{0};
  Error error{};
  std::uintptr_t address = 0;
};

OnError give_blocks_back(const Error& error, std::uintptr_t address, void* context) noexcept {
  auto& rescue = *static_cast<Rescue*>(context);
  rescue.error = error;
  rescue.address = address;
  if (rescue.calls.fetch_add(1) > 0) return OnError::terminate;
  if (!rescue.ready) return OnError::terminate;
  for (std::byte* block : rescue.blocks) rescue.engine->free_pages(block, 0);
  return OnError::retry;
}

// Noise that a file of 1 MiB cannot take.
Options full_options(FaultDelivery delivery) {
  Options options = small_options(delivery);
  options.swap = {file_tier(SwapIo::plain, kMiB, SwapCompression::none)};
  return options;
}

class EngineErrors : public testing::TestWithParam<FaultDelivery> {};

TEST_P(EngineErrors, a_store_that_found_no_memory_works_after_the_handler_made_room) {
  Rescue rescue;
  Options options = full_options(GetParam());
  if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
  options.on_error = give_blocks_back;
  options.on_error_context = &rescue;
  const auto engine = make_engine(options);
  rescue.engine = engine.get();
  Region region = map(*engine, 4 * kBudget);
  for (int i = 0; i < 200; ++i) rescue.blocks.push_back(engine->allocate_pages(0).value());
  rescue.ready = true;
  std::uint64_t end = 0;
  for (; end < 4 * kBudgetPages && rescue.calls == 0; ++end) write_noise(page_at(region, end), end);
  EXPECT_EQ(rescue.calls, 1);
  EXPECT_EQ(rescue.error.code, Errc::out_of_memory) << rescue.error.message();
  EXPECT_EQ(rescue.address & ~(kPageSize - 1),
            reinterpret_cast<std::uintptr_t>(page_at(region, end - 1)));
  EXPECT_GT(engine->stats().faults_refused, 0u);
  EXPECT_GT(end, kBudgetPages / 2);

  // Memory is full: a new region is refused, and what is there comes back once there is room.
  for (; end < 4 * kBudgetPages; ++end) {
    const auto more = engine->pin(page_at(region, end), kPageSize);
    if (!more) break;
    write_noise(page_at(region, end), end);
  }
  EXPECT_EQ(engine->map_anonymous(kMiB).error().code, Errc::out_of_memory);
  const std::uint64_t kept = end / 2;
  ASSERT_TRUE(region.advise(kept * kPageSize, (end - kept) * kPageSize, Advice::free));
  std::vector<std::uint64_t> noise(kPageSize / 8);
  std::uint64_t wrong = 0;
  for (std::uint64_t p = 0; p < kept; ++p) {
    write_noise(reinterpret_cast<std::byte*>(noise.data()), p);
    const auto* words = reinterpret_cast<const volatile std::uint64_t*>(page_at(region, p));
    for (std::size_t i = 0; i < noise.size(); ++i) wrong += words[i] == noise[i] ? 0 : 1;
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(rescue.calls, 1);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_P(EngineErrors, a_store_beyond_the_region_reaches_the_handler_too) {
  Rescue rescue;  // retried once, and then the region has grown
  Options options = small_options(GetParam());
  if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
  options.on_error = [](const Error& error, std::uintptr_t address, void* context) noexcept {
    auto& seen = *static_cast<Rescue*>(context);
    seen.error = error;
    seen.address = address;
    seen.calls.fetch_add(1);
    return OnError::retry;
  };
  options.on_error_context = &rescue;
  const auto engine = make_engine(options);
  Region region = map(*engine, kPageSize, 16 * kPageSize);
  std::thread grower([&] {
    while (rescue.calls == 0) std::this_thread::yield();
    EXPECT_TRUE(region.resize(16 * kPageSize));
  });
  page_at(region, 5)[7] = std::byte{9};
  grower.join();
  EXPECT_GT(rescue.calls, 0);
  EXPECT_EQ(rescue.error.code, Errc::not_mapped);
  EXPECT_EQ(rescue.address & ~(kPageSize - 1),
            reinterpret_cast<std::uintptr_t>(page_at(region, 5)));
  EXPECT_EQ(page_at(region, 5)[7], std::byte{9});
  EXPECT_TRUE(all_is_well(*engine));
}

INSTANTIATE_TEST_SUITE_P(Deliveries, EngineErrors,
                         testing::Values(FaultDelivery::signal, FaultDelivery::thread),
                         [](const auto& p) {
                           return p.param == FaultDelivery::signal ? "signal" : "thread";
                         });

// --- what ends a process ---

// An engine for a child that is to end by SIGBUS: sanitizers take that signal for themselves, so
// the engine must not find them there before it.
std::unique_ptr<Engine> make_engine_for_the_last_time(const Options& options) {
  signal(SIGBUS, SIG_DFL);
  return make_engine(options);
}

// Children that make an engine of their own run in a fresh process, not in a copy of this one.
class EngineDeathTest : public testing::TestWithParam<FaultDelivery> {
 protected:
  void SetUp() override {
    if (const std::string why = cannot_run(small_options(GetParam())); !why.empty()) {
      GTEST_SKIP() << why;
    }
    GTEST_FLAG_SET(death_test_style, "threadsafe");
  }
};

TEST_P(EngineDeathTest, an_error_without_a_handler_ends_the_process_after_one_line) {
  EXPECT_EXIT(
      {
        const auto engine = make_engine_for_the_last_time(small_options(GetParam()));
        const Region region = map(*engine, kPageSize, kMiB);
        region.data()[kPageSize] = std::byte{1};
      },
      testing::KilledBySignal(SIGBUS), "holdfast: touch managed memory: not_mapped");
}

TEST_P(EngineDeathTest, full_memory_ends_the_process_after_one_line) {
  EXPECT_EXIT(
      {
        const auto engine = make_engine_for_the_last_time(full_options(GetParam()));
        const Region region = map(*engine, 4 * kBudget);
        for (std::uint64_t p = 0; p < 4 * kBudgetPages; ++p) write_noise(page_at(region, p), p);
      },
      testing::KilledBySignal(SIGBUS), "holdfast: bring a page in: out_of_memory");
}

INSTANTIATE_TEST_SUITE_P(Deliveries, EngineDeathTest,
                         testing::Values(FaultDelivery::signal, FaultDelivery::thread),
                         [](const auto& p) {
                           return p.param == FaultDelivery::signal ? "signal" : "thread";
                         });

void block_sigbus() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGBUS);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

TEST(EngineInterruptDeathTest, an_interrupt_that_touches_unpinned_memory_ends_the_process) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const auto engine = make_engine_for_the_last_time(small_options());
        const Region region = map(*engine, kMiB);
        const sync::InterruptScope scope;
        region.data()[0] = std::byte{1};
      },
      testing::KilledBySignal(SIGBUS), "holdfast: touch managed memory: interrupt_context");
}

TEST(EngineBlockedDeathTest, a_thread_that_blocks_sigbus_dies_under_signal_delivery) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        const auto engine = make_engine_for_the_last_time(small_options());
        const Region region = map(*engine, kMiB);
        std::thread([&] {
          block_sigbus();
          region.data()[0] = std::byte{1};
        }).join();
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST(EngineBlocked, a_thread_that_blocks_sigbus_works_under_thread_delivery) {
  const Options options = small_options(FaultDelivery::thread);
  if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
  const auto engine = make_engine(options);
  const Region region = map(*engine, 2 * kBudget);
  std::thread([&] {
    block_sigbus();
    write_pages(region, 0, 2 * kBudgetPages, 2);
    EXPECT_EQ(wrong_pages(region, 0, 2 * kBudgetPages, 2), 0u);
  }).join();
  EXPECT_TRUE(all_is_well(*engine));
}

TEST(EngineBlocked, system_calls_reach_managed_memory_under_thread_delivery) {
  const Options options = small_options(FaultDelivery::thread);
  if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
  const auto engine = make_engine(options);
  const Region region = map(*engine, kMiB);
  write_pages(region, 0, 4, 2);
  push_out(*engine);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], page_at(region, 0), kPageSize), static_cast<ssize_t>(kPageSize));
  EXPECT_EQ(read(ends[0], page_at(region, 100), kPageSize), static_cast<ssize_t>(kPageSize));
  EXPECT_TRUE(page_holds(page_at(region, 100), 2));
  close(ends[0]);
  close(ends[1]);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST(EngineBlocked, system_calls_need_pinned_memory_under_signal_delivery) {
  const auto engine = make_engine(small_options());
  const Region region = map(*engine, kMiB);
  write_pages(region, 0, 4, 2);
  push_out(*engine);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(write(ends[1], page_at(region, 0), kPageSize), -1);
  EXPECT_EQ(errno, EFAULT);
  const auto pin = engine->pin(page_at(region, 0), kPageSize);
  EXPECT_EQ(write(ends[1], page_at(region, 0), kPageSize), static_cast<ssize_t>(kPageSize));
  close(ends[0]);
  close(ends[1]);
  EXPECT_TRUE(all_is_well(*engine));
}

// A child of fork that touches the region. Its parent goes on as if nothing had been.
TEST(EngineForkDeathTest, a_child_that_touches_a_region_ends_and_its_parent_goes_on) {
  if (kUnderTsan) {
    GTEST_SKIP() << "ThreadSanitizer's fork handler maps a stack into a region's place";
  }
  GTEST_FLAG_SET(death_test_style, "fast");
  const auto engine = make_engine(small_options());
  const Region region = map(*engine, 2 * kBudget);
  write_pages(region, 0, 2 * kBudgetPages, 2);
  EXPECT_EXIT(region.data()[0] = std::byte{1}, testing::KilledBySignal(SIGSEGV),
              "regions are not inherited by fork");
  EXPECT_EXIT((void)page_holds(page_at(region, 2 * kBudgetPages - 1), 0),
              testing::KilledBySignal(SIGSEGV), "regions are not inherited by fork");
  EXPECT_EQ(wrong_pages(region, 0, 2 * kBudgetPages, 2), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

}  // namespace
}  // namespace holdfast::engine::test
