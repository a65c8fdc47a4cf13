// Trees of clones and snapshots on the real machine, against a model that copies everything. Two
// threads each change trees of their own; at every checkpoint all is at rest, every byte of every
// copy is compared, every page's count with its holders (check_all()), and the copies are dealt
// anew: from then on the threads write to what the other's share.
//
//   HOLDFAST_SOAK_OPS   operations of each test (default: 10^6, less where there are fewer seeds)
//   HOLDFAST_SEED       replays the choices (not the interleaving of the threads)
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>
#include <tuple>
#include <vector>

#include "engine/real_engine.h"
#include "support/seed.h"

namespace holdfast::engine::test {
namespace {

constexpr std::size_t kNodesMax = 20;       // regions and snapshots of one thread
constexpr std::size_t kPinsMax = 12;        // of one thread
constexpr std::uint64_t kPinPages = 4;      // of one pin, at most
constexpr std::uint64_t kPagesMax = 80;     // of most trees: two windows and a half
constexpr std::uint64_t kPagesLarge = 520;  // of some: more than one leaf
constexpr unsigned kThreads = 2;

std::uint64_t operations() {
  if (const char* text = std::getenv("HOLDFAST_SOAK_OPS")) return std::strtoull(text, nullptr, 0);
  return std::max<std::uint64_t>(tests::seed_count(1000) * (kUnderTsan ? 100 : 1000), 2000);
}

// A pin, and where it stands in its copy.
struct HeldPin {
  Pin pin;
  std::uint64_t offset, bytes;
};

// A region or a snapshot, and all its bytes in plain memory.
struct Node {
  Region region;
  Snapshot snapshot;
  std::vector<std::byte> model;
  std::uint64_t depth = 0;  // how many copies away from memory that was mapped
  std::vector<HeldPin> pins;

  [[nodiscard]] bool writable() const { return static_cast<bool>(region); }
  [[nodiscard]] std::uint64_t size() const { return model.size(); }
  [[nodiscard]] const std::byte* data() const {
    return writable() ? region.data() : snapshot.data();
  }
  [[nodiscard]] Source source() const { return writable() ? Source(region) : Source(snapshot); }
  [[nodiscard]] bool holds(std::uint64_t offset, std::uint64_t bytes) const {
    return std::memcmp(data() + offset, model.data() + offset, bytes) == 0;
  }
};

// What is left of a region that was unmapped under its pins.
struct Remains {
  Pin pin;
  const std::byte* at;
  std::vector<std::byte> bytes;
};

struct Totals {
  std::uint64_t wrong = 0, clones = 0, snapshots = 0, drops = 0, drops_under_pins = 0;
  std::uint64_t pins = 0, unchanged = 0, deepest = 0;

  void add(const Totals& other) {
    wrong += other.wrong;
    clones += other.clones;
    snapshots += other.snapshots;
    drops += other.drops;
    drops_under_pins += other.drops_under_pins;
    pins += other.pins;
    unchanged += other.unchanged;
    deepest = std::max(deepest, other.deepest);
  }
};

void print(const Totals& totals, const Stats& stats) {
  const auto n = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "  clones %llu, snapshots %llu, drops %llu (%llu under pins), pins %llu, deepest %llu\n",
      n(totals.clones), n(totals.snapshots), n(totals.drops), n(totals.drops_under_pins),
      n(totals.pins), n(totals.deepest));
  std::printf("  pages copied %llu, lifted %llu, from swap %llu, rescued %llu, unchanged %llu\n",
              n(stats.cow_copied), n(stats.cow_lifted), n(stats.faults_swap),
              n(stats.faults_rescued), n(totals.unchanged));
}

class Gardener {
 public:
  Gardener(Engine& engine, std::uint64_t seed) : engine_(engine), chance_(seed) {}

  void run(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count && totals_.wrong == 0; ++i) step();
  }
  // Compares all that it has.
  void verify() {
    for (const Node& node : nodes_) expect(node.holds(0, node.size()), "content", node);
    for (const Remains& remains : remains_) check_remains(remains);
  }
  // What it has passes to `other` and back, by chance.
  void deal_with(Gardener& other) {
    std::vector<Node> all = std::move(nodes_);
    std::move(other.nodes_.begin(), other.nodes_.end(), std::back_inserter(all));
    nodes_.clear();
    other.nodes_.clear();
    std::shuffle(all.begin(), all.end(), chance_);
    for (std::size_t i = 0; i < all.size(); ++i) {
      (i < all.size() / 2 ? nodes_ : other.nodes_).push_back(std::move(all[i]));
    }
  }
  // Pages that it pins, each once.
  [[nodiscard]] std::uint64_t pages_pinned() const {
    std::uint64_t pages = 0;
    for (const Node& node : nodes_) {
      std::vector<bool> pinned(node.size() / kPageSize);
      for (const HeldPin& held : node.pins) {
        for (std::uint64_t i = 0; i < held.pin.pages(); ++i) {
          pinned[held.offset / kPageSize + i] = true;
        }
      }
      pages += static_cast<std::uint64_t>(std::count(pinned.begin(), pinned.end(), true));
    }
    return pages;
  }
  void drop_remains() {
    while (!remains_.empty()) drop_remains(remains_.size() - 1);
  }
  void drop_everything() {
    while (!nodes_.empty()) drop();
    drop_remains();
  }
  [[nodiscard]] const Totals& totals() const { return totals_; }

 private:
  struct Place {
    Node* node;
    std::uint64_t offset, bytes;
  };

  std::uint64_t below(std::uint64_t limit) { return chance_() % limit; }
  Node& any() { return nodes_[below(nodes_.size())]; }

  // A range of at most `most` bytes; mostly near the last one, as programs are.
  Place pick(std::uint64_t most) {
    if (below(8) == 0) focus_ = chance_();
    Node& node = nodes_[focus_ % nodes_.size()];
    const std::uint64_t bytes = 1 + below(std::min(most, node.size()));
    const std::uint64_t near = (focus_ >> 20) + below(8 * kPageSize);
    return {&node, near % (node.size() - bytes + 1), bytes};
  }

  void step() {
    if (nodes_.empty()) return plant();
    const std::uint64_t what = below(1000);
    if (what < 400) return store(pick(64));
    if (what < 700) return load(pick(64));
    if (what < 760) return store(pick(3 * kPageSize));
    if (what < 790) return load(pick(6 * kPageSize));
    if (what < 815) return fill(pick(4 * kPageSize));
    if (what < 855) return copy();
    if (what < 895) return read(pick(8 * kPageSize));
    if (what < 935) return pin_or_unpin();
    if (what < 955) return advise(pick(8 * kPageSize));
    if (what < 959) return evict();
    if (what < 971) return look_for_changes();
    if (what < 985) return arm();
    if (what < 990) return plant();
    if (what < 995) return drop();
    drop_remains();
  }

  void expect(bool good, const char* what, const Node& node) {
    if (good) return;
    if (totals_.wrong++ == 0) {
      ADD_FAILURE() << what << " of a " << (node.writable() ? "region" : "snapshot") << " of "
                    << node.size() / kPageSize << " pages, " << node.depth << " deep";
    }
  }
  template <class Result>
  bool expect_done(const Result& result, const char* what, const Node& node) {
    if (result) return true;
    expect(false, (std::string(what) + ": " + result.error().message()).c_str(), node);
    return false;
  }

  void load(const Place& place) {
    expect(place.node->holds(place.offset, place.bytes), "content", *place.node);
  }
  void store(const Place& place) {
    if (!place.node->writable()) return load(place);
    std::uint64_t noise = chance_();
    std::byte* const model = place.node->model.data() + place.offset;
    for (std::uint64_t i = 0; i < place.bytes; ++i) {
      model[i] = static_cast<std::byte>(noise >> (i % 8 * 8));
      if (i % 512 == 511) noise = noise * 0x9e3779b97f4a7c15U + 1;
    }
    std::memcpy(place.node->region.data() + place.offset, model, place.bytes);
  }
  void fill(const Place& place) {
    if (!place.node->writable()) return load(place);
    const int value = static_cast<int>(below(3));
    std::memset(place.node->model.data() + place.offset, value, place.bytes);
    std::memset(place.node->region.data() + place.offset, value, place.bytes);
  }
  // A snapshot's way to be read without being mapped.
  void read(const Place& place) {
    if (place.node->writable()) return load(place);
    std::vector<std::byte> bytes(place.bytes);
    if (!expect_done(place.node->snapshot.read(place.offset, bytes), "read", *place.node)) return;
    const std::byte* const model = place.node->model.data() + place.offset;
    expect(std::memcmp(bytes.data(), model, place.bytes) == 0, "content by read()", *place.node);
  }

  // A new root.
  void plant() {
    if (nodes_.size() >= kNodesMax) return drop();
    const std::uint64_t pages = below(16) == 0 ? kPagesLarge : 1 + below(kPagesMax);
    auto region = engine_.map_anonymous(pages * kPageSize);
    Node node;
    node.model.resize(pages * kPageSize);
    if (!expect_done(region, "map", node)) return;
    node.region = std::move(*region);
    nodes_.push_back(std::move(node));
  }
  // Of anything a clone or a snapshot; some older one goes for it.
  void copy() {
    if (nodes_.size() >= kNodesMax) drop();
    Node node;
    {
      const Node& from = any();
      node.model = from.model;
      node.depth = from.depth + 1;
      if (below(2) == 0) {
        auto made = engine_.clone(from.source());
        if (!expect_done(made, "clone", from)) return;
        node.region = std::move(*made);
        ++totals_.clones;
      } else {
        auto made = engine_.snapshot(from.source());
        if (!expect_done(made, "snapshot", from)) return;
        node.snapshot = std::move(*made);
        ++totals_.snapshots;
      }
    }
    expect((node.writable() ? node.region.size() : node.snapshot.size()) == node.size(), "size",
           node);
    totals_.deepest = std::max(totals_.deepest, node.depth);
    nodes_.push_back(std::move(node));
  }
  // Whatever its pins: what they hold stays where it is until they go.
  void drop() {
    const std::size_t index = below(nodes_.size());
    Node node = std::move(nodes_[index]);
    nodes_.erase(nodes_.begin() + static_cast<std::ptrdiff_t>(index));
    if (!node.pins.empty()) ++totals_.drops_under_pins;
    for (HeldPin& held : node.pins) {
      const std::byte* const model = node.model.data() + held.offset;
      remains_.push_back({.pin = std::move(held.pin),
                          .at = node.data() + held.offset,
                          .bytes = {model, model + held.bytes}});
    }
    ++totals_.drops;
    const auto done = node.writable() ? node.region.unmap() : node.snapshot.drop();
    expect_done(done, "drop", node);
    while (remains_.size() > kPinsMax) drop_remains(0);
  }
  void check_remains(const Remains& remains) {
    const bool same = std::memcmp(remains.at, remains.bytes.data(), remains.bytes.size()) == 0;
    expect(same, "pinned content of what is gone", Node());
  }
  void drop_remains(std::size_t index) {
    check_remains(remains_[index]);
    remains_.erase(remains_.begin() + static_cast<std::ptrdiff_t>(index));
  }

  void pin_or_unpin() {
    Node& node = any();
    if (!node.pins.empty() && below(2) == 0) {
      node.pins.erase(node.pins.begin() + static_cast<std::ptrdiff_t>(below(node.pins.size())));
      return;
    }
    std::size_t held = 0;
    for (const Node& each : nodes_) held += each.pins.size();
    if (held >= kPinsMax) return;
    const std::uint64_t page = below(node.size() / kPageSize);
    const std::uint64_t offset = page * kPageSize;
    const std::uint64_t bytes =
        (1 + below(std::min(kPinPages, node.size() / kPageSize - page))) * kPageSize;
    const Access access = node.writable() && below(2) == 0 ? Access::write : Access::read;
    auto pin = engine_.pin(node.data() + offset, bytes, access);
    if (!expect_done(pin, "pin", node)) return;
    ++totals_.pins;
    node.pins.push_back({.pin = std::move(*pin), .offset = offset, .bytes = bytes});
  }

  void advise(const Place& place) {
    if (!place.node->writable()) return read(place);
    Node& node = *place.node;
    if (below(2) == 0) {
      expect_done(node.region.advise(place.offset, place.bytes, Advice::cold), "advice", node);
      return;
    }
    const auto freed = node.region.advise(place.offset, place.bytes, Advice::free);
    const std::uint64_t first = round_up(place.offset, kPageSize);
    const std::uint64_t end = (place.offset + place.bytes) / kPageSize * kPageSize;
    if (freed && first < end) std::memset(node.model.data() + first, 0, end - first);
    if (freed || (freed.error().code == Errc::busy && !node.pins.empty())) return;
    expect_done(freed, "free", node);
  }
  void evict() { (void)engine_.reclaim(1 + below(256)); }
  void arm() {
    const Node& node = any();
    if (node.writable()) expect_done(engine_.arm(node.region), "arm", node);
  }

  // What two snapshots are said to have in common they have.
  void look_for_changes() {
    const Node& node = any();
    const Node& since = any();
    if (node.writable() || since.writable()) return;
    auto compare = [&](const Run& run) {
      if (run.kind == RunKind::data) return;
      for (std::uint64_t at = run.offset; at < run.offset + run.bytes; at += kPageSize) {
        const bool beyond = run.kind == RunKind::zero || at >= since.size();
        const bool same =
            beyond ? page_is_zero(node.model.data() + at)
                   : std::memcmp(node.model.data() + at, since.model.data() + at, kPageSize) == 0;
        expect(same, "a page that is said to be zeros or unchanged", node);
        totals_.unchanged += run.kind == RunKind::unchanged ? 1 : 0;
      }
    };
    expect_done(node.snapshot.for_each_run(compare, &since.snapshot), "runs", node);
  }

  Engine& engine_;
  std::mt19937_64 chance_;
  std::vector<Node> nodes_;
  std::vector<Remains> remains_;
  std::uint64_t focus_ = 0;
  Totals totals_;
};

using Way = std::tuple<FaultDelivery, bool>;

class CopiesSoak : public testing::TestWithParam<Way> {};

TEST_P(CopiesSoak, trees_of_clones_and_snapshots_agree_with_a_model_that_copies_everything) {
  const auto [delivery, use_move] = GetParam();
  Options options = small_options(delivery);
  options.use_move = use_move;
  options.swap = {ram_tier(SwapCompression::lz4, 2 * kMiB), file_tier(SwapIo::automatic)};
  if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  const std::uint64_t count = operations();
  std::printf("%llu operations, HOLDFAST_SEED=%llu\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(seed));
  const auto engine = make_engine(options);
  ASSERT_NE(engine, nullptr);
  {
    const std::uint64_t checkpoints = std::clamp<std::uint64_t>(count / 10'000, 4, 100);
    Gardener first(*engine, seed), second(*engine, seed + 1);
    for (std::uint64_t i = 0; i < checkpoints && !HasFailure(); ++i) {
      std::thread thread([&] { second.run(count / checkpoints / kThreads); });
      first.run(count / checkpoints / kThreads);
      thread.join();
      first.verify();
      second.verify();
      first.drop_remains();
      second.drop_remains();
      EXPECT_EQ(engine->stats().pins, first.pages_pinned() + second.pages_pinned());
      EXPECT_TRUE(all_is_well(*engine));
      first.deal_with(second);
    }
    first.drop_everything();
    EXPECT_TRUE(all_is_well(*engine));
    second.drop_everything();
    Totals totals = first.totals();
    totals.add(second.totals());
    const Stats stats = engine->stats();
    print(totals, stats);
    EXPECT_EQ(stats.faults_refused + stats.hash_mismatches + stats.pins, 0u);
    if (count >= 100'000 && !HasFailure()) {
      EXPECT_GT(totals.deepest, 20u);
      EXPECT_GT(totals.drops_under_pins, 0u);
      EXPECT_GT(totals.unchanged, 0u);
      EXPECT_GT(stats.cow_copied, 0u);
      EXPECT_GT(stats.cow_lifted, 0u);
      EXPECT_GT(stats.faults_swap, 0u);
    }
  }
  EXPECT_TRUE(all_is_well(*engine));
  EXPECT_EQ(engine->stats().slots_used, 0u);
  EXPECT_EQ(engine->stats().managed_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Ways, CopiesSoak,
                         testing::Values(Way{FaultDelivery::signal, true},
                                         Way{FaultDelivery::thread, false}),
                         [](const auto& p) {
                           return std::string(std::get<0>(p.param) == FaultDelivery::signal
                                                  ? "signal_move"
                                                  : "thread_copy");
                         });

}  // namespace
}  // namespace holdfast::engine::test
