// Which faults make a stream.
#include "space/stream_detector.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "support/seed.h"

namespace holdfast::space {
namespace {

// Reads pages in order, as a program would: a page that was brought in does not fault.
class Reader {
 public:
  void read(std::uint64_t index) {
    if (here_.contains(index)) return;
    ++faults;
    const RunPlan plan = detector.plan(index);
    widest = std::max(widest, plan.pages);
    std::uint32_t came = 0;
    for (; came < plan.pages; ++came) {
      here_.insert(index + static_cast<std::uint64_t>(plan.stride) * came);
    }
    detector.brought(index, plan, came);
  }
  StreamDetector detector;
  std::uint64_t faults = 0;
  std::uint32_t widest = 0;
  [[nodiscard]] std::size_t pages() const { return here_.size(); }

 private:
  std::set<std::uint64_t> here_;
};

TEST(StreamDetector, a_first_fault_brings_in_its_page_alone) {
  StreamDetector detector;
  EXPECT_EQ(detector.plan(100).pages, 1u);
}

TEST(StreamDetector, a_sequential_stream_doubles_its_run_up_to_the_most) {
  Reader reader;
  for (std::uint64_t p = 0; p < 4096; ++p) reader.read(p);
  EXPECT_EQ(reader.widest, kRunMax);
  EXPECT_LT(reader.faults, 4096 / kRunMax + 8);
}

TEST(StreamDetector, a_reverse_stream_is_a_stream) {
  Reader reader;
  for (std::uint64_t p = 4096; p-- > 0;) reader.read(p);
  EXPECT_EQ(reader.widest, kRunMax);
  EXPECT_LT(reader.faults, 4096 / kRunMax + 8);
}

TEST(StreamDetector, a_strided_stream_brings_in_what_it_will_touch) {
  for (const std::uint64_t stride : {2u, 3u, 7u, 63u}) {
    Reader reader;
    for (std::uint64_t p = 0; p < 1000; ++p) reader.read(1'000'000 + p * stride);
    EXPECT_EQ(reader.widest, kRunMax) << stride;
    EXPECT_LT(reader.faults, 1000 / kRunMax + 12) << stride;
    EXPECT_LE(reader.pages(), 1000 + kRunMax) << stride;  // none between the strides
  }
}

TEST(StreamDetector, interleaved_streams_are_followed_at_once) {
  Reader reader;
  for (std::uint64_t p = 0; p < 1024; ++p) {
    for (std::uint64_t stream = 0; stream < 6; ++stream) reader.read(stream * 1'000'000 + p);
  }
  EXPECT_LT(reader.faults, 6 * (1024 / kRunMax + 8));
}

TEST(StreamDetector, a_stream_goes_on_beyond_pages_that_are_there_already) {
  StreamDetector detector;
  for (std::uint64_t p = 0; p < 4; ++p) (void)detector.plan(p);
  const std::uint32_t width = detector.plan(4).pages;
  EXPECT_GE(width, 8u);
  EXPECT_GE(detector.plan(4 + width + 5).pages, width);  // five of them were resident
}

TEST(StreamDetector, the_same_page_again_is_no_news) {
  StreamDetector detector;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(detector.plan(5).pages, 1u);
}

TEST(StreamDetector, random_faults_never_widen) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  std::vector<std::uint64_t> order(4096);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), chance);
  StreamDetector detector;
  for (const std::uint64_t i : order) EXPECT_EQ(detector.plan(i * 128).pages, 1u);
}

TEST(StreamDetector, a_new_region_starts_with_no_streams) {
  StreamDetector detector;
  for (std::uint64_t p = 0; p < 8; ++p) (void)detector.plan(p);
  detector.reset();
  EXPECT_EQ(detector.plan(8).pages, 1u);
}

}  // namespace
}  // namespace holdfast::space
