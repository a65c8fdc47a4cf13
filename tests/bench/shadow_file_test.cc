// The peer of file/shadow keeps what it promises: otherwise its figures would be of something else.
#include "files/shadow_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "files/extents.h"
#include "support/temp_directory.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::uint32_t kPages = 64;
constexpr std::uint32_t kChanged = 12;
constexpr std::uint64_t kSector = 512;
// So short a log is full after a few commits.
constexpr ShadowShape kShape{.pages = kPages, .spare = 2 * kChanged, .log_bytes = 4 * kPageBytes};

class ShadowTest : public testing::TestWithParam<ShadowManner> {
 protected:
  void SetUp() override {
    auto memory = PlainMemory::map(kPages * kPageBytes);
    ASSERT_TRUE(memory);
    memory_ = std::move(*memory);
    for (std::uint32_t page = 0; page < kPages; ++page) change(page);
    auto file = ShadowFile::create(path_, kShape, memory_->data());
    ASSERT_TRUE(file) << file.error().why;
    file_ = std::move(*file);
  }
  // All of the page.
  void change(std::uint32_t page) {
    for (std::uint64_t at = 0; at < kPageBytes; at += sizeof(std::uint64_t)) {
      store_word(memory_->data() + page * kPageBytes + at, random_.next());
    }
  }
  // Changes random pages and commits them. Returns which.
  std::vector<std::uint32_t> commit() {
    std::vector<std::uint32_t> pages;
    for (std::uint32_t page = 0; page < kPages && pages.size() < kChanged; ++page) {
      if (random_.below(kPages) < 2 * kChanged) pages.push_back(page);
    }
    for (const std::uint32_t page : pages) change(page);
    const auto durable = file_->commit(pages, memory_->data(), GetParam());
    EXPECT_TRUE(durable) << durable.error().why;
    return pages;
  }
  [[nodiscard]] std::string content() const {
    return {reinterpret_cast<const char*>(memory_->data()), kPages * kPageBytes};
  }
  [[nodiscard]] std::string image() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // What is found where a file of that image was left.
  [[nodiscard]] std::string found_in(const std::string& image) const {
    const std::string path = directory_.file("crashed");
    std::ofstream(path, std::ios::binary) << image;
    auto file = ShadowFile::open(path, kShape);
    EXPECT_TRUE(file) << file.error().why;
    if (!file) return {};
    std::string found;
    for (std::uint32_t page = 0; page < kPages; ++page) {
      found += image.substr((*file)->offset_of(page), kPageBytes);
    }
    return found;
  }

  const tests::TempDirectory directory_;
  const std::string path_ = directory_.file("shadow");
  std::unique_ptr<PlainMemory> memory_;
  std::unique_ptr<ShadowFile> file_;
  Random random_{1};
};

TEST_P(ShadowTest, every_commit_is_found_by_whoever_opens_the_file_next) {
  EXPECT_EQ(found_in(image()), content());
  EXPECT_EQ(file_->average_run(), kPages);
  for (int commits = 0; commits < 40; ++commits) {
    commit();
    ASSERT_EQ(found_in(image()), content()) << commits;
  }
  EXPECT_GT(file_->checkpoints(), 5u) << "the log was never full";
  EXPECT_LT(file_->average_run(), kPages / 4) << "nothing was scattered";
}

// Sectors are whole; which of them get to the disk before a crash is anybody's guess, but none that
// is written after a flush before what was written ahead of it.
TEST_P(ShadowTest, a_commit_of_which_some_sectors_were_lost_is_there_as_a_whole_or_not_at_all) {
  int kept = 0, lost = 0;
  for (int commits = 0; commits < 20; ++commits) {
    const std::string before = image(), old_content = content();
    const std::vector<std::uint32_t> pages = commit();
    const std::string after = image(), new_content = content();
    ASSERT_EQ(before.size(), after.size());
    for (int crash = 0; crash < 20; ++crash) {
      const bool pages_are_safe = !GetParam().one_flush && crash % 2 == 0;
      const bool record_is_lost = !GetParam().one_flush && !pages_are_safe;
      const std::uint64_t chance = std::array<std::uint64_t, 4>{1, 50, 98, 100}[crash / 2 % 4];
      std::string crashed = before;
      for (std::uint64_t at = 0; at < after.size(); at += kSector) {
        const bool of_page = std::ranges::any_of(pages, [&](std::uint32_t page) {
          return at / kPageBytes == file_->offset_of(page) / kPageBytes;
        });
        const bool safe = of_page ? pages_are_safe : false;
        const bool gone = of_page ? false : record_is_lost;
        if (safe || (!gone && random_.below(100) < chance)) {
          crashed.replace(at, kSector, after, at, kSector);
        }
      }
      const std::string found = found_in(crashed);
      ASSERT_TRUE(found == old_content || found == new_content) << commits << ' ' << crash;
      (found == new_content ? kept : lost) += 1;
    }
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(lost, 0);
}

TEST_P(ShadowTest, a_commit_of_more_pages_than_there_are_free_places_is_refused) {
  std::vector<std::uint32_t> all(kPages);
  for (std::uint32_t page = 0; page < kPages; ++page) all[page] = page;
  EXPECT_FALSE(file_->commit(all, memory_->data(), GetParam()));
  EXPECT_EQ(found_in(image()), content());
}

INSTANTIATE_TEST_SUITE_P(Manners, ShadowTest,
                         testing::Values(ShadowManner{.one_flush = true, .direct = true},
                                         ShadowManner{.one_flush = true, .direct = false},
                                         ShadowManner{.one_flush = false, .direct = true},
                                         ShadowManner{.one_flush = false, .direct = false}),
                         [](const auto& manner) {
                           return std::string(manner.param.one_flush ? "one_flush"
                                                                     : "two_flushes") +
                                  (manner.param.direct ? "_direct" : "_cached");
                         });

TEST(Extents, neighbours_in_the_file_are_one_extent_and_in_memory_one_vector) {
  std::vector<std::byte> memory(4 * kPageBytes);
  std::byte* const data = memory.data();
  Extents extents;
  extents.add(0, data, kPageBytes);
  extents.add(kPageBytes, data + kPageBytes, kPageBytes);
  extents.add(2 * kPageBytes, data, kPageBytes);
  extents.add(9 * kPageBytes, data + kPageBytes, kPageBytes);
  ASSERT_EQ(extents.all().size(), 2u);
  const Extents::Extent& first = extents.all()[0];
  EXPECT_EQ(first.bytes, 3 * kPageBytes);
  ASSERT_EQ(first.count, 2u);
  EXPECT_EQ(extents.vectors_of(first)[0].iov_len, 2 * kPageBytes);
  EXPECT_EQ(extents.vectors_of(first)[1].iov_base, data);
  EXPECT_EQ(extents.all()[1].offset, 9 * kPageBytes);
  EXPECT_EQ(extents.vectors_of(extents.all()[1])[0].iov_base, data + kPageBytes);
}

TEST(Extents, an_extent_ends_where_it_is_long_enough) {
  std::vector<std::byte> memory(kPageBytes);
  Extents extents;
  constexpr std::uint64_t kMost = Extents::kBytesMost / kPageBytes;
  for (std::uint64_t page = 0; page <= kMost; ++page) {
    extents.add(page * kPageBytes, memory.data(), kPageBytes);
  }
  ASSERT_EQ(extents.all().size(), 2u);
  EXPECT_EQ(extents.all()[0].count, kMost);
  EXPECT_EQ(extents.all()[1].offset, Extents::kBytesMost);
}

}  // namespace
}  // namespace holdfast::bench
