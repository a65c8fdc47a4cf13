// A random program against a plain-memory model, on the real machine: two threads, one shared
// region in which they take turns of eight pages (so that they fight for windows, never for bytes),
// and a region of its own for each, which comes, grows, shrinks and goes.
//
//   HOLDFAST_SOAK_OPS   operations of each test (default: 10^6, less where there are fewer seeds)
//   HOLDFAST_SEED       replays the choices (not the interleaving of the threads)
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "engine/real_engine.h"
#include "support/seed.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kSharedPages = 3 * kBudget / kPageSize;
constexpr std::uint64_t kOwnPages = 1024;  // capacity of a thread's own region
constexpr std::uint64_t kTurn = 8;         // pages of one thread in a row in the shared region
constexpr unsigned kThreads = 2;

std::uint64_t operations() {
  if (const char* text = std::getenv("HOLDFAST_SOAK_OPS")) return std::strtoull(text, nullptr, 0);
  return std::max<std::uint64_t>(tests::seed_count(1000) * (kUnderTsan ? 250 : 1000), 2000);
}

// What a region should hold, in plain memory.
struct Model {
  Region region;
  std::vector<std::uint8_t> bytes;
};

class Soaker {
 public:
  Soaker(Engine& engine, Model& shared, unsigned number, std::uint64_t seed)
      : engine_(engine), shared_(shared), number_(number), chance_(seed + number) {}

  void run(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count && wrong_ == 0; ++i) step();
    pins_.clear();
  }
  // Everything that this thread may look at. Returns how many operations found something wrong.
  std::uint64_t finish() {
    for (std::uint64_t p = number_ * kTurn; p < kSharedPages; p += kThreads * kTurn) {
      compare(shared_, p * kPageSize, kTurn * kPageSize);
    }
    if (own_.region) compare(own_, 0, own_.region.size());
    (void)own_.region.unmap();
    return wrong_;
  }

 private:
  struct Place {
    Model* model;
    std::uint64_t offset, bytes;
  };

  std::uint64_t below(std::uint64_t limit) { return chance_() % limit; }

  // A range of at most `most` bytes inside one turn of ours. Mostly near the last one, as programs
  // are.
  Place pick(std::uint64_t most) {
    if (own_.region && below(4) == 0) {
      const std::uint64_t size = own_.region.size();
      const std::uint64_t bytes = 1 + below(std::min(most, size));
      return {&own_, below(size - bytes + 1), bytes};
    }
    constexpr std::uint64_t kTurns = kSharedPages / kTurn / kThreads;
    if (below(16) == 0) turn_ = below(8) == 0 ? below(kTurns) : (turn_ + 1) % kTurns;
    const std::uint64_t first = (turn_ * kThreads + number_) * kTurn * kPageSize;
    const std::uint64_t bytes = 1 + below(std::min(most, kTurn * kPageSize));
    return {&shared_, first + below(kTurn * kPageSize - bytes + 1), bytes};
  }

  void step() {
    const std::uint64_t what = below(1000);
    if (what < 450) return load(pick(64));
    if (what < 900) return store(pick(64));
    if (what < 930) return load(pick(2 * kPageSize));
    if (what < 960) return store(pick(2 * kPageSize));
    if (what < 970) return fill(pick(4 * kPageSize));
    if (what < 980) return pin_or_unpin();
    if (what < 985) return prefetch();
    if (what < 990) return advise();
    if (what < 994) return map_or_unmap();
    if (what < 998) return resize();
    if (what < 999) (void)engine_.reclaim(1 + below(128));
  }

  void expect(bool good, const char* what, const Place& place) {
    if (good) return;
    if (wrong_++ == 0) {
      ADD_FAILURE() << what << " of thread " << number_ << " in its "
                    << (place.model == &own_ ? "own" : "shared") << " region at " << place.offset
                    << ", " << place.bytes << " bytes";
    }
  }

  void compare(Model& model, std::uint64_t offset, std::uint64_t bytes) {
    expect(std::memcmp(model.region.data() + offset, model.bytes.data() + offset, bytes) == 0,
           "content", {&model, offset, bytes});
  }
  void load(const Place& place) { compare(*place.model, place.offset, place.bytes); }
  void store(const Place& place) {
    std::uint64_t noise = chance_();
    std::uint8_t* const model = place.model->bytes.data() + place.offset;
    for (std::uint64_t i = 0; i < place.bytes; ++i) {
      model[i] = static_cast<std::uint8_t>(noise >> (i % 8 * 8));
    }
    std::memcpy(place.model->region.data() + place.offset, model, place.bytes);
  }
  void fill(const Place& place) {
    const int value = static_cast<int>(below(3));
    std::memset(place.model->region.data() + place.offset, value, place.bytes);
    std::memset(place.model->bytes.data() + place.offset, value, place.bytes);
  }

  void pin_or_unpin() {
    if (pins_.size() >= 16 || (!pins_.empty() && below(2) == 0)) {
      pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(below(pins_.size())));
      return;
    }
    const Place place = pick(4 * kPageSize);
    if (place.model == &own_) return;  // so that it can always be resized
    auto pin = engine_.pin(shared_.region.data() + place.offset, place.bytes);
    expect(pin.has_value(), "pin", place);
    if (pin) pins_.push_back(std::move(*pin));
  }
  void prefetch() {
    const Place place = pick(kTurn * kPageSize);
    expect(place.model->region.prefetch(place.offset, place.bytes).has_value(), "prefetch", place);
  }

  void advise() {
    const Place place = pick(kTurn * kPageSize);
    constexpr Advice kHints[] = {Advice::cold, Advice::will_need, Advice::normal};
    if (below(2) == 0) {
      const Advice hint = kHints[below(3)];
      expect(place.model->region.advise(place.offset, place.bytes, hint).has_value(), "advice",
             place);
      return;
    }
    const auto freed = place.model->region.advise(place.offset, place.bytes, Advice::free);
    expect(freed || freed.error().code == Errc::busy, "free", place);
    const std::uint64_t first = round_up(place.offset, kPageSize);
    const std::uint64_t end = (place.offset + place.bytes) / kPageSize * kPageSize;
    if (freed && first < end) {
      std::memset(place.model->bytes.data() + first, 0, end - first);
    } else if (!freed) {
      // Our own pins are in the way; nothing was freed.
      expect(!pins_.empty(), "refusal to free", place);
      compare(*place.model, place.offset, place.bytes);
    }
  }

  void map_or_unmap() {
    if (own_.region) {
      compare(own_, 0, own_.region.size());
      expect(own_.region.unmap().has_value(), "unmap", {&own_, 0, 0});
      return;
    }
    const std::uint64_t bytes = (1 + below(kOwnPages)) * kPageSize;
    auto region = engine_.map_anonymous(bytes, kOwnPages * kPageSize);
    expect(region.has_value(), "map", {&own_, 0, bytes});
    if (!region) return;
    own_.region = std::move(*region);
    own_.bytes.assign(bytes, 0);
  }
  void resize() {
    if (!own_.region) return;
    const std::uint64_t bytes = (1 + below(kOwnPages)) * kPageSize;
    expect(own_.region.resize(bytes).has_value(), "resize", {&own_, 0, bytes});
    own_.bytes.resize(bytes, 0);
  }

  Engine& engine_;
  Model& shared_;
  Model own_;
  const unsigned number_;
  std::mt19937_64 chance_;
  std::uint64_t turn_ = 0;
  std::vector<Pin> pins_;
  std::uint64_t wrong_ = 0;
};

using Way = std::tuple<FaultDelivery, bool>;

class Soak : public testing::TestWithParam<Way> {};

TEST_P(Soak, random_programs_agree_with_plain_memory) {
  const auto [delivery, use_move] = GetParam();
  Options options = small_options(delivery);
  options.use_move = use_move;
  options.swap = {ram_tier(SwapCompression::lz4, 3 * kMiB), file_tier(SwapIo::automatic)};
  if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  const std::uint64_t count = operations();
  std::printf("%llu operations, HOLDFAST_SEED=%llu\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(seed));
  const auto engine = make_engine(options);
  ASSERT_NE(engine, nullptr);
  Model shared{.region = map(*engine, kSharedPages * kPageSize),
               .bytes = std::vector<std::uint8_t>(kSharedPages * kPageSize)};
  constexpr int kRounds = 10;  // everything is at rest, and checked, between them
  Soaker first(*engine, shared, 0, seed), second(*engine, shared, 1, seed);
  for (int round = 0; round < kRounds && !HasFailure(); ++round) {
    std::thread thread([&] { second.run(count / kRounds / kThreads); });
    first.run(count / kRounds / kThreads);
    thread.join();
    EXPECT_TRUE(all_is_well(*engine));
  }
  EXPECT_EQ(first.finish() + second.finish(), 0u);
  const Stats stats = engine->stats();
  EXPECT_EQ(stats.faults_refused + stats.hash_mismatches + stats.pins, 0u);
  if (count >= 100'000) {
    EXPECT_GT(stats.faults_swap, 0u);
    EXPECT_GT(stats.evicted_written, 0u);
  }
  EXPECT_TRUE(shared.region.unmap());
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_EQ(engine->stats().slots_used, 0u);
}

INSTANTIATE_TEST_SUITE_P(
    Ways, Soak,
    testing::Combine(testing::Values(FaultDelivery::signal, FaultDelivery::thread),
                     testing::Bool()),
    [](const auto& p) {
      return std::string(std::get<0>(p.param) == FaultDelivery::signal ? "signal" : "thread") +
             (std::get<1>(p.param) ? "_move" : "_copy");
    });

}  // namespace
}  // namespace holdfast::engine::test
