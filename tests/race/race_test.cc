// One test for each race: two threads start at a gate, many rounds, on a small engine, and the
// content tells who lost.
//
// A small region stays inside the budget, so that the evicting thread decides what leaves and when.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>
#include <tuple>

#include "engine/real_engine.h"
#include "support/seed.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kPages = 256;  // of the region that is fought for

// Two threads that wait for one another at the start of each round.
class Gate {
 public:
  void pass() {
    const std::uint32_t turn = turn_.load();
    if (waiting_.fetch_add(1) + 1 == 2) {
      waiting_ = 0;
      turn_ = turn + 1;
      return;
    }
    while (turn_.load() == turn) sched_yield();
  }

 private:
  std::atomic<std::uint32_t> waiting_{0};
  std::atomic<std::uint32_t> turn_{0};
};

using Way = std::tuple<FaultDelivery, std::uint32_t>;  // delivery, window_pages

class Race : public testing::TestWithParam<Way> {
 protected:
  void SetUp() override {
    const auto [delivery, window_pages] = GetParam();
    Options options = small_options(delivery);
    options.window_pages = window_pages;
    options.use_move = window_pages != 64;
    if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
    engine = make_engine(options);
    ASSERT_NE(engine, nullptr);
    region = map(*engine, kPages * kPageSize, 2 * kPages * kPageSize);
  }
  void TearDown() override {
    if (engine == nullptr) return;
    EXPECT_TRUE(all_is_well(*engine));
    (void)region.unmap();
    EXPECT_TRUE(all_is_well(*engine));
    const Stats stats = engine->stats();
    EXPECT_EQ(stats.faults_refused, 0u);
    EXPECT_EQ(stats.hash_mismatches, 0u);
    EXPECT_EQ(stats.pages_resident + stats.pages_cached + stats.slots_used + stats.pins, 0u);
  }

  static std::uint64_t rounds(std::uint64_t usual) { return tests::seed_count(usual); }

  // Both, `count` times, with a common start each time.
  void race(std::uint64_t count, const std::function<void(std::uint64_t)>& one,
            const std::function<void(std::uint64_t)>& other) {
    Gate gate;
    std::thread thread([&] {
      for (std::uint64_t round = 0; round < count; ++round) {
        gate.pass();
        other(round);
      }
    });
    for (std::uint64_t round = 0; round < count; ++round) {
      gate.pass();
      one(round);
    }
    thread.join();
  }

  [[nodiscard]] std::atomic<std::uint64_t>& counter(std::uint64_t page) const {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(page_at(region, page));
  }
  std::uint64_t wrong_counters(std::uint64_t expected) const {
    std::uint64_t wrong = 0;
    for (std::uint64_t p = 0; p < kPages; ++p) wrong += counter(p) == expected ? 0 : 1;
    return wrong;
  }
  void evict() { (void)engine->reclaim(kPages); }

  std::unique_ptr<Engine> engine;
  Region region;
};

TEST_P(Race, fault_against_eviction_of_the_same_page) {
  const std::uint64_t count = rounds(60);
  std::uint64_t total = 0;
  // Until they have met; a busy machine may run them one after the other for a while.
  for (int tries = 0; tries < 100 && engine->stats().pages_unmapped == 0; ++tries) {
    race(
        count,
        [&](std::uint64_t) {
          for (std::uint64_t p = 0; p < kPages; ++p) counter(p) += 1;
        },
        [&](std::uint64_t) { evict(); });
    total += count;
    ASSERT_EQ(wrong_counters(total), 0u);
  }
  EXPECT_GT(engine->stats().pages_unmapped, 0u);
}

TEST_P(Race, rescue_against_write_out) {
  const std::uint64_t count = rounds(60);
  write_pages(region, 0, kPages, 0);
  std::uint64_t wrong = 0, written = 0;
  // Until they have met; a busy machine may run them one after the other for a while.
  for (int tries = 0; tries < 100 && (tries == 0 || engine->stats().faults_rescued == 0); ++tries) {
    race(
        count,
        [&](std::uint64_t) {
          // Against the order of the write-out, so that they meet.
          for (std::uint64_t p = kPages; p-- > 0;) {
            wrong += page_holds(page_at(region, p), written + p) ? 0 : 1;
            write_page(page_at(region, p), written + 1 + p);
          }
          ++written;
          wrong += wrong_pages(region, 0, kPages, written);
        },
        [&](std::uint64_t) {
          for (int i = 0; i < 16; ++i) (void)engine->reclaim(1);
        });
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(wrong_pages(region, 0, kPages, written), 0u);
  EXPECT_GT(engine->stats().faults_rescued, 0u);
}

TEST_P(Race, two_faults_on_one_page) {
  const std::uint64_t count = rounds(60);
  Gate evicted;
  const auto touch_all = [&](std::uint64_t round, bool first) {
    if (first) evict();
    evicted.pass();
    for (std::uint64_t i = 0; i < kPages; ++i) {
      counter((i * 37 + round) % kPages) += 1;  // scattered: each is a fault of its own
    }
  };
  race(
      count, [&](std::uint64_t round) { touch_all(round, true); },
      [&](std::uint64_t round) { touch_all(round, false); });
  EXPECT_EQ(wrong_counters(2 * count), 0u);
}

TEST_P(Race, free_against_scan) {
  const std::uint64_t count = rounds(60);
  std::uint64_t wrong = 0;
  race(
      count,
      [&](std::uint64_t round) {
        // Every other run of eight is freed, and a block, and a whole region.
        write_pages(region, 0, kPages, round);
        std::byte* const block = engine->allocate_pages(2).value();
        Region other = map(*engine, 64 * kPageSize);
        write_pages(other, 0, 64, round);
        for (std::uint64_t p = 0; p < kPages; p += 16) {
          EXPECT_TRUE(region.advise(p * kPageSize, 8 * kPageSize, Advice::free));
        }
        engine->free_pages(block, 2);
        EXPECT_TRUE(other.unmap());
        for (std::uint64_t p = 0; p < kPages; ++p) {
          const bool freed = p % 16 < 8;
          wrong +=
              (freed ? page_is_zero(page_at(region, p)) : page_holds(page_at(region, p), round + p))
                  ? 0
                  : 1;
        }
      },
      [&](std::uint64_t) {
        for (int i = 0; i < 4; ++i) evict();
      });
  EXPECT_EQ(wrong, 0u);
}

TEST_P(Race, unmap_against_fault) {
  const std::uint64_t count = rounds(60);
  race(
      count,
      [&](std::uint64_t) {
        for (std::uint64_t p = 0; p < kPages; ++p) counter(p) += 1;
        evict();
      },
      [&](std::uint64_t round) {
        Region other = map(*engine, 128 * kPageSize);
        std::byte* const kept = page_at(other, round % 128);
        write_pages(other, 0, 128, round);
        auto pin = engine->pin(kept, kPageSize);
        ASSERT_TRUE(pin);
        EXPECT_TRUE(other.unmap());
        // The pinned page is all that is left of the region, until the pin goes.
        EXPECT_TRUE(page_holds(kept, round + round % 128));
        write_page(kept, round + 7);
        EXPECT_TRUE(page_holds(kept, round + 7));
      });
  EXPECT_EQ(wrong_counters(count), 0u);
}

TEST_P(Race, pin_against_eviction) {
  const std::uint64_t count = rounds(40);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::uint64_t not_there = 0;
  race(
      count,
      [&](std::uint64_t round) {
        for (std::uint64_t p = 0; p + 4 <= kPages; p += 4) {
          auto pin = engine->pin(page_at(region, p), 4 * kPageSize);
          ASSERT_TRUE(pin) << pin.error().message();
          for (std::uint64_t i = 0; i < 4; ++i) counter(p + i) += 1;
          // The kernel itself says whether the pages stand there.
          if ((p / 4 + round) % 8 == 0) {
            std::byte sink[4 * kPageSize];
            const bool wrote = write(ends[1], page_at(region, p), sizeof sink) == sizeof sink;
            not_there += wrote && read(ends[0], sink, sizeof sink) == sizeof sink ? 0 : 1;
          }
        }
      },
      [&](std::uint64_t) {
        for (int i = 0; i < 4; ++i) evict();
      });
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(not_there, 0u);
  EXPECT_EQ(wrong_counters(count), 0u);
}

TEST_P(Race, resize_against_eviction) {
  const std::uint64_t count = rounds(60);
  std::uint64_t wrong = 0;
  race(
      count,
      [&](std::uint64_t round) {
        EXPECT_TRUE(region.resize(2 * kPages * kPageSize));
        wrong += nonzero_pages(region, kPages, 2 * kPages);
        write_pages(region, 0, 2 * kPages, round);
        EXPECT_TRUE(region.resize((kPages - 3) * kPageSize));
        EXPECT_TRUE(region.resize(kPages * kPageSize));
        wrong += wrong_pages(region, 0, kPages - 3, round);
        wrong += nonzero_pages(region, kPages - 3, kPages);
      },
      [&](std::uint64_t) {
        for (int i = 0; i < 4; ++i) evict();
      });
  EXPECT_EQ(wrong, 0u);
}

TEST_P(Race, discard_against_write_out) {
  const std::uint64_t count = rounds(60);
  std::uint64_t wrong = 0;
  write_pages(region, 0, kPages, 0);
  race(
      count,
      [&](std::uint64_t round) {
        // What is being written out just now is discarded, page by page and as a whole.
        const std::uint64_t half = kPages / 2;
        for (std::uint64_t p = 0; p < half; ++p) {
          EXPECT_TRUE(region.advise(p * kPageSize, kPageSize, Advice::free));
        }
        wrong += nonzero_pages(region, 0, half);
        wrong += wrong_pages(region, half, kPages, round);
        EXPECT_TRUE(region.advise(0, region.size(), Advice::free));
        wrong += nonzero_pages(region, 0, kPages);
        write_pages(region, 0, kPages, round + 1);
      },
      [&](std::uint64_t) {
        for (int i = 0; i < 4; ++i) evict();
      });
  EXPECT_EQ(wrong, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Race,
    testing::Combine(testing::Values(FaultDelivery::signal, FaultDelivery::thread),
                     testing::Values(8u, 64u, 512u)),
    [](const auto& p) {
      return std::string(std::get<0>(p.param) == FaultDelivery::signal ? "signal" : "thread") +
             "_window_" + std::to_string(std::get<1>(p.param));
    });

}  // namespace
}  // namespace holdfast::engine::test
