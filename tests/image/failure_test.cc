// Devices that fail while an image is written or read.
#include "image_fixture.h"
#include "support/fake_machine.h"

namespace holdfast::image::test {
namespace {

class ImageFailure : public testing::Test {
 protected:
  ImageFailure() : memory({1300}) {
    std::mt19937_64 chance(7);
    for (Page& page : memory.pages) page = chance_page(chance, 64);
  }
  Memory memory;
};

TEST_F(ImageFailure, TheNthWriteFailsAndNothingIsCommitted) {
  for (const int error : {EIO, ENOSPC}) {
    int n = 0;
    for (;; ++n) {
      MemorySink sink;
      sink.fail_append_in = n;
      sink.error = error;
      const auto report = write_image(sys::real_machine(), memory, sink, {});
      if (report) {
        EXPECT_TRUE(sink.committed);
        break;
      }
      EXPECT_FALSE(sink.committed);
      EXPECT_EQ(report.error().os_errno, error);
      EXPECT_EQ(report.error().value, sink.bytes.size()) << "the offset at which it failed";
      EXPECT_FALSE(opened(sink.bytes)) << "what was written before is no image";
    }
    EXPECT_GE(n, 4) << "the loop went through the whole image";
  }
}

TEST_F(ImageFailure, ACommitThatFailsIsTold) {
  MemorySink sink;
  sink.fail_commit = true;
  const auto report = write_image(sys::real_machine(), memory, sink, {});
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, Errc::io_error);
}

TEST_F(ImageFailure, TheNthReadOfTheMemoryFailsAndNothingIsCommitted) {
  int n = 0;
  for (;; ++n) {
    memory.fail_read_in = n;
    MemorySink sink;
    const auto report = write_image(sys::real_machine(), memory, sink, {.threads = 2});
    if (report) break;
    EXPECT_FALSE(sink.committed);
    EXPECT_EQ(report.error().code, Errc::io_error);
    EXPECT_STREQ(report.error().doing, "read memory");
  }
  EXPECT_GE(n, 20);
}

TEST_F(ImageFailure, TheNthReadOfTheImageFailsAndTheNextTryFindsThePage) {
  const auto bytes = saved(memory);
  for (int n = 0;; ++n) {
    std::atomic<int> fail_read_in{n};
    auto image =
        Reader::open(sys::real_machine(), std::make_unique<MemorySource>(bytes, &fail_read_in));
    if (!image) {
      EXPECT_EQ(image.error().code, Errc::io_error);
      EXPECT_EQ(image.error().os_errno, EIO);
      continue;
    }
    const auto refused = page_of(**image, 100);
    if (!refused) {
      EXPECT_EQ(refused.error().code, Errc::io_error);
      EXPECT_EQ(refused.error().os_errno, EIO);
      EXPECT_GT(refused.error().value, 0u) << "the offset of its group";
      EXPECT_EQ(page_of(**image, 100).value(), memory.pages[100]);
      continue;
    }
    EXPECT_GE(n, 4);
    break;
  }
}

TEST_F(ImageFailure, AFileThatIsCutShortBehindItsReaderIsAnErrorAndNeverZeros) {
  auto bytes = saved(memory);
  const auto image = opened(bytes).value();
  bytes.resize(bytes.size() / 2);
  const std::uint64_t refused = expect_equal_or_refused(*image, memory.pages);
  EXPECT_GT(refused, 500u);
  EXPECT_LT(refused, 800u);
}

// FakeMachine has no threads.
TEST_F(ImageFailure, AMachineThatRefusesThreadsSavesWithoutThem) {
  tests::FakeMachine machine;
  MemorySink sink;
  ASSERT_TRUE(write_image(machine, memory, sink, {.threads = 4}));
  const auto image = opened(sink.bytes).value();
  expect_equal(*image, memory.pages);
}

TEST_F(ImageFailure, AMachineWithoutAddressSpaceRefusesToOpen) {
  const auto bytes = saved(memory);
  tests::FakeMachine machine;
  machine.fail_reserve_in = 0;
  EXPECT_FALSE(Reader::open(machine, std::make_unique<MemorySource>(bytes)));
  EXPECT_EQ(machine.reserved_ranges(), 0u);
  EXPECT_TRUE(Reader::open(machine, std::make_unique<MemorySource>(bytes)));
  EXPECT_EQ(machine.reserved_ranges(), 0u);
}

}  // namespace
}  // namespace holdfast::image::test
