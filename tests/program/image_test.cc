// Restored regions on the simulated machine: random loads, stores, frees and evictions by several
// threads, with an image that fails now and then, against a model that is plain memory.
#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>

#include "engine/engine_on.h"
#include "engine/image_handle.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kPages = 256;
constexpr std::uint64_t kWordsOfPage = kPageSize / 8;

// What the image holds: one word in 16 differs from its neighbours, every third page is zeros.
class Content final : public image::RunSource {
 public:
  std::span<const std::uint64_t> regions() const override { return {&kBytes, 1}; }
  Expected<void> for_each_run(image::RunVisitor& visitor) override {
    (void)visitor.visit({.first = 0, .pages = kPages});
    return {};
  }
  Expected<void> read(std::uint64_t first, std::uint32_t pages, std::byte* to) override {
    for (std::uint64_t i = 0; i < pages * kWordsOfPage; ++i) {
      const std::uint64_t word = at(first + i / kWordsOfPage, i % kWordsOfPage);
      std::memcpy(to + 8 * i, &word, sizeof word);
    }
    return {};
  }
  static std::uint64_t at(std::uint64_t page, std::uint64_t word) {
    if (page % 3 == 0) return 0;
    return word % 16 == 0 ? (page << 32 | word) * 0x9e3779b97f4a7c15U : page;
  }

 private:
  static constexpr std::uint64_t kBytes = kPages * kPageSize;
};

// A file in memory whose reads take time: other threads run meanwhile. Fails by chance.
class SimBytes final : public sys::ByteSource {
 public:
  SimBytes(sys::SimMachine& machine, const std::vector<std::byte>& bytes, std::uint64_t& failures)
      : machine_(machine), bytes_(bytes), failures_(failures) {}
  int read(std::uint64_t offset, std::byte* to, std::uint64_t count) noexcept override {
    machine_.yield();
    if (failing && machine_.random_u64() % 32 == 0) {
      ++failures_;
      std::memset(to, 0xE1, count);
      return EIO;
    }
    std::memcpy(to, bytes_.data() + offset, count);
    machine_.yield();
    return 0;
  }
  std::uint64_t size() const noexcept override { return bytes_.size(); }
  static inline bool failing = false;

 private:
  sys::SimMachine& machine_;
  const std::vector<std::byte>& bytes_;
  std::uint64_t& failures_;
};

class Bytes final : public sys::ByteSink {
 public:
  int append(const std::byte* from, std::uint64_t count) noexcept override {
    bytes.insert(bytes.end(), from, from + count);
    return 0;
  }
  Expected<void> commit() override { return {}; }
  std::vector<std::byte> bytes;
};

class NoBases final : public image::ImageFinder {
 public:
  Expected<std::unique_ptr<sys::ByteSource>> find(const image::Id&) override {
    return fail({.code = Errc::not_found});
  }
};

const std::vector<std::byte>& image_bytes() {
  static const std::vector<std::byte> bytes = [] {
    Content content;
    Bytes sink;
    EXPECT_TRUE(image::write_image(sys::real_machine(), content, sink, {.threads = 1}));
    return sink.bytes;
  }();
  return bytes;
}

struct Probes {
  std::uint64_t faults_source = 0, refused = 0, failures = 0, evicted_clean = 0, written = 0;
};

// One program on one machine: all of it follows from the seed.
class RestoredProgram {
 public:
  RestoredProgram(std::uint64_t seed, Probes& probes)
      : machine_(options(seed)), seed_(seed), probes_(probes) {}

  void run() {
    SimBytes::failing = false;
    const auto outcome = machine_.run([&] {
      NoBases none;
      auto image = open_on(
          machine_, std::make_unique<SimBytes>(machine_, image_bytes(), probes_.failures), none);
      ASSERT_TRUE(image) << image.error().message();
      auto engine = create_on(machine_, engine_options());
      ASSERT_TRUE(engine) << engine.error().message();
      {
        auto region = restore(**engine, *image);
        ASSERT_TRUE(region) << region.error().message();
        *image = Image();  // the region keeps it
        SimBytes::failing = seed_ % 2 == 0;
        play(*region);
        SimBytes::failing = false;
        compare(*region);
      }
      (void)machine_.settle();
      EXPECT_TRUE((*engine)->check_all());
      const Stats stats = (*engine)->stats();
      probes_.faults_source += stats.faults_source;
      probes_.refused += stats.faults_refused;
      probes_.evicted_clean += stats.evicted_clean;
      probes_.written += stats.evicted_written;
    });
    EXPECT_EQ(outcome, sys::RunOutcome::finished) << machine_.report();
  }

 private:
  static sys::SimOptions options(std::uint64_t seed) {
    sys::SimOptions options = sys::SimOptions::swarm(seed);
    options.failures_per_million = {};
    options.interrupt_per_1024 = 0;
    options.memory_bytes = 1ULL << 30;
    return options;
  }
  static Options engine_options() {
    Options options;
    options.memory_budget = 128 * kPageSize + (2ULL << 20);
    options.window_pages = 8;
    options.on_error = [](const Error& error, std::uintptr_t, void*) noexcept {
      // EIO of the image: it works the next time or the one after.
      return error.os_errno == EIO ? OnError::retry : OnError::terminate;
    };
    return options;
  }

  void play(Region& region) {
    auto& other = machine_.spawn("other", [&] { work(region, 1); });
    work(region, 0);
    machine_.join(other);
  }

  // Each thread has every other page for itself, and loads of the rest.
  void work(Region& region, std::uint64_t thread) {
    std::mt19937_64 chance(seed_ * 2 + thread);
    for (int i = 0; i < 400 && !testing::Test::HasFailure(); ++i) {
      const std::uint64_t page = chance() % (kPages / 2) * 2 + thread;
      const std::uint64_t word = chance() % kWordsOfPage;
      switch (chance() % 16) {
        case 0:
          if (region.advise(page * kPageSize, kPageSize, Advice::free)) freed_[page] = true;
          for (std::uint64_t w = 0; w < kWordsOfPage; ++w) stored_.erase({page, w});
          break;
        case 1:
        case 2:
        case 3: {
          const std::uint64_t value = chance();
          ASSERT_TRUE(machine_.store(address(region, page, word), &value, sizeof value));
          stored_[{page, word}] = value;
          break;
        }
        case 4: {
          std::uint64_t other = 0;
          ASSERT_TRUE(machine_.load(address(region, page ^ 1, word), &other, sizeof other));
          break;
        }
        default:
          expect(region, page, word);
      }
    }
  }

  void compare(Region& region) {
    for (std::uint64_t page = 0; page < kPages && !testing::Test::HasFailure(); ++page) {
      for (const std::uint64_t word : {0UL, 1UL, 16UL, 511UL}) expect(region, page, word);
    }
    for (const auto& [place, value] : stored_) expect(region, place.first, place.second);
  }

  void expect(Region& region, std::uint64_t page, std::uint64_t word) {
    std::uint64_t seen = 0;
    ASSERT_TRUE(machine_.load(address(region, page, word), &seen, sizeof seen)) << "seed " << seed_;
    const auto stored = stored_.find({page, word});
    const std::uint64_t wanted = stored != stored_.end() ? stored->second
                                 : freed_[page]          ? 0
                                                         : Content::at(page, word);
    ASSERT_EQ(seen, wanted) << "page " << page << " word " << word << " seed " << seed_;
  }

  static Address address(const Region& region, std::uint64_t page, std::uint64_t word) {
    return reinterpret_cast<Address>(region.data()) + page * kPageSize + 8 * word;
  }

  sys::SimMachine machine_;
  const std::uint64_t seed_;
  Probes& probes_;
  // The model. Simulated threads switch only at machine calls.
  std::map<std::pair<std::uint64_t, std::uint64_t>, std::uint64_t> stored_;
  std::map<std::uint64_t, bool> freed_;
};

TEST(EngineImageSim, restored_memory_is_the_images_until_it_is_written_to) {
  (void)image_bytes();  // real threads write it: before there is a simulated machine
  Probes probes;
  const std::uint64_t first = 1;
  const std::uint64_t seeds = tests::seed_count(150);
  const char* const replay = std::getenv("HOLDFAST_SEED");
  for (std::uint64_t i = 0; i < seeds && !HasFailure(); ++i) {
    const std::uint64_t seed = replay != nullptr ? tests::test_seed() : first + i;
    HF_SEED_TRACE(seed);
    RestoredProgram(seed, probes).run();
  }
  if (replay == nullptr && seeds >= 100) {
    EXPECT_GT(probes.faults_source, 10'000u);
    EXPECT_GT(probes.failures, 100u);
    EXPECT_GT(probes.refused, 10u);
    EXPECT_GT(probes.evicted_clean, 1000u);
    EXPECT_GT(probes.written, 100u);
  }
}

}  // namespace
}  // namespace holdfast::engine::test
