// The far tier stands still while an engine works, on the simulated machine: whoever needs what is
// there waits, however many they are, and nobody else does.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine_on.h"
#include "holdfast/holdfast.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kLeafPages = 512;
constexpr std::uint64_t kFarPages = 128;   // of the region that goes to far memory
constexpr std::uint64_t kNearPages = 64;   // of the one that memory holds, compressed
constexpr std::uint64_t kMixedPages = 96;  // of the one of both, by turns
constexpr std::uint64_t kTurn = 8;         // pages
constexpr std::uint64_t kFreshPages = 48;  // of one that has not been touched
// More than there are staging buffers, rooms for far pages, or threads that serve faults.
constexpr std::uint64_t kWaiters = 16;

struct alignas(kPageSize) Content {
  std::byte bytes[kPageSize];
};

// What does not compress passes the memory tier by; the rest is mostly one byte.
void write_content(std::uint64_t seed, bool compresses, Content& content) {
  std::uint64_t word = seed * 0x9e3779b97f4a7c15ULL + 1;
  std::memset(content.bytes, 0x5a, kPageSize);
  const std::size_t random = compresses ? kPageSize / 16 : kPageSize;
  for (std::size_t at = 0; at < random; at += sizeof word) {
    word ^= word << 13;
    word ^= word >> 7;
    word ^= word << 17;
    std::memcpy(content.bytes + at, &word, sizeof word);
  }
}

// An engine with its memory in both tiers.
class World {
 public:
  World(sys::SimMachine& machine, FaultDelivery delivery) : machine_(machine) {
    Options options;
    options.memory_budget = Engine::kMinimumBudget / 4;
    options.window_pages = 8;
    options.delivery = delivery;
    options.swap = {{.kind = SwapTier::Kind::ram},
                    {.kind = SwapTier::Kind::rados, .far = {.pool = "pool"}}};
    auto engine = engine::create_on(machine, options);
    EXPECT_TRUE(engine);
    engine_ = std::move(*engine);
    far_ = map(2 * kLeafPages);
    near_ = map(kNearPages);
    mixed_ = map(kMixedPages);
    fresh_ = map(kFreshPages);
    for (std::uint64_t page = 0; page < kFarPages; ++page) store(far_, page, false, 1);
    for (std::uint64_t page = 0; page < kMixedPages; ++page) store(mixed_, page, is_near(page), 2);
    for (std::uint64_t page = 0; page < kNearPages; ++page) store(near_, page, true, 3);
    evict();
  }

  // Threads that want a far page each, and wait.
  void send_waiters() {
    for (std::uint64_t i = 0; i < kWaiters; ++i) {
      waiters_.push_back(&machine_.spawn("waiter", [this, i] {
        expect(far_, i * 4, false, 1);
        ++served_;
      }));
    }
    machine_.sleep_ns(50'000'000);
  }
  // What another thread does meanwhile: all of it is served.
  void work() {
    for (int round = 0; round < 2; ++round) {
      for (std::uint64_t page = 0; page < kNearPages; ++page) expect(near_, page, true, 3);
      for (std::uint64_t page = 0; page < kMixedPages; ++page) {
        if (is_near(page)) expect(mixed_, page, true, 2);
      }
      for (std::uint64_t page = 0; page < kFreshPages; ++page) store(fresh_, page, true, 4 + round);
      (void)engine_->reclaim(kNearPages);
    }
  }
  // A copy of the region where they wait takes its time from nobody.
  void copy_and_touch() {
    auto copy = engine_->clone(far_);
    ASSERT_TRUE(copy) << copy.error().message();
    store(far_, kLeafPages, true, 6);  // in a leaf that nobody has touched
    store(*copy, kLeafPages + 1, true, 7);
    expect(far_, kLeafPages, true, 6);
  }
  // Memory that only the far tier can take; whoever writes it out may wait for that.
  void overwrite_far() {
    for (std::uint64_t page = 0; page < kMixedPages; ++page) {
      if (!is_near(page)) store(mixed_, page, false, 8);
    }
    for (std::uint64_t page = 0; page < kFarPages; ++page) store(far_, page, false, 8);
  }
  void evict() { (void)engine_->reclaim(4 * kLeafPages); }

  void join_waiters() {
    for (sys::SimThreadState* const waiter : waiters_) machine_.join(*waiter);
  }
  [[nodiscard]] std::uint64_t served() const noexcept { return served_; }
  [[nodiscard]] SwapTierStats far_tier() { return engine_->stats().tiers[1]; }

  void expect_all(std::uint64_t far, std::uint64_t far_of_mixed) {
    for (std::uint64_t page = 0; page < kFarPages; ++page) expect(far_, page, false, far);
    for (std::uint64_t page = 0; page < kNearPages; ++page) expect(near_, page, true, 3);
    for (std::uint64_t page = 0; page < kMixedPages; ++page) {
      expect(mixed_, page, is_near(page), is_near(page) ? 2 : far_of_mixed);
    }
    EXPECT_TRUE(machine_.settle());
    EXPECT_TRUE(engine_->check_all());
  }

 private:
  static bool is_near(std::uint64_t page) { return page / kTurn % 2 == 0; }
  Region map(std::uint64_t pages) {
    auto region = engine_->map_anonymous(pages * kPageSize);
    EXPECT_TRUE(region);
    return std::move(*region);
  }
  static Address at(const Region& region, std::uint64_t page) {
    return reinterpret_cast<Address>(region.data()) + page * kPageSize;
  }
  void store(const Region& region, std::uint64_t page, bool compresses, std::uint64_t seed) {
    auto content = std::make_unique<Content>();
    write_content(seed << 16 | page, compresses, *content);
    EXPECT_TRUE(machine_.store(at(region, page), content->bytes, kPageSize));
  }
  void expect(const Region& region, std::uint64_t page, bool compresses, std::uint64_t seed) {
    auto expected = std::make_unique<Content>();
    auto content = std::make_unique<Content>();
    write_content(seed << 16 | page, compresses, *expected);
    EXPECT_TRUE(machine_.load(at(region, page), content->bytes, kPageSize));
    EXPECT_EQ(std::memcmp(expected->bytes, content->bytes, kPageSize), 0) << "page " << page;
  }

  sys::SimMachine& machine_;
  std::unique_ptr<Engine> engine_;
  Region far_, near_, mixed_, fresh_;
  std::vector<sys::SimThreadState*> waiters_;
  std::uint64_t served_ = 0;
};

void reads_stand_still(sys::SimMachine& machine, FaultDelivery delivery) {
  World world(machine, delivery);
  EXPECT_GT(world.far_tier().written_bytes, kFarPages * kPageSize / 2);  // what the waiters want
  machine.stall_object_reads(true);
  world.send_waiters();
  world.work();
  world.copy_and_touch();
  world.work();
  EXPECT_EQ(world.served(), 0U);
  EXPECT_EQ(world.far_tier().read_bytes, 0U);
  machine.stall_object_reads(false);
  world.join_waiters();
  EXPECT_EQ(world.served(), kWaiters);
  world.expect_all(1, 2);
}

void writes_stand_still(sys::SimMachine& machine, FaultDelivery delivery) {
  World world(machine, delivery);
  world.overwrite_far();
  machine.stall_object_writes(true);
  const std::uint64_t written = machine.sim_stats().objects_written;
  bool evicted = false;
  auto& evictor = machine.spawn("evictor", [&] {
    world.evict();
    evicted = true;
  });
  machine.sleep_ns(1'000'000);
  EXPECT_FALSE(evicted);
  world.work();
  world.work();
  EXPECT_EQ(machine.sim_stats().objects_written, written);
  machine.stall_object_writes(false);
  machine.join(evictor);
  world.expect_all(8, 8);
}

void explore(FaultDelivery delivery, void (*test)(sys::SimMachine&, FaultDelivery)) {
  const std::uint64_t first = std::getenv("HOLDFAST_SEED") != nullptr ? test_seed() : 1;
  const std::uint64_t seeds = seed_count(20);
  for (std::uint64_t seed = first; seed < first + seeds && !testing::Test::HasFailure(); ++seed) {
    HF_SEED_TRACE(seed);
    sys::SimOptions options;
    options.seed = seed;
    sys::SimMachine machine(options);
    const auto outcome = machine.run([&] { test(machine, delivery); });
    ASSERT_EQ(outcome, sys::RunOutcome::finished) << machine.report();
  }
}

TEST(FarStall, reads_that_stand_still_hold_up_no_fault_that_another_tier_can_serve) {
  explore(FaultDelivery::signal, reads_stand_still);
}

TEST(FarStall, reads_that_stand_still_hold_up_no_other_fault_of_a_handler_thread) {
  explore(FaultDelivery::thread, reads_stand_still);
}

TEST(FarStall, writes_that_stand_still_hold_up_no_fault_that_another_tier_can_serve) {
  explore(FaultDelivery::signal, writes_stand_still);
}

TEST(FarStall, writes_that_stand_still_hold_up_no_other_fault_of_a_handler_thread) {
  explore(FaultDelivery::thread, writes_stand_still);
}

}  // namespace
}  // namespace holdfast::tests
