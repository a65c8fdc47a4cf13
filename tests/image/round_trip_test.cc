// What is saved is what is read, whatever memory holds.
#include "image_fixture.h"

namespace holdfast::image::test {
namespace {

TEST(ImageRoundTrip, EveryPageComesBackInEveryEncodingAndWithAnyNumberOfThreads) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  for (const Encoding encoding : {Encoding::raw, Encoding::lz4, Encoding::zstd}) {
    for (const std::uint32_t threads : {1U, 3U}) {
      Memory memory({1 + chance() % 700, 1 + chance() % 10});
      memory.randomize(chance);
      const auto bytes = saved(memory, {.encoding = encoding, .threads = threads});
      const auto image = opened(bytes);
      ASSERT_TRUE(image) << image.error().message();
      expect_equal(**image, memory.pages);
      EXPECT_TRUE(verified(**image));
      EXPECT_EQ((*image)->regions().size(), 2u);
    }
  }
}

TEST(ImageRoundTrip, ReadsSpansThatCrossRunsOfEveryKind) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  Memory memory({300});
  memory.randomize(chance);
  const auto bytes = saved(memory);
  const auto image = opened(bytes).value();
  std::vector<Page> room(64);
  std::byte* to[64];
  for (std::size_t i = 0; i < room.size(); ++i) to[i] = room[i].bytes;
  for (int i = 0; i < 500; ++i) {
    const std::uint64_t first = chance() % memory.pages.size();
    const auto count = static_cast<std::uint32_t>(
        1 + chance() % std::min<std::uint64_t>(64, memory.pages.size() - first));
    Error error;
    ASSERT_TRUE(image->read(first, count, to, error)) << error.message();
    for (std::uint32_t k = 0; k < count; ++k) ASSERT_EQ(room[k], memory.pages[first + k]);
  }
}

TEST(ImageRoundTrip, TakesRunsThatAreKnownWithoutReadingThem) {
  std::mt19937_64 chance(1);
  Memory memory({1000});
  for (int i = 400; i < 420; ++i) memory.pages[i] = chance_page(chance, 8);
  memory.told = {
      {0, 400, PageKind::filled, 0}, {400, 20, PageKind::data, 0}, {420, 580, PageKind::filled, 0}};
  memory.fail_read_in = 1;  // all data is read in one piece: a second read would fail
  const auto image_bytes = saved(memory, {.threads = 1});
  const auto image = opened(image_bytes).value();
  expect_equal(*image, memory.pages);
  EXPECT_EQ(image->footer().data_pages, 20u);
}

TEST(ImageRoundTrip, IsCompactWhereMemoryIsEmptyOrRepeats) {
  Memory memory({100'000});
  EXPECT_LT(saved(memory).size(), 1024u) << "zeros are one run";
  for (std::size_t i = 0; i < memory.pages.size(); ++i) memory.pages[i] = filled_page(7);
  EXPECT_LT(saved(memory).size(), 1024u) << "so is any other word";
  std::mt19937_64 chance(1);
  for (Page& page : memory.pages) page = chance_page(chance, 8);
  EXPECT_LT(saved(memory).size(), 100'000 * kPageSize / 3) << "an eighth of each line is by chance";
}

TEST(ImageRoundTrip, StoresWhatDoesNotCompressForLittleMoreThanItsSize) {
  std::mt19937_64 chance(1);
  Memory memory({1000});
  for (Page& page : memory.pages) page = chance_page(chance, 64);
  const auto bytes = saved(memory);
  EXPECT_LT(bytes.size(), 1000 * kPageSize * 1011 / 1000) << "hashes and index: a hundredth";
}

TEST(ImageRoundTrip, ReportsWhatItWrote) {
  std::mt19937_64 chance(1);
  Memory memory({64});
  for (int i = 0; i < 10; ++i) memory.pages[i] = chance_page(chance, 8);
  MemorySink sink;
  const auto report = write_image(sys::real_machine(), memory, sink, {});
  ASSERT_TRUE(report);
  EXPECT_EQ(report->pages, 64u);
  EXPECT_EQ(report->data_pages, 10u);
  EXPECT_EQ(report->filled_pages, 54u);
  EXPECT_EQ(report->unchanged_pages, 0u);
  const auto image = opened(sink.bytes).value();
  EXPECT_EQ(image->header().id, report->id);
  EXPECT_EQ(image->footer().index_checksum, report->index_checksum);
}

class CountingProgress final : public WriteProgress {
 public:
  bool written(std::uint64_t pages, std::uint64_t all, std::uint64_t bytes) override {
    EXPECT_GT(pages, last_pages);
    EXPECT_LE(pages, all);
    EXPECT_GE(bytes, last_bytes);
    last_pages = pages;
    last_bytes = bytes;
    return ++calls != stop_at;
  }
  std::uint64_t last_pages = 0, last_bytes = 0;
  int calls = 0, stop_at = -1;
};

TEST(ImageRoundTrip, TellsItsProgressAndStopsWhenItIsTold) {
  std::mt19937_64 chance(1);
  Memory memory({640});
  memory.randomize(chance);
  CountingProgress progress;
  (void)saved(memory, {.progress = &progress});
  EXPECT_EQ(progress.last_pages, 640u);
  const int calls = progress.calls;
  EXPECT_GE(calls, 10);
  for (int n = 1; n <= calls; ++n) {
    CountingProgress stopping;
    stopping.stop_at = n;
    MemorySink sink;
    const auto report = write_image(sys::real_machine(), memory, sink, {.progress = &stopping});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::cancelled);
    EXPECT_EQ(stopping.calls, n);
    EXPECT_FALSE(sink.committed);
  }
}

TEST(ImageRoundTrip, VerifyTellsItsProgressAndStopsWhenItIsTold) {
  std::mt19937_64 chance(1);
  Memory memory({200});
  for (Page& page : memory.pages) page = chance_page(chance, 8);
  const auto bytes = saved(memory);
  const auto image = opened(bytes).value();
  NoProgress progress;
  EXPECT_TRUE(image->verify(progress));
  EXPECT_EQ(progress.last, bytes.size());
  NoProgress stopping;
  stopping.stop_at = 2;
  const auto result = image->verify(stopping);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Errc::cancelled);
}

TEST(ImageRoundTrip, RefusesASourceThatTellsNonsense) {
  const std::vector<std::vector<PageRun>> nonsense = {
      {{1, 9, PageKind::data, 0}},                             // a gap at the beginning
      {{0, 4, PageKind::data, 0}, {5, 5, PageKind::data, 0}},  // and one inside
      {{0, 11, PageKind::data, 0}},                            // beyond the end
      {{0, 9, PageKind::data, 0}},                             // not all of it
      {{0, 10, PageKind::unchanged, 0}},                       // since what?
  };
  for (const auto& runs : nonsense) {
    Memory memory({10});
    memory.told = runs;
    MemorySink sink;
    const auto report = write_image(sys::real_machine(), memory, sink, {});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, Errc::invalid_argument);
    EXPECT_FALSE(sink.committed);
  }
  Memory nothing({});
  MemorySink sink;
  EXPECT_EQ(write_image(sys::real_machine(), nothing, sink, {}).error().code,
            Errc::invalid_argument);
}

}  // namespace
}  // namespace holdfast::image::test
