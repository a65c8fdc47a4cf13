// Swap with a far tier on the simulated machine: threads that store, load and free while one keeps
// house, over many schedules, and a store of objects that answers in any order, late, not at all,
// wrongly, or takes nothing more.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "page/page.h"
#include "support/seed.h"
#include "swap/swap.h"
#include "sys/sim.h"

namespace holdfast::tests {
namespace {

struct alignas(kPageSize) Content {
  std::byte bytes[kPageSize];
};

// One page that a thread has stored.
struct Kept {
  SlotIndex slot;
  std::uint64_t seed = 0;
};

// A page of a seed: a quarter or all of it is by chance.
void write_content(std::uint64_t seed, Content& content) {
  std::uint64_t word = seed * 0x9e3779b97f4a7c15ULL + 1;
  const std::size_t random = seed % 4 == 0 ? kPageSize : kPageSize / 4;
  std::memset(content.bytes, 0x5a, kPageSize);
  for (std::size_t at = 0; at < random; at += sizeof word) {
    word ^= word << 13;
    word ^= word >> 7;
    word ^= word << 17;
    std::memcpy(content.bytes + at, &word, sizeof word);
  }
}

class World {
 public:
  World(sys::SimMachine& machine, std::uint64_t seed) : machine_(machine), random_(seed) {}

  // False: the machine did not let it be made.
  bool make() {
    auto pool = page::FramePool::create(machine_, {.frames = 512});
    if (!pool) return false;
    pool_ = std::move(*pool);
    swap::SwapOptions options;
    options.slots_max = 4096;
    if (random_.chance(1, 3)) {
      options.tiers.push_back(
          {.kind = swap::TierKind::ram, .limit_bytes = 256 * 1024, .block_bytes = 16 * 1024});
    }
    options.tiers.push_back(
        {.kind = swap::TierKind::rados,
         .limit_bytes = random_.pick({0ULL, 0ULL, 256ULL * 1024}),
         .far = {.pool = "pool", .wait_ns = random_.pick({1'000'000ULL, 5'000'000'000ULL})},
         .object_bytes = random_.pick({16U * 1024, 32U * 1024}),
         .staging = random_.pick({2U, 4U})});
    if (random_.chance(1, 2)) {
      options.tiers.push_back({.kind = swap::TierKind::file,
                               .cluster_bytes = 32 * 1024,
                               .encrypted = random_.chance(1, 2)});
    }
    auto swap = swap::Swap::create(machine_, *pool_, options);
    if (!swap) return false;
    swap_ = std::move(*swap);
    return true;
  }

  void run() {
    std::vector<sys::SimThreadState*> threads;
    std::vector<std::vector<Kept>> kept(3);
    bool working = true;
    auto& keeper = machine_.spawn("keeper", [&] {
      while (working) {
        (void)swap_->maintain();
        machine_.sleep_ns(100'000);
      }
    });
    for (std::vector<Kept>& own : kept) {
      const std::uint64_t seed = random_.next();
      threads.push_back(&machine_.spawn("worker", [this, seed, &own] { work(seed, own); }));
    }
    for (sys::SimThreadState* thread : threads) machine_.join(*thread);
    working = false;
    machine_.join(keeper);
    EXPECT_TRUE(swap_->check());
    for (const std::vector<Kept>& own : kept) {
      for (const Kept& page : own) {
        expect(page);
        swap_->put(page.slot);
      }
    }
    EXPECT_TRUE(swap_->check());
    EXPECT_EQ(swap_->stats().slots_used, 0U);
    swap_.reset();
    EXPECT_TRUE(pool_->check());
  }

  [[nodiscard]] std::uint64_t pages_far() const noexcept { return far_; }

 private:
  void work(std::uint64_t seed, std::vector<Kept>& own) {
    sys::SimRandom random(seed);
    for (int step = 0; step < 60; ++step) {
      if (own.empty() || random.chance(1, 3)) {
        store(random, own);
      } else if (random.chance(1, 2)) {
        load(random, own);
      } else {
        const std::size_t count = random.between(1, std::min<std::size_t>(own.size(), 30));
        for (std::size_t i = 0; i < count; ++i) {
          std::swap(own[random.below(own.size())], own.back());
          swap_->put(own.back().slot);
          own.pop_back();
        }
      }
    }
  }

  void store(sys::SimRandom& random, std::vector<Kept>& own) {
    const std::size_t count = random.between(1, 40);
    auto pages = std::make_unique<Content[]>(count);
    std::vector<swap::StoreItem> items(count);
    std::vector<std::uint64_t> seeds(count);
    for (std::size_t i = 0; i < count; ++i) {
      seeds[i] = random.next();
      write_content(seeds[i], pages[i]);
      items[i].page = pages[i].bytes;
      items[i].hash = base::hash_page(pages[i].bytes);
    }
    swap_->store(items, page::Priority::reclaim);
    for (std::size_t i = 0; i < count; ++i) {
      if (!items[i].slot.is_none()) own.push_back({items[i].slot, seeds[i]});
    }
    for (const swap::TierStats& tier : swap_->stats().tiers) {
      if (tier.kind == swap::TierKind::rados) far_ = std::max(far_, tier.written_bytes);
    }
  }

  void load(sys::SimRandom& random, const std::vector<Kept>& own) {
    const std::size_t first = random.below(own.size());
    const std::size_t count = std::min<std::size_t>(random.between(1, 64), own.size() - first);
    auto pages = std::make_unique<Content[]>(count);
    std::vector<swap::LoadItem> items(count);
    for (std::size_t i = 0; i < count; ++i) {
      items[i] = {.slot = own[first + i].slot, .page = pages[i].bytes};
    }
    const bool here = random.chance(1, 4);
    swap_->load(items, here ? swap::Reach::here : swap::Reach::anywhere);
    for (std::size_t i = 0; i < count; ++i) {
      EXPECT_TRUE(here || !items[i].is_beyond);
      if (!items[i].is_beyond) look_at(items[i], pages[i], own[first + i].seed);
    }
  }

  void expect(const Kept& page) {
    auto content = std::make_unique<Content>();
    swap::LoadItem item{.slot = page.slot, .page = content->bytes};
    swap_->load({&item, 1});
    look_at(item, *content, page.seed);
  }

  // What came is what was stored; what did not come has a reason, and a device that gave just that.
  void look_at(const swap::LoadItem& item, const Content& content, std::uint64_t seed) {
    if (item.ok) {
      auto expected = std::make_unique<Content>();
      write_content(seed, *expected);
      EXPECT_EQ(std::memcmp(expected->bytes, content.bytes, kPageSize), 0);
      return;
    }
    using sys::FailureKind;
    const auto injected = [this](FailureKind kind) { return machine_.failures().injected(kind); };
    std::uint64_t excuses = 0;
    if (item.error.code == Errc::corrupted) {
      excuses = injected(FailureKind::object_corrupt) + injected(FailureKind::file_corrupt);
    } else if (item.error.os_errno == ETIMEDOUT) {
      excuses = injected(FailureKind::object_late);
    } else if (item.error.os_errno == EIO) {
      excuses = injected(FailureKind::object_read) + injected(FailureKind::file_read);
    }
    EXPECT_GT(excuses, 0U) << item.error.message();
  }

  sys::SimMachine& machine_;
  sys::SimRandom random_;
  std::unique_ptr<page::FramePool> pool_;
  std::unique_ptr<swap::Swap> swap_;
  std::uint64_t far_ = 0;
};

TEST(FarSwap, no_page_is_lost_or_wrong_whatever_the_store_does) {
  const std::uint64_t first = std::getenv("HOLDFAST_SEED") != nullptr ? test_seed() : 1;
  const std::uint64_t seeds = seed_count(400);
  std::uint64_t written = 0;
  std::uint64_t failures = 0;
  for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    HF_SEED_TRACE(seed);
    sys::SimMachine machine(sys::SimOptions::swarm(seed));
    const auto outcome = machine.run([&] {
      World world(machine, seed);
      if (!world.make()) return;
      world.run();
      written += world.pages_far();
    });
    ASSERT_EQ(outcome, sys::RunOutcome::finished) << machine.report();
    failures += machine.failures().injected_in_all();
    // A session that kept its lock, and whose removals were all answered, leaves nothing.
    if (machine.failures().injected(sys::FailureKind::object_late) == 0) {
      EXPECT_EQ(machine.sim_stats().objects_left, 0U);
    }
  }
  EXPECT_GT(written, 0U);
  if (seeds > 50) {
    EXPECT_GT(failures, 0U);
  }
}

}  // namespace
}  // namespace holdfast::tests
