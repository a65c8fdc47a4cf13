// Regions whose pages come from a source: what was never touched is as the source has it, and what
// was changed or given back never comes from there again.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <map>

#include "space/space_fixture.h"

namespace holdfast::space {
namespace {

using object::PageSource;
using object::PageSpan;
using object::SourceRef;
using test::SpaceTest;

// Page i begins with the words 1000 + i and ~i; every seventh is zeros.
class CountingSource final : public PageSource {
 public:
  CountingSource(std::atomic<int>& alive, std::uint64_t pages) : alive_(alive), pages_(pages) {
    ++alive_;
  }
  ~CountingSource() override { --alive_; }

  bool read(std::uint64_t first, std::uint32_t count, std::byte* const* to,
            Error& error) noexcept override {
    for (std::uint32_t i = 0; i < count; ++i) {
      ++reads;
      if (first + i == bad_page.load()) {
        error = {
            .code = Errc::io_error, .os_errno = EIO, .doing = "read source", .value = first + i};
        return false;
      }
      make(first + i, to[i]);
    }
    return true;
  }
  PageSpan around(std::uint64_t index) noexcept override {
    return {index / kGroup * kGroup, kGroup};
  }
  bool holds(std::uint64_t index, const base::Hash128& hash) noexcept override {
    alignas(8) std::byte page[kPageSize];
    make(index, page);
    return base::hash_page(page) == hash;
  }
  static constexpr std::uint64_t kGroup = 4;
  static constexpr std::uint64_t kNone = ~0ULL;

  std::atomic<std::uint64_t> reads{0};
  std::atomic<std::uint64_t> bad_page{kNone};

 private:
  void make(std::uint64_t index, std::byte* to) const {
    std::memset(to, 0, kPageSize);
    if (index >= pages_ || index % 7 == 0) return;
    const std::uint64_t words[] = {1000 + index, ~index};
    std::memcpy(to, words, sizeof words);
  }
  std::atomic<int>& alive_;
  const std::uint64_t pages_;
};

std::uint64_t expected(std::uint64_t page) { return page % 7 == 0 ? 0 : 1000 + page; }

class Source : public SpaceTest {
 protected:
  RegionRecord& map_source(std::uint64_t pages, std::uint64_t capacity = 0) {
    source = new CountingSource(alive, pages);
    RegionRecord* const region =
        space->map(PageCount(pages), PageCount(capacity == 0 ? pages : capacity), SourceRef(source))
            .value();
    mapped.push_back(region);
    return *region;
  }
  void TearDown() override {
    SpaceTest::TearDown();
    EXPECT_EQ(alive, 0) << "the source goes with its last region";
  }
  std::atomic<int> alive{0};
  CountingSource* source = nullptr;
};

TEST_F(Source, pages_come_as_they_are_touched_with_their_neighbours) {
  RegionRecord& region = map_source(64);
  EXPECT_EQ(source->reads, 0u);
  EXPECT_EQ(word(region, 9), 1009u);
  EXPECT_EQ(source->reads, 4u);
  EXPECT_EQ(count(Count::faults_source), 4u);
  for (std::uint64_t p = 8; p < 12; ++p) EXPECT_EQ(kind(region, p), EntryKind::resident) << p;
  EXPECT_EQ(kind(region, 7), EntryKind::none);
  EXPECT_EQ(kind(region, 12), EntryKind::none);
  for (std::uint64_t p = 0; p < 64; ++p) EXPECT_EQ(word(region, p), expected(p)) << p;
  EXPECT_TRUE(check());
}

TEST_F(Source, a_neighbour_that_was_changed_is_left_as_it_is) {
  RegionRecord& region = map_source(64);
  region.advice = Advice::random;
  write(region, 9, 42);
  EXPECT_EQ(kind(region, 8), EntryKind::none) << "random: never more than was touched";
  region.advice = Advice::normal;
  EXPECT_EQ(word(region, 10), 1010u);
  EXPECT_EQ(word(region, 9), 42u);
  EXPECT_EQ(word(region, 8), 1008u);
}

TEST_F(Source, what_did_not_change_leaves_without_a_slot_and_comes_from_the_source_again) {
  RegionRecord& region = map_source(64);
  for (std::uint64_t p = 0; p < 16; ++p) EXPECT_EQ(word(region, p), expected(p));
  write(region, 5, 55);
  evict(region, 1);
  for (std::uint64_t p = 0; p < 16; ++p) {
    const EntryKind wanted = p == 5       ? EntryKind::swapped
                             : p % 7 == 0 ? EntryKind::filled
                                          : EntryKind::none;
    EXPECT_EQ(kind(region, p), wanted) << p;
  }
  EXPECT_EQ(swap->stats().slots_used, 1u);
  EXPECT_TRUE(check());
  for (std::uint64_t p = 0; p < 16; ++p) {
    EXPECT_EQ(word(region, p), p == 5 ? 55u : expected(p)) << p;
  }
}

TEST_F(Source, a_page_that_became_zeros_stays_zeros) {
  RegionRecord& region = map_source(64);
  std::memset(reinterpret_cast<void*>(region.address_of(3)), 0, kPageSize);
  evict(region, 3);
  EXPECT_EQ(kind(region, 3), EntryKind::filled);
  EXPECT_EQ(word(region, 3), 0u);
}

TEST_F(Source, what_is_freed_reads_as_zeros_whether_it_was_touched_or_not) {
  RegionRecord& region = map_source(2048);
  EXPECT_EQ(word(region, 1), 1001u);
  ASSERT_TRUE(space->advise(region, 0, 3 * kPageSize, Advice::free));
  ASSERT_TRUE(space->advise(region, 600 * kPageSize, 1000 * kPageSize, Advice::free));
  for (std::uint64_t p = 0; p < 3; ++p) EXPECT_EQ(word(region, p), 0u) << p;
  EXPECT_EQ(word(region, 4), 1004u);
  EXPECT_EQ(word(region, 599), 1599u);
  for (std::uint64_t p = 600; p < 1600; p += 13) EXPECT_EQ(word(region, p), 0u) << p;
  EXPECT_EQ(word(region, 1600), 2600u);
  free_orphans();
  EXPECT_TRUE(check());
}

TEST_F(Source, what_was_cut_off_and_what_is_new_reads_as_zeros) {
  RegionRecord& region = map_source(64, 128);
  ASSERT_TRUE(space->resize(region, PageCount(32)));
  ASSERT_TRUE(space->resize(region, PageCount(128)));
  for (std::uint64_t p = 0; p < 128; ++p) {
    EXPECT_EQ(word(region, p), p < 32 ? expected(p) : 0u) << p;
  }
}

// Tells what it was told, and brings the source back to order.
struct Mending {
  CountingSource* source = nullptr;
  int calls = 0;
  Error last = {};
  static bool report(const Error& error, Address, void* self) noexcept {
    auto& mending = *static_cast<Mending*>(self);
    ++mending.calls;
    mending.last = error;
    mending.source->bad_page = CountingSource::kNone;
    return true;
  }
};

TEST_F(Source, an_error_of_the_source_is_the_fault_s_and_never_zeros) {
  RegionRecord& region = map_source(64);
  Mending mending{.source = source};
  parts->errors = {.report = &Mending::report, .context = &mending};
  source->bad_page = 22;
  EXPECT_EQ(word(region, 23), 1023u) << "a neighbour's error spoils nothing";
  EXPECT_EQ(mending.calls, 0);
  EXPECT_EQ(kind(region, 22), EntryKind::none);
  EXPECT_EQ(word(region, 22), 1022u) << "mended, and tried again";
  EXPECT_EQ(mending.calls, 1);
  EXPECT_EQ(mending.last.os_errno, EIO);
  EXPECT_TRUE(check());
}

TEST_F(Source, streams_and_prefetch_read_in_runs) {
  RegionRecord& region = map_source(512);
  ASSERT_EQ(space->prefetch(region, 0, 200 * kPageSize).value(), 200u);
  EXPECT_EQ(source->reads, 200u);
  for (std::uint64_t p = 0; p < 512; ++p) EXPECT_EQ(word(region, p), expected(p)) << p;
  EXPECT_EQ(source->reads, 512u);
  EXPECT_LT(count(Count::faults), 60u);
}

TEST_F(Source, pins_bring_pages_from_the_source) {
  RegionRecord& region = map_source(64);
  ASSERT_TRUE(space->pin(region.address_of(10), 5 * kPageSize));
  for (std::uint64_t p = 10; p < 15; ++p) EXPECT_EQ(kind(region, p), EntryKind::resident) << p;
  EXPECT_EQ(word(region, 12), 1012u);
  EXPECT_EQ(space->advise(region, 0, 64 * kPageSize, Advice::free).error().code, Errc::busy);
  EXPECT_EQ(word(region, 20), 1020u) << "nothing was freed";
  space->unpin(region.address_of(10), 5);
}

}  // namespace
}  // namespace holdfast::space
