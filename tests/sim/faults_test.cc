// The simulated userfaultfd: its errnos, its two deliveries, and that no store is ever lost.
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>

#include "sync/sync.h"
#include "sys/sim.h"

namespace holdfast::sys {
namespace {

constexpr std::uint64_t kPages = 16;
constexpr std::uint64_t kBytes = kPages * kPageSize;

// The smallest pager: pages that left stand in a pool at their own offset, and come back by copy.
class SmallPager final : public FaultSink {
 public:
  SmallPager(SimMachine& machine, Delivery delivery) : machine_(machine) {
    region_ = machine.reserve(kBytes, kPageSize, Purpose::region).value();
    pool_ = machine.reserve(kBytes, kPageSize, Purpose::pool).value();
    source_ = machine.open_faults({.delivery = delivery}, *this).value();
    EXPECT_EQ(source_->register_range(region_, kBytes), 0);
  }
  // Sends one page out.
  void evict(std::uint64_t page) {
    sync::MutexGuard guard(mutex_);
    if (!machine_.is_present(region_ + page * kPageSize)) return;
    ASSERT_EQ(machine_.remap_out(pool_ + page * kPageSize, region_ + page * kPageSize, kPageSize),
              0);
  }
  bool owns(Address address) const noexcept override {
    return address >= region_ && address < region_ + kBytes;
  }
  FaultOutcome on_fault(Address address, Access) noexcept override {
    if (address - region_ >= fatal_from_) return FaultOutcome::fatal;
    sync::MutexGuard guard(mutex_);
    const Address page = address & ~(kPageSize - 1);
    for (;;) {
      const Transfer t = source_->copy(page, machine_.view(pool_ + (page - region_)), kPageSize);
      if (t.error != EAGAIN) break;
      sync::parking().relax();
    }
    return FaultOutcome::served;
  }
  [[nodiscard]] Address region() const { return region_; }
  [[nodiscard]] Address pool() const { return pool_; }
  [[nodiscard]] FaultSource& source() { return *source_; }
  void close() { source_.reset(); }
  void fail_from(std::uint64_t offset) { fatal_from_ = offset; }

 private:
  SimMachine& machine_;
  sync::Mutex<sync::Rank::cache> mutex_;
  Address region_ = 0;
  Address pool_ = 0;
  std::uint64_t fatal_from_ = kBytes;
  std::unique_ptr<FaultSource> source_;
};

void race_stores_against_eviction(std::uint64_t seed, Delivery delivery, SimStats& sum) {
  SimMachine machine(SimOptions::swarm(seed));
  machine.failures().set_rate(FailureKind::remap_out, 0);
  machine.failures().set_rate(FailureKind::reserve, 0);
  machine.failures().set_rate(FailureKind::register_range, 0);
  std::array<std::uint64_t, kPages> written{};
  const RunOutcome outcome = machine.run([&] {
    SmallPager pager(machine, delivery);
    SimThreadState& evictor = machine.spawn("evictor", [&] {
      for (int i = 0; i < 60; ++i) pager.evict(machine.random_u64() % kPages);
    });
    const auto write = [&](std::uint64_t first) {
      for (std::uint64_t i = 1; i <= 60; ++i) {
        const std::uint64_t page = first + machine.random_u64() % (kPages / 2);
        const Address at = pager.region() + page * kPageSize + 8 * (i % 500);
        ASSERT_TRUE(machine.store(at, &i, sizeof i));
        std::uint64_t back = 0;
        ASSERT_TRUE(machine.load(at, &back, sizeof back));
        ASSERT_EQ(back, i) << "seed " << seed;
        written[page] = i;
        const Address foreign = pager.region() + machine.random_u64() % kPages * kPageSize + 4088;
        ASSERT_TRUE(machine.load(foreign, &back, sizeof back));  // others fault there too
        ASSERT_EQ(back, 0U);
      }
    };
    SimThreadState& other = machine.spawn("writer", [&] { write(kPages / 2); });
    write(0);
    machine.join(other);
    machine.join(evictor);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const std::uint64_t i = written[page];
      std::uint64_t back = 0;
      ASSERT_TRUE(
          machine.load(pager.region() + page * kPageSize + 8 * (i % 500), &back, sizeof back));
      ASSERT_EQ(back, i) << "seed " << seed;
    }
    pager.close();
  });
  ASSERT_EQ(outcome, RunOutcome::finished) << machine.report();
  const SimStats& stats = machine.sim_stats();
  sum.faults_signal += stats.faults_signal;
  sum.faults_thread += stats.faults_thread;
  sum.faults_again += stats.faults_again;
  sum.stopped_exists += stats.stopped_exists;
  sum.pages_remapped += stats.pages_remapped;
}

TEST(SimFaults, no_store_is_lost_to_eviction_under_signal_delivery) {
  SimStats sum;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    race_stores_against_eviction(seed, Delivery::signal, sum);
  }
  EXPECT_GT(sum.faults_signal, 1000U);
  EXPECT_GT(sum.pages_remapped, 1000U);
  EXPECT_GT(sum.faults_again, 10U);   // evicted again before the access could run
  EXPECT_GT(sum.stopped_exists, 0U);  // two threads faulted on one page
}

TEST(SimFaults, no_store_is_lost_to_eviction_under_thread_delivery) {
  SimStats sum;
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    race_stores_against_eviction(seed, Delivery::thread, sum);
  }
  EXPECT_GT(sum.faults_thread, 1000U);
  EXPECT_GT(sum.faults_again, 10U);
}

TEST(SimFaults, an_access_that_cannot_be_served_is_told_not_made) {
  for (const Delivery delivery : {Delivery::signal, Delivery::thread}) {
    SimMachine machine({.seed = 2});
    EXPECT_EQ(machine.run([&] {
      SmallPager pager(machine, delivery);
      pager.fail_from(kPageSize);
      char bytes[8] = {1};
      EXPECT_TRUE(machine.store(pager.region(), bytes, sizeof bytes));
      EXPECT_FALSE(machine.store(pager.region() + kPageSize, bytes, sizeof bytes));
      EXPECT_FALSE(machine.load(pager.region() + kPageSize - 4, bytes, sizeof bytes));
      pager.close();
    }),
              RunOutcome::finished)
        << machine.report();
    EXPECT_EQ(machine.sim_stats().faults_fatal, 2U);
  }
}

TEST(SimFaults, copy_and_move_give_the_errnos_of_the_kernel) {
  SimMachine machine({.seed = 2});
  EXPECT_EQ(machine.run([&] {
    SmallPager pager(machine, Delivery::signal);
    FaultSource& source = pager.source();
    const Address region = pager.region();
    const Address pool = pager.pool();
    alignas(kPageSize) static std::byte page[2 * kPageSize] = {std::byte{5}};

    EXPECT_EQ(source.copy(region, page, kPageSize).error, 0);
    EXPECT_EQ(source.copy(region, page, kPageSize).error, EEXIST);
    EXPECT_EQ(source.copy(pool, page, kPageSize).error, ENOENT);  // not registered
    const Transfer partial = source.copy(region + 15 * kPageSize, page, 2 * kPageSize);
    EXPECT_EQ(partial.done, kPageSize);
    EXPECT_EQ(partial.error, ENOENT);  // past the end

    machine.view(pool)[0] = std::byte{6};
    EXPECT_EQ(source.move(region, pool, kPageSize).error, EEXIST);
    EXPECT_EQ(source.move(region + kPageSize, pool + kPageSize, kPageSize).error, ENOENT);
    EXPECT_EQ(source.move(pool + kPageSize, pool, kPageSize).error, EINVAL);
    EXPECT_EQ(source.move(region + kPageSize, pool, kPageSize).error, 0);
    EXPECT_FALSE(machine.is_present(pool));
    EXPECT_EQ(machine.view(region + kPageSize)[0], std::byte{6});
    pager.close();
  }),
            RunOutcome::finished);
}

TEST(SimFaults, injected_errors_stop_a_transfer_where_they_were_told_to) {
  SimMachine machine({.seed = 2});
  EXPECT_EQ(machine.run([&] {
    SmallPager pager(machine, Delivery::signal);
    alignas(kPageSize) static std::byte pages[4 * kPageSize];
    machine.failures().fail_at(FailureKind::copy_again, 3, Repeat::once);
    const Transfer copied = pager.source().copy(pager.region(), pages, 4 * kPageSize);
    EXPECT_EQ(copied.done, 2 * kPageSize);
    EXPECT_EQ(copied.error, EAGAIN);
    EXPECT_EQ(machine.failures().injected(FailureKind::copy_again), 1U);

    machine.view(pager.pool())[0] = std::byte{1};
    machine.failures().fail_at(FailureKind::move_busy, 1, Repeat::forever);
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(pager.source().move(pager.region() + 8 * kPageSize, pager.pool(), kPageSize).error,
                EBUSY);
    }
    machine.failures().clear();
    EXPECT_EQ(pager.source().move(pager.region() + 8 * kPageSize, pager.pool(), kPageSize).error,
              0);
    pager.close();
  }),
            RunOutcome::finished);
}

TEST(SimFaults, registration_survives_remap_out_and_ends_with_unregister) {
  SimMachine machine({.seed = 2});
  EXPECT_EQ(machine.run([&] {
    SmallPager pager(machine, Delivery::signal);
    const std::uint64_t word = 77;
    ASSERT_TRUE(machine.store(pager.region(), &word, sizeof word));
    pager.evict(0);
    std::uint64_t back = 0;
    ASSERT_TRUE(machine.load(pager.region(), &back, sizeof back));
    EXPECT_EQ(back, 77U);
    EXPECT_EQ(machine.sim_stats().faults_signal, 2U);
    pager.evict(0);
    EXPECT_EQ(pager.source().unregister_range(pager.region(), kBytes), 0);
    ASSERT_TRUE(machine.load(pager.region(), &back, sizeof back));
    EXPECT_EQ(back, 0U);
    EXPECT_EQ(machine.sim_stats().faults_signal, 2U);
    pager.close();
  }),
            RunOutcome::finished);
}

TEST(SimFaults, a_range_belongs_to_one_source) {
  SimMachine machine({.seed = 2});
  EXPECT_EQ(machine.run([&] {
    SmallPager pager(machine, Delivery::signal);
    auto second = machine.open_faults({}, pager).value();
    EXPECT_EQ(second->register_range(pager.region(), kPageSize), EBUSY);
    EXPECT_EQ(second->copy(pager.region(), machine.view(pager.pool()), kPageSize).error, ENOENT);
    EXPECT_EQ(second->register_range(kPageSize, kPageSize), EINVAL);
    pager.close();
  }),
            RunOutcome::finished);
}

}  // namespace
}  // namespace holdfast::sys
