// Copies and bad luck, on the simulated machine: errors of the swap file under pages that several
// share, too little room for a copy, and what cannot be copied at all.
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "engine/engine_on.h"
#include "holdfast/holdfast.h"
#include "support/seed.h"
#include "sys/sim.h"

namespace holdfast::tests {
namespace {

constexpr std::uint64_t kWindow = 8;
constexpr std::uint64_t kBudgetPages = 128;
constexpr std::uint64_t kSharedPages = 2 * kWindow;

using sys::FailureKind;

struct Told {
  int calls = 0;
  Error last{};
};

class CopyErrors : public testing::Test {
 protected:
  // The test's body, as the machine's first thread.
  void run(const std::function<void()>& body) {
    sys::SimOptions options;
    options.seed = test_seed();
    HF_SEED_TRACE(options.seed);
    machine_ = std::make_unique<sys::SimMachine>(options);
    const auto outcome = machine_->run([&] {
      engine_ = make_engine();
      ASSERT_NE(engine_, nullptr);
      body();
      EXPECT_TRUE(engine_->check_all());
      engine_.reset();
    });
    EXPECT_EQ(outcome, sys::RunOutcome::finished) << machine_->report();
  }

  std::unique_ptr<Engine> make_engine() {
    Options options;
    options.memory_budget = kBudgetPages * kPageSize;
    options.window_pages = kWindow;
    options.background_reclaim = false;
    SwapTier file;
    file.kind = SwapTier::Kind::file;
    options.swap = {file};
    options.on_error = [](const Error& error, std::uintptr_t, void* context) noexcept {
      auto& told = *static_cast<Told*>(context);
      ++told.calls;
      told.last = error;
      return OnError::terminate;
    };
    options.on_error_context = &told_;
    auto engine = engine::create_on(*machine_, options);
    EXPECT_TRUE(engine) << engine.error().message();
    return engine ? std::move(*engine) : nullptr;
  }

  Region map(std::uint64_t pages) {
    auto region = engine_->map_anonymous(pages * kPageSize);
    EXPECT_TRUE(region) << region.error().message();
    return region ? std::move(*region) : Region();
  }
  // Noise, which no compression makes smaller, of `key`.
  static std::vector<std::uint64_t> noise(std::uint64_t pages, std::uint64_t key) {
    std::vector<std::uint64_t> words(pages * kPageSize / 8);
    std::mt19937_64 random(key);
    for (std::uint64_t& word : words) word = random();
    return words;
  }
  void fill(const Region& region, std::uint64_t key) {
    const auto words = noise(region.size() / kPageSize, key);
    ASSERT_TRUE(machine_->store(address_of(region), words.data(), region.size()));
  }
  [[nodiscard]] bool can_load(Address address) {
    std::uint64_t word = 0;
    return machine_->load(address, &word, sizeof word);
  }
  [[nodiscard]] bool holds(const std::byte* data, std::uint64_t bytes, std::uint64_t key) {
    std::vector<std::uint64_t> words(bytes / 8);
    return machine_->load(reinterpret_cast<Address>(data), words.data(), bytes) &&
           words == noise(bytes / kPageSize, key);
  }
  static Address address_of(const Region& region) {
    return reinterpret_cast<Address>(region.data());
  }
  // Everything that can leave has left.
  void push_out() {
    for (int i = 0; i < 64; ++i) (void)engine_->reclaim(kBudgetPages);
  }

  std::unique_ptr<sys::SimMachine> machine_;
  std::unique_ptr<Engine> engine_;
  Told told_;
};

TEST_F(CopyErrors, a_swap_error_on_a_shared_slot_is_told_once_to_each_sharer) {
  run([&] {
    Region region = map(kSharedPages);
    fill(region, 1);
    auto snapshot = engine_->snapshot(region);
    ASSERT_TRUE(snapshot) << snapshot.error().message();
    auto clone = engine_->clone(region);
    ASSERT_TRUE(clone) << clone.error().message();
    push_out();
    EXPECT_EQ(engine_->stats().slots_used, kSharedPages) << "one slot for all of them";

    machine_->failures().fail_at(FailureKind::file_read, 1, sys::Repeat::forever);
    const std::array<const std::byte*, 3> sharers{region.data(), clone->data(), snapshot->data()};
    int calls = 0;
    for (const std::byte* const sharer : sharers) {
      EXPECT_FALSE(can_load(reinterpret_cast<Address>(sharer)));
      EXPECT_EQ(told_.calls, ++calls);
      EXPECT_EQ(told_.last.os_errno, EIO) << told_.last.message();
    }
    std::vector<std::byte> bytes(kPageSize);
    const auto read = snapshot->read(0, bytes);
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().os_errno, EIO) << read.error().message();
    EXPECT_EQ(told_.calls, calls) << "a call returns its error";

    machine_->failures().clear();
    for (const std::byte* const sharer : sharers) {
      EXPECT_TRUE(holds(sharer, kSharedPages * kPageSize, 1)) << "nothing is lost";
    }
    EXPECT_TRUE(snapshot->read(0, bytes));
  });
}

TEST_F(CopyErrors, a_copy_without_room_for_pinned_pages_is_refused_and_changes_nothing) {
  run([&] {
    constexpr std::uint64_t kPinned = 7 * kWindow;
    Region region = map(kPinned);
    fill(region, 2);
    const auto pin = engine_->pin(region.data(), region.size(), Access::write);
    ASSERT_TRUE(pin) << pin.error().message();
    std::vector<std::byte*> blocks;  // too little is left for as many copies
    for (std::uint64_t i = 0; i < kPinned / 2; ++i) {
      blocks.push_back(engine_->allocate_pages(0).value());
    }
    machine_->failures().fail_at(FailureKind::file_full, 1, sys::Repeat::forever);
    const Stats before = engine_->stats();
    for (int i = 0; i < 3; ++i) {
      const auto clone = engine_->clone(region);
      ASSERT_FALSE(clone);
      EXPECT_EQ(clone.error().code, Errc::out_of_memory) << clone.error().message();
      const auto snapshot = engine_->snapshot(region);
      ASSERT_FALSE(snapshot);
      EXPECT_EQ(snapshot.error().code, Errc::out_of_memory) << snapshot.error().message();
    }
    push_out();
    const Stats after = engine_->stats();
    EXPECT_EQ(after.slots_used, before.slots_used);
    EXPECT_EQ(after.pages_cached, before.pages_cached);
    EXPECT_TRUE(engine_->check_all());
    EXPECT_TRUE(holds(region.data(), region.size(), 2));

    for (std::byte* const block : blocks) engine_->free_pages(block, 0);
    machine_->failures().clear();
    const auto clone = engine_->clone(region);
    ASSERT_TRUE(clone) << clone.error().message();
    EXPECT_TRUE(holds(clone->data(), clone->size(), 2));
  });
}

TEST_F(CopyErrors, nothing_and_what_is_unmapped_or_of_another_engine_cannot_be_copied) {
  run([&] {
    const std::vector<Source> nothing;
    EXPECT_EQ(engine_->snapshot(nothing).error().code, Errc::invalid_argument);
    EXPECT_EQ(engine_->clone(nothing).error().code, Errc::invalid_argument);

    const Region region = map(kWindow);
    Region unmapped = map(kWindow);
    ASSERT_TRUE(unmapped.unmap());
    EXPECT_EQ(engine_->snapshot(unmapped).error().code, Errc::not_mapped);

    const auto other = make_engine();
    ASSERT_NE(other, nullptr);
    EXPECT_EQ(other->clone(region).error().code, Errc::not_mapped);
    const std::vector<Source> mixed{Source(region), Source(unmapped)};
    const auto refused = engine_->snapshot(mixed);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().value, 1u) << "the second of them: " << refused.error().message();
    EXPECT_TRUE(other->check_all());
  });
}

}  // namespace
}  // namespace holdfast::tests
