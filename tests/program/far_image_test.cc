// Images in a store of objects on the simulated machine: whatever the store does, an image that was
// saved is whole, one that was not is not seen, and what is read is right or an error.
#include <gtest/gtest.h>

#include <cstring>

#include "image/image.h"
#include "support/seed.h"
#include "sys/sim.h"
#include "sys/sim/sim_machine.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kPages = 96;
constexpr std::uint64_t kBytes = kPages * kPageSize;

// Version 1 differs from version 0 in every fifth page; every third is zeros.
std::uint64_t word_at(std::uint64_t page, std::uint64_t word, std::uint64_t version) {
  if (page % 3 == 0) return 0;
  const std::uint64_t of = page % 5 == 1 ? version + 1 : 1;
  return word % 4 != 0 ? page * of : (page << 32 | word << 8 | of) * 0x9e3779b97f4a7c15U;
}

class Content final : public image::RunSource {
 public:
  explicit Content(std::uint64_t version) : version_(version) {}
  std::span<const std::uint64_t> regions() const override { return {&kBytes, 1}; }
  Expected<void> for_each_run(image::RunVisitor& visitor) override {
    (void)visitor.visit({.first = 0, .pages = kPages});
    return {};
  }
  Expected<void> read(std::uint64_t first, std::uint32_t pages, std::byte* to) override {
    for (std::uint64_t i = 0; i < pages * 512; ++i) {
      const std::uint64_t word = word_at(first + i / 512, i % 512, version_);
      std::memcpy(to + 8 * i, &word, sizeof word);
    }
    return {};
  }

 private:
  const std::uint64_t version_;
};

class FarImageWorld {
 public:
  FarImageWorld(sys::SimMachine& machine, std::uint64_t seed) : machine_(machine), random_(seed) {}

  void run() {
    save("monday", 0, nullptr);
    save("monday", 0, nullptr);  // where there is one, it stays
    auto monday = open("monday", 0);
    save("tuesday", 1, monday.get());
    auto& other = machine_.spawn("other", [&] { restore("tuesday", 1); });
    restore("monday", 0);
    restore("tuesday", 1);
    machine_.join(other);
  }
  std::uint64_t saved = 0, refused = 0, read = 0;

 private:
  [[nodiscard]] std::uint64_t injected(sys::FailureKind kind) {
    return machine_.failures().injected(kind);
  }
  static sys::ObjectStoreOptions options(const std::string& name) {
    return {.pool = "pool", .image = name, .wait_ns = 1'000'000'000};
  }
  [[nodiscard]] bool is_listed(const std::string& name) {
    const auto all = machine_.list_far_images(options(name));
    EXPECT_TRUE(all);
    return std::ranges::find(*all, name, &sys::FarImage::name) != all->end();
  }

  void save(const std::string& name, std::uint64_t version, image::Reader* base) {
    const bool was_there = is_listed(name);
    auto store = machine_.open_object_store(options(name));
    if (!store) {
      ++refused;
      return;
    }
    ASSERT_FALSE(was_there);
    const std::uint64_t late = injected(sys::FailureKind::object_late);
    const std::uint64_t failures = machine_.failures().injected_in_all();
    Content content(version);
    Expected<image::WriteReport> report;
    {
      image::FarSink sink(std::move(*store), name, 16 * 1024);
      report = image::write_image(machine_, content, sink, {.threads = 2, .base = base});
    }
    if (report) {
      ++saved;
      EXPECT_TRUE(is_listed(name));
      return;
    }
    ++refused;
    EXPECT_GT(machine_.failures().injected_in_all(), failures) << report.error().message();
    // Seen all the same only if the answer to its publication was lost.
    EXPECT_TRUE(!is_listed(name) || injected(sys::FailureKind::object_late) > late);
  }

  std::unique_ptr<image::Reader> open(const std::string& name, std::uint64_t version) {
    (void)version;
    const std::uint64_t failures = machine_.failures().injected_in_all();
    auto opened = machine_.open_far_image(options(name));
    if (!opened) {
      EXPECT_TRUE(!is_listed(name) || machine_.failures().injected_in_all() > failures);
      return nullptr;
    }
    image::NameFinder finder({}, "rados:pool/" + name, machine_);
    auto reader =
        image::open_chain(machine_, std::make_unique<image::FarSource>(std::move(*opened)), finder);
    if (reader) return std::move(*reader);
    EXPECT_GT(machine_.failures().injected_in_all(), failures) << reader.error().message();
    return nullptr;
  }

  void restore(const std::string& name, std::uint64_t version) {
    const auto reader = open(name, version);
    if (reader == nullptr) return;
    std::vector<std::byte> page(kPageSize);
    for (std::uint64_t i = 0; i < kPages && !testing::Test::HasFailure(); ++i) {
      Error error;
      std::byte* const to = page.data();
      if (!reader->read(i, 1, &to, error)) {
        const std::uint64_t failures = injected(sys::FailureKind::object_read) +
                                       injected(sys::FailureKind::object_late) +
                                       injected(sys::FailureKind::object_corrupt);
        EXPECT_GT(failures, 0U) << error.message();
        continue;
      }
      ++read;
      for (std::uint64_t word = 0; word < 512; ++word) {
        std::uint64_t seen = 0;
        std::memcpy(&seen, page.data() + 8 * word, sizeof seen);
        ASSERT_EQ(seen, word_at(i, word, version)) << name << ", page " << i;
      }
    }
  }

  sys::SimMachine& machine_;
  sys::SimRandom random_;
};

TEST(FarImage, what_is_seen_is_whole_and_what_is_read_is_right_whatever_the_store_does) {
  const std::uint64_t first = std::getenv("HOLDFAST_SEED") != nullptr ? test_seed() : 1;
  const std::uint64_t seeds = seed_count(200);
  std::uint64_t saved = 0, refused = 0, read = 0;
  for (std::uint64_t seed = first; seed < first + seeds && !HasFailure(); ++seed) {
    HF_SEED_TRACE(seed);
    sys::SimMachine machine(sys::SimOptions::swarm(seed));
    const auto outcome = machine.run([&] {
      FarImageWorld world(machine, seed);
      world.run();
      saved += world.saved;
      refused += world.refused;
      read += world.read;
    });
    ASSERT_EQ(outcome, sys::RunOutcome::finished) << machine.report();
    if (machine.failures().injected(sys::FailureKind::object_late) == 0) {
      EXPECT_EQ(machine.sim_stats().objects_left, 0U);
    }
  }
  if (seeds < 50) return;
  EXPECT_GT(saved, seeds);
  EXPECT_GT(refused, seeds / 2);  // most of them try a name that is taken
  EXPECT_GT(read, 0U);
}

}  // namespace
}  // namespace holdfast::tests
