// Direct reads into memory that comes and goes: reclaim evicts what it can, clones and snapshots
// are made, regions are unmapped with reads in flight, and every byte is as the file has it.
#include <algorithm>
#include <array>
#include <atomic>
#include <thread>
#include <vector>

#include "aio/real_aio.h"
#include "support/seed.h"

namespace holdfast::aio::test {
namespace {

// Page p of the file holds kKey + p. Most reads go to a region of twice the budget, where
// they are looked at again later; the others to a region that is unmapped at once.
class DirectReads : public testing::TestWithParam<AioBackend> {
 protected:
  static constexpr std::uint64_t kKey = 5000, kFilePages = 1024, kDepth = 32;
  static constexpr std::uint64_t kReadsPerCopy = 250;
  static constexpr std::uint64_t kRegionPages = 4 * kBudget / kPageSize;
  static constexpr std::uint64_t kNothing = ~std::uint64_t{0};

  struct Slot {
    std::byte* page = nullptr;  // where it reads to; null: nowhere
    std::uint64_t file_page = 0;
    bool keeps = false;  // into the large region
    std::atomic<bool> busy{false};
  };

  // A copy of the region, and what some of its pages hold.
  struct Known {
    std::uint64_t at = 0, file_page = 0;
  };
  struct Copy {
    Snapshot snapshot;  // either of the two
    Region clone;
    std::vector<Known> knows;
  };

  void SetUp() override {
    wrong_at_landing = failed = 0;
    Options options = small_options();
    options.memory_budget = 2 * kBudget;  // tables of what is shared take a frame each
    engine = make_engine(options);
    ASSERT_NE(engine, nullptr);
    file = make_file(O_DIRECT);
    fill_file(file, kFilePages, kKey);
    region = map(*engine, kRegionPages * kPageSize);
    aio = make_aio(*engine, {.backend = GetParam(), .queue_limit = kDepth});
    ASSERT_NE(aio, nullptr);
  }

  // With the buffer still pinned: what the file has stands there.
  static void on_complete(const AioCompletion& done, void* context) noexcept {
    auto& slot = *static_cast<Slot*>(context);
    failed += done.is_whole() ? 0 : 1;
    wrong_at_landing += page_holds(slot.page, kKey + slot.file_page) ? 0 : 1;
    slot.busy = false;
  }

  // Its read is over: what stands there from now on is known.
  void settle(Slot& slot) {
    if (slot.page != nullptr && slot.keeps) {
      holds[static_cast<std::uint64_t>(slot.page - region.data()) / kPageSize] = slot.file_page;
    }
    slot.page = nullptr;
  }

  // False: another read has the page, or has had it and is not settled.
  bool choose_page(Slot& slot) {
    const std::uint64_t at = chance() % kRegionPages;
    std::byte* const page = page_at(region, at);
    if (std::ranges::any_of(slots, [&](const Slot& s) { return s.page == page; })) return false;
    slot.page = page;
    if (holds[at] != kNothing) {  // it has been out and in since
      ++looked;
      wrong_later += page_holds(page, kKey + holds[at]) ? 0 : 1;
    }
    holds[at] = kNothing;
    return true;
  }

  // Submits a read of the slot's, if it finds a place for it.
  void read(Slot& slot) {
    settle(slot);
    slot.keeps = chance() % 16 != 0;
    Region passing;
    if (slot.keeps) {
      if (!choose_page(slot)) return;
    } else {
      passing = map(*engine, 4 * kPageSize);
      slot.page = page_at(passing, chance() % 4);
    }
    slot.file_page = chance() % kFilePages;
    slot.busy = true;
    const Buffer in(slot.page, kPageSize);
    AioRequest request = AioRequest::read(file, {&in, 1}, slot.file_page * kPageSize);
    request.on_complete = on_complete;
    request.context = &slot;
    const auto accepted = aio->submit_waiting({&request, 1});
    ASSERT_TRUE(accepted) << accepted.error().message();
    ++submitted;
    if (!passing) return;
    EXPECT_TRUE(passing.unmap());
    ++unmapped;
  }

  // A page whose content is known and that no read is on its way to; kNothing: none was found.
  std::uint64_t known_page() {
    const std::uint64_t at = chance() % kRegionPages;
    const std::byte* const page = page_at(region, at);
    const bool busy = std::ranges::any_of(slots, [&](const Slot& s) { return s.page == page; });
    return busy ? kNothing : at;
  }

  // Copies the region with reads in flight. Those land where the region is looked at; what was
  // known of a page must be in the copy, now and when it goes.
  void copy() {
    Copy& made = copies[next_copy++ % copies.size()];
    check(made);
    made = Copy();
    if (chance() % 2 == 0) {
      auto taken = engine->snapshot(region);
      ASSERT_TRUE(taken) << taken.error().message();
      made.snapshot = std::move(*taken);
    } else {
      auto taken = engine->clone(region);
      ASSERT_TRUE(taken) << taken.error().message();
      made.clone = std::move(*taken);
    }
    for (int i = 0; i < 8; ++i) {
      const std::uint64_t at = known_page();
      if (at == kNothing || holds[at] == kNothing) continue;
      if (std::ranges::find(made.knows, at, &Known::at) != made.knows.end()) continue;
      made.knows.push_back({at, holds[at]});
    }
    // The parent's own writes cost the copy nothing; the clone's nothing the parent.
    if (made.clone && !made.knows.empty()) {
      Known& written = made.knows.front();
      written.file_page = kFilePages + next_copy;
      write_page(page_at(made.clone, written.at), kKey + written.file_page);
    }
    ++copied;
    check(made);
  }

  void check(const Copy& of) {
    const std::byte* const base = of.clone ? of.clone.data() : of.snapshot.data();
    for (const Known& known : of.knows) {
      wrong_in_copy += page_holds(base + known.at * kPageSize, kKey + known.file_page) ? 0 : 1;
      ++looked_in_copy;
    }
  }

  std::uint64_t chance() {
    random = random * 6364136223846793005U + 1442695040888963407U;
    return random >> 33;
  }

  static inline std::atomic<std::uint64_t> wrong_at_landing, failed;
  std::unique_ptr<Engine> engine;
  Descriptor file;
  Region region;
  std::unique_ptr<Aio> aio;
  std::array<Slot, kDepth> slots;
  std::vector<std::uint64_t> holds = std::vector<std::uint64_t>(kRegionPages, kNothing);
  std::uint64_t random = 0, submitted = 0, looked = 0, unmapped = 0, wrong_later = 0;
  std::array<Copy, 3> copies;
  std::uint64_t next_copy = 0, copied = 0, looked_in_copy = 0, wrong_in_copy = 0;
};

TEST_P(DirectReads, land_whole_in_memory_that_is_evicted_cloned_and_unmapped) {
  random = tests::test_seed();
  HF_SEED_TRACE(random);
  const std::uint64_t reads = std::max<std::uint64_t>(tests::seed_count(100'000), 10'000);
  std::atomic<bool> over{false};
  std::thread evictor([&] {
    while (!over) (void)engine->reclaim(64);
  });
  while (submitted < reads && !HasFailure()) {
    for (Slot& slot : slots) {
      if (!slot.busy) read(slot);
    }
    if (submitted >= (copied + 1) * kReadsPerCopy) copy();
  }
  EXPECT_TRUE(aio->wait_idle());
  over = true;
  evictor.join();
  EXPECT_EQ(failed, 0u);
  EXPECT_EQ(wrong_at_landing, 0u);
  EXPECT_EQ(wrong_later, 0u);
  for (const Copy& copy : copies) check(copy);
  EXPECT_EQ(wrong_in_copy, 0u);
  EXPECT_GE(copied, reads / kReadsPerCopy - 1);
  EXPECT_GT(looked_in_copy, copied);
  EXPECT_GT(engine->stats().cow_copied, 0u) << "pages that a read was on its way to";
  EXPECT_GT(looked, reads / 10);
  EXPECT_GT(unmapped, reads / 100);
  EXPECT_GT(engine->stats().evicted_written, reads / 100);
  aio.reset();
  for (Copy& copy : copies) copy = Copy();
  EXPECT_EQ(engine->stats().pins, 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

INSTANTIATE_TEST_SUITE_P(Backends, DirectReads,
                         testing::Values(AioBackend::ring, AioBackend::threads), [](const auto& p) {
                           return p.param == AioBackend::ring ? "ring" : "threads";
                         });

}  // namespace
}  // namespace holdfast::aio::test
