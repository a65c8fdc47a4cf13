// Bad input and bad luck, on the real machine: each is an error that says what and why, and changes
// nothing. What no call can return is in engine_errors_test.cc.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "engine/real_engine.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kBudgetPages = kBudget / kPageSize;

void expect_refused(const Options& options, Errc code, const char* what) {
  const auto engine = Engine::create(options);
  ASSERT_FALSE(engine) << what;
  EXPECT_EQ(engine.error().code, code) << engine.error().message();
  EXPECT_NE(engine.error().message().find(what), std::string::npos) << engine.error().message();
  EXPECT_STRNE(engine.error().remedy, "") << engine.error().message();
}

// --- options ---

TEST(EngineOptions, a_budget_that_is_too_small_is_refused_with_the_least) {
  for (const std::uint64_t budget : {std::uint64_t{0}, std::uint64_t{1}, kBudget - 1}) {
    Options options;
    options.memory_budget = budget;
    expect_refused(options, Errc::invalid_argument, "memory_budget");
    EXPECT_EQ(Engine::create(options).error().limit, kBudget);
    EXPECT_EQ(Engine::create(options).error().value, budget);
  }
}

TEST(EngineOptions, a_budget_that_exceeds_the_machine_is_refused) {
  const std::uint64_t memory = sys::real_machine().memory_bytes();
  for (const std::uint64_t budget : {memory + 1, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    Options options;
    options.memory_budget = budget;
    expect_refused(options, Errc::invalid_argument, "memory_budget");
    EXPECT_EQ(Engine::create(options).error().limit, memory);
  }
}

TEST(EngineOptions, windows_of_other_sizes_are_refused) {
  for (const std::uint32_t pages : {0u, 1u, 4u, 12u, 511u, 1024u, ~0u}) {
    Options options = small_options();
    options.window_pages = pages;
    expect_refused(options, Errc::invalid_argument, "window_pages");
  }
}

TEST(EngineOptions, tiers_that_make_no_sense_are_refused) {
  Options options = small_options();
  options.swap.clear();
  expect_refused(options, Errc::invalid_argument, "tier");
  options.swap = {ram_tier(SwapCompression::none)};
  expect_refused(options, Errc::invalid_argument, "compression");
  options.swap = {ram_tier(SwapCompression::lz4, kBudget + 1)};
  expect_refused(options, Errc::invalid_argument, "limit");
}

// --- the swap directory ---

class Directory {
 public:
  Directory() {
    char name[] = "/tmp/holdfast-test-XXXXXX";
    EXPECT_NE(mkdtemp(name), nullptr);
    path = name;
  }
  ~Directory() {
    if (mounted_) umount2(path.c_str(), MNT_DETACH);
    std::error_code error;
    std::filesystem::remove_all(path, error);
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  // A memory file system of that size in its place; empty, or why it cannot be.
  std::string mount_memory(const char* options, unsigned long flags) {
    if (mount("none", path.c_str(), "tmpfs", flags, options) != 0) {
      return "mounting a file system needs privileges that this user does not have";
    }
    mounted_ = true;
    return "";
  }
  std::string path;

 private:
  bool mounted_ = false;
};

Options file_options(const std::string& directory) {
  Options options = small_options();
  options.swap = {file_tier(SwapIo::automatic, 0, SwapCompression::none)};
  options.swap[0].directory = directory;
  return options;
}

TEST(EngineSwapDirectory, one_that_is_missing_is_refused) {
  expect_refused(file_options("/nowhere/at/all"), Errc::not_found, "No such file");
  expect_refused(file_options(""), Errc::not_found, "No such file");
}

TEST(EngineSwapDirectory, one_that_is_a_file_is_refused) {
  const Directory directory;
  std::ofstream(directory.path + "/file") << "x";
  const auto engine = Engine::create(file_options(directory.path + "/file"));
  ASSERT_FALSE(engine);
  EXPECT_EQ(engine.error().os_errno, ENOTDIR) << engine.error().message();
}

TEST(EngineSwapDirectory, one_that_is_read_only_is_refused) {
  Directory directory;
  if (const std::string why = directory.mount_memory("size=1M", MS_RDONLY); !why.empty()) {
    GTEST_SKIP() << why;
  }
  expect_refused(file_options(directory.path), Errc::permission, "Read-only");
}

TEST(EngineSwapDirectory, one_that_fills_up_passes_pages_on_to_the_next_tier) {
  Directory directory;
  if (const std::string why = directory.mount_memory("size=1M", 0); !why.empty()) {
    GTEST_SKIP() << why;
  }
  Options options = file_options(directory.path);
  options.swap.push_back(ram_tier(SwapCompression::lz4));
  const auto engine = make_engine(options);
  const Region region = map(*engine, 3 * kBudget);
  write_pages(region, 0, 3 * kBudgetPages, 4);
  EXPECT_EQ(wrong_pages(region, 0, 3 * kBudgetPages, 4), 0u);
  const Stats stats = engine->stats();
  EXPECT_GT(stats.tiers[0].stores, 0u);
  EXPECT_GT(stats.tiers[0].write_errors + stats.tiers[0].refused_full, 0u);
  EXPECT_GT(stats.tiers[1].stores, 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

// --- regions ---

class EngineBadInput : public testing::Test {
 protected:
  void SetUp() override {
    engine = make_engine(small_options());
    ASSERT_NE(engine, nullptr);
  }
  void TearDown() override { EXPECT_TRUE(all_is_well(*engine)); }
  Errc map_error(std::uint64_t bytes, std::uint64_t capacity = 0) {
    const auto region = engine->map_anonymous(bytes, capacity);
    EXPECT_FALSE(region) << bytes;
    return region ? Errc::system : region.error().code;
  }
  std::unique_ptr<Engine> engine;
};

TEST_F(EngineBadInput, regions_of_impossible_sizes_are_refused) {
  EXPECT_EQ(map_error(0), Errc::invalid_argument);
  EXPECT_EQ(map_error(0, kMiB), Errc::invalid_argument);
  EXPECT_EQ(map_error(std::uint64_t{1} << 60), Errc::invalid_argument);
  EXPECT_EQ(map_error(~std::uint64_t{0}), Errc::invalid_argument);
  EXPECT_EQ(map_error(kMiB, kMiB - 1), Errc::invalid_argument);
  EXPECT_EQ(map_error(kMiB, std::uint64_t{1} << 60), Errc::invalid_argument);
  EXPECT_EQ(engine->stats().managed_bytes, 0u);
}

TEST_F(EngineBadInput, an_uneven_size_is_rounded_up_to_a_page) {
  const Region one = map(*engine, 1), two = map(*engine, kPageSize + 1, 3 * kPageSize - 1);
  EXPECT_EQ(one.size(), kPageSize);
  EXPECT_EQ(two.size(), 2 * kPageSize);
  one.data()[kPageSize - 1] = std::byte{1};
  two.data()[2 * kPageSize - 1] = std::byte{1};
}

TEST_F(EngineBadInput, a_second_unmap_is_refused) {
  Region region = map(*engine, kMiB);
  EXPECT_TRUE(region.unmap());
  EXPECT_EQ(region.unmap().error().code, Errc::not_mapped);
  EXPECT_EQ(region.resize(kMiB).error().code, Errc::not_mapped);
}

TEST_F(EngineBadInput, sizes_beyond_the_capacity_are_refused_and_change_nothing) {
  Region region = map(*engine, kMiB, 2 * kMiB);
  write_pages(region, 0, 256, 3);
  for (const std::uint64_t bytes :
       {std::uint64_t{0}, 2 * kMiB + 1, std::uint64_t{1} << 60, ~std::uint64_t{0}}) {
    EXPECT_EQ(region.resize(bytes).error().code, Errc::invalid_argument) << bytes;
  }
  EXPECT_EQ(region.resize(2 * kMiB + 1).error().limit, 2 * kMiB);
  EXPECT_EQ(region.size(), kMiB);
  EXPECT_EQ(wrong_pages(region, 0, 256, 3), 0u);
}

TEST_F(EngineBadInput, ranges_outside_the_region_are_refused_and_change_nothing) {
  Region region = map(*engine, kMiB);
  write_pages(region, 0, 256, 3);
  const std::pair<std::uint64_t, std::uint64_t> ranges[] = {
      {0, 0}, {kMiB, 1}, {0, kMiB + 1}, {kPageSize, ~std::uint64_t{0}}, {~std::uint64_t{0}, 2}};
  for (const auto& [offset, bytes] : ranges) {
    for (const Advice advice : {Advice::free, Advice::cold, Advice::will_need, Advice::random}) {
      EXPECT_EQ(region.advise(offset, bytes, advice).error().code, Errc::invalid_argument);
    }
    EXPECT_EQ(region.prefetch(offset, bytes).error().code, Errc::invalid_argument);
  }
  EXPECT_EQ(wrong_pages(region, 0, 256, 3), 0u);
}

TEST_F(EngineBadInput, blocks_of_impossible_orders_are_refused) {
  EXPECT_EQ(engine->allocate_pages(10).error().code, Errc::invalid_argument);
  EXPECT_EQ(engine->allocate_pages(~0U).error().code, Errc::invalid_argument);
}

// --- pins ---

TEST_F(EngineBadInput, pins_outside_any_one_region_are_refused) {
  const Region region = map(*engine, kMiB), other = map(*engine, kMiB);
  int on_the_stack = 0;
  const std::pair<const void*, std::size_t> ranges[] = {
      {nullptr, 1},
      {&on_the_stack, sizeof on_the_stack},
      {region.data() + kMiB, 1},
      {region.data() + kMiB - 1, 2},
      {region.data(), ~std::size_t{0}},
      {region.data(), std::size_t{1} << 60},
      {std::min(region.data(), other.data()), kHugeSize + 1}};  // from one region into another
  for (const auto& [address, length] : ranges) {
    const auto pin = engine->pin(address, length);
    ASSERT_FALSE(pin) << address << " " << length;
    EXPECT_EQ(pin.error().code, Errc::not_mapped);
    EXPECT_EQ(pin.error().value, reinterpret_cast<std::uintptr_t>(address));
  }
  EXPECT_EQ(engine->stats().pins, 0u);
}

TEST_F(EngineBadInput, pins_of_more_than_the_budget_are_refused_and_say_who_pins_most) {
  const Region little = map(*engine, kBudget), much = map(*engine, 2 * kBudget);
  const auto few = engine->pin(little.data(), 10 * kPageSize);
  const auto many = engine->pin(much.data(), 700 * kPageSize);
  ASSERT_TRUE(few && many);
  const auto whole = engine->pin(much.data(), much.size());
  ASSERT_FALSE(whole);
  const Error& error = whole.error();
  EXPECT_EQ(error.code, Errc::pins_exceeded);
  EXPECT_EQ(error.holder, reinterpret_cast<std::uintptr_t>(much.data()));
  EXPECT_EQ(error.held, 700u);
  EXPECT_EQ(error.value, 710 + 2 * kBudgetPages);
  EXPECT_GT(error.limit, kBudgetPages / 4);
  EXPECT_LT(error.limit, kBudgetPages);
  EXPECT_NE(error.message().find("700"), std::string::npos) << error.message();
  EXPECT_EQ(engine->stats().pins, 710u);
  EXPECT_GT(engine->stats().refused_pins, 0u);
}

TEST_F(EngineBadInput, many_small_pins_stop_before_there_is_no_room_to_work_in) {
  const Region region = map(*engine, 2 * kBudget);
  std::vector<Pin> pins;
  Error error{};
  for (std::uint64_t p = 0; p < 2 * kBudgetPages; ++p) {
    auto pin = engine->pin(page_at(region, p), kPageSize);
    if (!pin) {
      error = pin.error();
      break;
    }
    pins.push_back(std::move(*pin));
  }
  EXPECT_EQ(error.code, Errc::pins_exceeded) << error.message();
  EXPECT_EQ(error.held, pins.size());
  EXPECT_EQ(error.holder, reinterpret_cast<std::uintptr_t>(region.data()));
  pins.resize(pins.size() / 2);
  write_pages(region, 0, 2 * kBudgetPages, 6);
  EXPECT_EQ(wrong_pages(region, 0, 2 * kBudgetPages, 6), 0u);
}

TEST_F(EngineBadInput, pinned_memory_is_neither_freed_nor_cut_off) {
  Region region = map(*engine, kMiB);
  write_pages(region, 0, 256, 3);
  const auto pin = engine->pin(page_at(region, 200), 1);
  ASSERT_TRUE(pin);
  const auto freed = region.advise(0, kMiB, Advice::free);
  EXPECT_EQ(freed.error().code, Errc::busy);
  EXPECT_EQ(freed.error().value, reinterpret_cast<std::uintptr_t>(page_at(region, 200)));
  EXPECT_EQ(region.resize(100 * kPageSize).error().code, Errc::busy);
  EXPECT_EQ(region.size(), kMiB);
  EXPECT_EQ(wrong_pages(region, 0, 256, 3), 0u);
}

// --- interrupt context ---

// Everything that only a task may call; returns how many of the calls were refused.
int call_all_of_a_task(Engine& engine, Region& region) {
  const auto refused = [](const auto& result) {
    return !result && result.error().code == Errc::interrupt_context ? 1 : 0;
  };
  int count = 0;
  count += refused(engine.map_anonymous(kMiB));
  count += refused(engine.pin(page_at(region, 255), 1));  // is not resident
  count += refused(engine.allocate_pages(0));
  count += engine.reclaim(10) == 0 ? 1 : 0;
  count += engine.check_all() ? 0 : 1;
  count += refused(region.resize(kPageSize));
  count += refused(region.advise(0, kMiB, Advice::free));
  count += refused(region.advise(0, kMiB, Advice::cold));
  count += refused(region.advise(0, kMiB, Advice::will_need));
  count += refused(region.prefetch(0, kMiB));
  count += refused(region.unmap());
  return count;
}
constexpr int kTaskCalls = 11;

class EngineInterrupt : public EngineBadInput {
 protected:
  void SetUp() override {
    EngineBadInput::SetUp();
    region = map(*engine, kMiB, 2 * kMiB);
    write_pages(region, 0, 128, 3);
    before = engine->stats();
  }
  void TearDown() override {
    const Stats after = engine->stats();
    EXPECT_EQ(after.pages_resident + after.pages_cached, before.pages_resident);
    EXPECT_EQ(after.managed_bytes, before.managed_bytes);
    EXPECT_EQ(after.pins, before.pins);
    EXPECT_EQ(after.faults, before.faults);
    EXPECT_GE(after.refused_interrupt - before.refused_interrupt, kTaskCalls - 2u);
    EXPECT_EQ(region.size(), kMiB);
    EXPECT_EQ(wrong_pages(region, 0, 128, 3), 0u);
    EXPECT_EQ(nonzero_pages(region, 128, 256), 0u);
    (void)region.unmap();
    EngineBadInput::TearDown();
  }
  Region region;
  Stats before;
};

TEST_F(EngineInterrupt, a_completion_callback_is_refused_what_only_a_task_may_do) {
  const sync::InterruptScope scope;
  EXPECT_EQ(call_all_of_a_task(*engine, region), kTaskCalls);
}

struct Handled {
  Engine* engine = nullptr;
  Region* region = nullptr;
  std::atomic<int> refused{0};
};
Handled handled;

TEST_F(EngineInterrupt, a_signal_handler_inside_the_engine_is_refused_what_only_a_task_may_do) {
  handled.engine = engine.get();
  handled.region = &region;
  handled.refused = 0;
  struct sigaction action{};
  struct sigaction old{};
  action.sa_handler = [](int) {
    handled.refused = call_all_of_a_task(*handled.engine, *handled.region);
  };
  ASSERT_EQ(sigaction(SIGRTMIN + 2, &action, &old), 0);
  {
    const sync::EngineScope inside;
    ASSERT_EQ(raise(SIGRTMIN + 2), 0);
  }
  ASSERT_EQ(sigaction(SIGRTMIN + 2, &old, nullptr), 0);
  EXPECT_EQ(handled.refused, kTaskCalls);
}

TEST_F(EngineBadInput, what_an_interrupt_may_do_it_may_do_inside_the_engine) {
  const Region region = map(*engine, kMiB);
  std::byte* const block = engine->allocate_pages(2).value();
  Pin pin = engine->pin(region.data(), 2 * kPageSize).value();
  static std::atomic<bool> ran;
  ran = false;
  {
    const sync::EngineScope inside;
    const sync::InterruptScope scope;
    engine->free_pages(block, 2);
    pin.reset();
    EXPECT_TRUE(engine->defer([](void*) noexcept { ran = true; }, nullptr));
  }
  while (!ran) std::this_thread::yield();
  EXPECT_EQ(engine->stats().pins, 0u);
}

}  // namespace
}  // namespace holdfast::engine::test
