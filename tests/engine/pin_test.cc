// Pins through the public API: what they are charged to, what takes no fault, and several at once.
#include <gtest/gtest.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <csignal>
#include <thread>
#include <vector>

#include "engine/real_engine.h"
#include "sync/sync.h"

namespace holdfast::engine::test {
namespace {

class Pins : public testing::Test {
 protected:
  void SetUp() override {
    engine = make_engine(small_options());
    ASSERT_NE(engine, nullptr);
    region = map(*engine, 256 * kPageSize);
    write_pages(region, 0, 256, 1);
  }
  void TearDown() override {
    EXPECT_EQ(engine->stats().pins, 0u);
    EXPECT_TRUE(all_is_well(*engine));
  }

  std::unique_ptr<Engine> engine;
  Region region;
};

TEST_F(Pins, try_pin_takes_what_is_resident_and_no_fault) {
  const auto held = engine->try_pin(page_at(region, 200), 4 * kPageSize);
  ASSERT_TRUE(held) << held.error().message();
  EXPECT_EQ(held->pages(), 4u);
  push_out(*engine);
  const Stats before = engine->stats();
  for (const std::size_t bytes : {kPageSize, 4 * kPageSize}) {
    const auto pin = engine->try_pin(page_at(region, 10), bytes, Access::read);
    ASSERT_FALSE(pin);
    EXPECT_EQ(pin.error().code, Errc::would_block);
    EXPECT_EQ(pin.error().value, reinterpret_cast<std::uintptr_t>(page_at(region, 10)));
  }
  // Half of the range is resident: nothing of it stays pinned.
  EXPECT_EQ(engine->try_pin(page_at(region, 202), 4 * kPageSize).error().code, Errc::would_block);
  EXPECT_EQ(engine->try_pin(page_at(region, 255), 2 * kPageSize).error().code, Errc::not_mapped);
  const Stats after = engine->stats();
  EXPECT_EQ(after.faults_swap + after.faults_zero + after.faults_rescued,
            before.faults_swap + before.faults_zero + before.faults_rescued);
  EXPECT_EQ(after.pins, 4u);
}

TEST_F(Pins, nest_and_overlap_and_the_last_one_lets_go) {
  auto whole = engine->pin(page_at(region, 0), 16 * kPageSize);
  auto middle = engine->pin(page_at(region, 4), 4 * kPageSize, Access::read);
  auto across = engine->pin(page_at(region, 12) + 100, 8 * kPageSize);
  ASSERT_TRUE(whole && middle && across);
  EXPECT_EQ(across->pages(), 9u);
  EXPECT_EQ(engine->stats().pins, 21u);
  whole->reset();
  EXPECT_EQ(engine->stats().pins, 13u);
  push_out(*engine);
  EXPECT_TRUE(engine->try_pin(page_at(region, 4), 4 * kPageSize));
  EXPECT_FALSE(engine->try_pin(page_at(region, 3), kPageSize));
  across->reset();
  EXPECT_EQ(engine->stats().pins, 4u);
}

TEST_F(Pins, a_list_of_buffers_is_pinned_as_a_whole_or_not_at_all) {
  const std::vector<iovec> vectors = {{page_at(region, 1) + 5, 10},
                                      {nullptr, 0},
                                      {page_at(region, 3), 3 * kPageSize},
                                      {page_at(region, 4), kPageSize}};
  std::array<Pin, 4> pins;
  ASSERT_TRUE(pin_all(*engine, vectors, pins));
  EXPECT_EQ(pins[0].pages() + pins[2].pages() + pins[3].pages(), 5u);
  EXPECT_FALSE(pins[1]);
  EXPECT_EQ(engine->stats().pins, 4u);
  for (Pin& pin : pins) pin.reset();

  const std::array<Buffer, 2> beyond = {{{page_at(region, 0), 10}, {page_at(region, 256), 10}}};
  EXPECT_EQ(pin_all(*engine, beyond, pins).error().code, Errc::not_mapped);
  EXPECT_EQ(engine->stats().pins, 0u);
  const auto few = pin_all(*engine, vectors, std::span(pins).first(3));
  EXPECT_EQ(few.error().code, Errc::invalid_argument);
  EXPECT_EQ(few.error().limit, 3u);
}

TEST_F(Pins, an_account_pins_up_to_its_limit_and_the_error_names_the_owners) {
  const auto capture = engine->open_pin_account("capture", 10);
  const auto log = engine->open_pin_account("log", 100);
  ASSERT_TRUE(capture && log);
  auto general = engine->pin(page_at(region, 0), 3 * kPageSize);
  auto logged = engine->pin(page_at(region, 0), 5 * kPageSize, Access::read, *log);
  auto first = engine->pin(page_at(region, 0), 8 * kPageSize, Access::write, *capture);
  ASSERT_TRUE(general && logged && first);
  EXPECT_TRUE(engine->pin(page_at(region, 0), 2 * kPageSize, Access::write, *capture));
  const auto refused = engine->pin(page_at(region, 20), 3 * kPageSize, Access::write, *capture);
  ASSERT_FALSE(refused);
  const Error& error = refused.error();
  EXPECT_EQ(error.code, Errc::pins_exceeded);
  EXPECT_EQ(error.value, 11u);
  EXPECT_EQ(error.limit, 10u);
  EXPECT_STREQ(error.holders[0].name, "capture");
  EXPECT_EQ(error.holders[0].held, 8u);
  EXPECT_STREQ(error.holders[1].name, "log");
  EXPECT_EQ(error.holders[1].held, 5u);
  EXPECT_STREQ(error.holders[2].name, "general");
  EXPECT_EQ(error.holders[2].held, 3u);
  EXPECT_EQ(error.holders[3].name, nullptr);
  EXPECT_NE(error.message().find("held by capture: 8, log: 5, general: 3"), std::string::npos)
      << error.message();
  EXPECT_EQ(engine->stats().pins, 8u);

  const auto busy = engine->close_pin_account(*capture);
  EXPECT_EQ(busy.error().code, Errc::busy);
  EXPECT_EQ(busy.error().value, 8u);
  const Stats stats = engine->stats();
  ASSERT_EQ(stats.pin_accounts.size(), 2u);
  EXPECT_EQ(stats.pin_accounts[0].name, "capture");
  EXPECT_EQ(stats.pin_accounts[0].pages, 8u);
  EXPECT_EQ(stats.pin_accounts[0].refused, 1u);
  first->reset();
  EXPECT_TRUE(engine->close_pin_account(*capture));
  EXPECT_EQ(engine->close_pin_account(*capture).error().code, Errc::invalid_argument);
  const auto closed = engine->pin(page_at(region, 0), 1, Access::write, *capture);
  EXPECT_EQ(closed.error().code, Errc::invalid_argument);
}

TEST_F(Pins, a_refused_pin_charges_nothing_to_its_account) {
  const auto account = engine->open_pin_account("io", 4);
  ASSERT_TRUE(account);
  EXPECT_FALSE(engine->pin(page_at(region, 255), 2 * kPageSize, Access::write, *account));
  push_out(*engine);
  EXPECT_FALSE(engine->try_pin(page_at(region, 0), 2 * kPageSize, Access::write, *account));
  EXPECT_TRUE(engine->pin(page_at(region, 0), 4 * kPageSize, Access::write, *account));
  EXPECT_TRUE(engine->close_pin_account(*account));
}

TEST_F(Pins, accounts_are_refused_without_a_name_a_limit_or_a_place) {
  EXPECT_EQ(engine->open_pin_account("", 4).error().code, Errc::invalid_argument);
  EXPECT_EQ(engine->open_pin_account(nullptr, 4).error().code, Errc::invalid_argument);
  EXPECT_EQ(engine->open_pin_account("none", 0).error().code, Errc::invalid_argument);
  std::vector<PinAccountId> open;
  for (;;) {
    const auto account = engine->open_pin_account("one of many", 1);
    if (!account) {
      EXPECT_EQ(account.error().code, Errc::budget_exceeded);
      EXPECT_EQ(account.error().limit, open.size());
      break;
    }
    open.push_back(*account);
  }
  EXPECT_EQ(open.size(), 63u);
  for (const PinAccountId account : open) EXPECT_TRUE(engine->close_pin_account(account));
  EXPECT_FALSE(engine->close_pin_account(PinAccountId::general));
  EXPECT_FALSE(engine->close_pin_account(static_cast<PinAccountId>(999)));
}

TEST_F(Pins, threads_of_one_account_never_have_more_than_its_limit) {
  const auto account = engine->open_pin_account("crowd", 8);
  ASSERT_TRUE(account);
  std::atomic<std::uint64_t> held{0}, most{0}, refused{0};
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (unsigned i = 0; i < 5000; ++i) {
        auto pin =
            engine->pin(page_at(region, (t * 64 + i) % 250), 3 * kPageSize, Access::read, *account);
        if (!pin) {
          ++refused;
          continue;
        }
        const std::uint64_t now = held.fetch_add(3) + 3;
        std::uint64_t seen = most.load();
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        held.fetch_sub(3);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 8u);
  EXPECT_TRUE(engine->close_pin_account(*account)) << "every charge was given back";
}

TEST_F(Pins, freeing_memory_under_a_pin_is_refused_and_unmapping_leaves_the_pinned_pages) {
  auto pin = engine->pin(page_at(region, 7), 2 * kPageSize);
  ASSERT_TRUE(pin);
  EXPECT_EQ(region.advise(0, region.size(), Advice::free).error().code, Errc::busy);
  EXPECT_EQ(wrong_pages(region, 0, 256, 1), 0u) << "nothing was freed";
  const std::byte* const pinned = page_at(region, 7);
  EXPECT_TRUE(region.unmap());
  EXPECT_TRUE(engine->owns(pinned));
  EXPECT_TRUE(page_holds(pinned, 8)) << "the address range stays until the last pin goes";
  EXPECT_TRUE(page_holds(pinned + kPageSize, 9));
  EXPECT_EQ(engine->stats().pages_resident, 2u);
  pin->reset();
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_FALSE(engine->owns(pinned));
}

// --- regions given back later ---

TEST_F(Pins, a_region_is_unmapped_later_from_a_signal_handler) {
  static Region* given = nullptr;
  static std::atomic<int> result{-1};
  Region other = map(*engine, 64 * kPageSize);
  write_pages(other, 0, 64, 5);
  const std::byte* const address = other.data();
  given = &other;
  struct sigaction action{}, before{};
  action.sa_handler = [](int) {
    const InterruptScope interrupt;
    result = given->unmap().error().code == Errc::interrupt_context ? 0 : 1;
    if (given->unmap_later()) result.fetch_add(2);
  };
  ASSERT_EQ(sigaction(SIGUSR1, &action, &before), 0);
  EXPECT_EQ(raise(SIGUSR1), 0);
  EXPECT_EQ(sigaction(SIGUSR1, &before, nullptr), 0);
  EXPECT_EQ(result, 2);
  EXPECT_FALSE(other);
  EXPECT_EQ(other.unmap_later().error().code, Errc::not_mapped);
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_FALSE(engine->owns(address));
}

TEST_F(Pins, a_region_that_is_destroyed_in_interrupt_context_is_unmapped_later) {
  const std::byte* address = nullptr;
  {
    Region other = map(*engine, 64 * kPageSize);
    write_pages(other, 0, 8, 5);
    address = other.data();
    const InterruptScope interrupt;
    Region moved = std::move(other);
    moved = Region();
    EXPECT_FALSE(moved);
  }
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_FALSE(engine->owns(address));
}

TEST(UnmapLater, says_when_the_queue_is_full_and_changes_nothing) {
  Options options = small_options();
  options.background_reclaim = false;  // nobody drains the queue meanwhile
  const auto engine = make_engine(options);
  ASSERT_NE(engine, nullptr);
  Region region = map(*engine, 64 * kPageSize);
  write_pages(region, 0, 64, 3);
  static int ran = 0;
  ran = 0;
  int queued = 0;
  while (engine->defer([](void*) noexcept { ++ran; }, nullptr)) ++queued;
  EXPECT_EQ(queued, 1024);
  const auto refused = region.unmap_later();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::would_block);
  EXPECT_TRUE(region);
  EXPECT_EQ(wrong_pages(region, 0, 64, 3), 0u);
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_EQ(ran, queued);
  EXPECT_TRUE(region.unmap_later());
  EXPECT_TRUE(all_is_well(*engine));
}

}  // namespace
}  // namespace holdfast::engine::test
