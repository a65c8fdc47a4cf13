// Files that are read and written in place, on the real machine.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <vector>

#include "support/temp_directory.h"
#include "sys/sys.h"

namespace holdfast::sys {
namespace {

using tests::TempDirectory;

struct alignas(kPageSize) Pages {
  std::byte bytes[3 * kPageSize];
};

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::unique_ptr<DataFile> opened(const DataFileOptions& options) {
  auto file = real_machine().open_data_file(options);
  EXPECT_TRUE(file) << file.error().message();
  return file ? std::move(*file) : nullptr;
}

Errc refusal(const DataFileOptions& options) {
  const auto file = real_machine().open_data_file(options);
  EXPECT_FALSE(file);
  return file ? Errc::system : file.error().code;
}

int put(DataFile& file, std::uint64_t offset, const void* from, std::uint64_t bytes) {
  IoRequest request{static_cast<std::byte*>(const_cast<void*>(from)), bytes, offset};
  file.write({&request, 1});
  return request.error;
}

// Whole blocks go past the kernel's cache, the rest through it: both see the same bytes.
TEST(RealDataFile, WholeBlocksAndOddPiecesAreCoherent) {
  const TempDirectory directory;
  const std::string path = directory.file("data");
  const auto file = opened({.path = path, .use = FileUse::write, .create = true});
  ASSERT_TRUE(file);
  ASSERT_EQ(file->resize(3 * kPageSize + 100), 0);
  static Pages pages;
  std::memset(pages.bytes, 'a', sizeof pages.bytes);
  EXPECT_EQ(put(*file, 0, pages.bytes, sizeof pages.bytes), 0);
  EXPECT_EQ(put(*file, kPageSize - 3, "bcdefg", 6), 0);
  EXPECT_EQ(put(*file, 3 * kPageSize + 95, "tail!", 5), 0);
  EXPECT_EQ(file->sync(), 0);
  std::memset(pages.bytes, 0, sizeof pages.bytes);
  IoRequest reads[] = {{pages.bytes, kPageSize, 0},
                       {pages.bytes + kPageSize, kPageSize, kPageSize},
                       {pages.bytes + 2 * kPageSize, 100, 3 * kPageSize}};
  file->read(reads);
  for (const IoRequest& read : reads) EXPECT_EQ(read.error, 0);
  EXPECT_EQ(std::memcmp(pages.bytes + kPageSize - 4, "abcdefga", 8), 0);
  EXPECT_EQ(std::memcmp(pages.bytes + 2 * kPageSize + 94, "\0tail!", 6), 0);
  EXPECT_EQ(text_of(path).substr(kPageSize - 3, 6), "bcdefg") << "another process sees it";
}

TEST(RealDataFile, WhatLiesBeyondTheEndCannotBeRead) {
  const TempDirectory directory;
  const std::string path = directory.file("data");
  const auto file = opened({.path = path, .use = FileUse::write, .create = true});
  ASSERT_TRUE(file);
  ASSERT_EQ(file->resize(kPageSize + 10), 0);
  static Pages pages;
  IoRequest reads[] = {{pages.bytes, kPageSize, kPageSize},
                       {pages.bytes, kPageSize, 2 * kPageSize}};
  file->read(reads);
  EXPECT_EQ(reads[0].error, EIO);
  EXPECT_EQ(reads[1].error, EIO);
  ASSERT_EQ(::truncate(path.c_str(), 5), 0);
  std::uint64_t size = 0;
  EXPECT_EQ(file->size(size), 0);
  EXPECT_EQ(size, 5u) << "as it is now, whoever changed it";
}

TEST(RealDataFile, AnIdentityIsTheFilesAndNotTheNames) {
  const TempDirectory directory;
  const std::string path = directory.file("data");
  const auto file = opened({.path = path, .use = FileUse::write, .create = true});
  ASSERT_TRUE(file);
  EXPECT_EQ(file->path(), path);
  ASSERT_EQ(::link(path.c_str(), directory.file("other").c_str()), 0);
  EXPECT_EQ(opened({.path = directory.file("other")})->identity(), file->identity());
  ASSERT_EQ(real_machine().remove_file(path), 0);
  EXPECT_EQ(real_machine().remove_file(path), ENOENT);
  const auto next = opened({.path = path, .use = FileUse::write, .create = true});
  ASSERT_TRUE(next);
  EXPECT_NE(next->identity(), file->identity());
}

TEST(RealDataFile, OneOpeningAtATimeHasTheClaim) {
  const TempDirectory directory;
  const std::string path = directory.file("data");
  auto first = opened({.path = path, .use = FileUse::write, .create = true});
  const auto second = opened({.path = path, .use = FileUse::write});
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->try_claim(), 0);
  EXPECT_EQ(second->try_claim(), EWOULDBLOCK);
  first.reset();
  EXPECT_EQ(second->try_claim(), 0);
}

TEST(RealDataFile, ADescriptorOpensItsFileOnceMore) {
  const TempDirectory directory;
  const std::string path = directory.file("data");
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::unlink(path.c_str()), 0);
  const auto file = opened({.path = {}, .fd = fd, .use = FileUse::write});
  ASSERT_TRUE(file);
  ::close(fd);
  EXPECT_EQ(file->path(), "") << "no name leads to it";
  EXPECT_EQ(put(*file, 0, "here", 4), 0);
  std::uint64_t size = 0;
  EXPECT_EQ(file->size(size), 0);
  EXPECT_EQ(size, 4u);
}

TEST(RealDataFile, WhatIsNoFileToBeReadAndWrittenIsRefused) {
  const TempDirectory directory;
  const std::string path = directory.file("data");
  EXPECT_EQ(refusal({.path = path}), Errc::not_found);
  EXPECT_EQ(refusal({.path = directory.path()}), Errc::invalid_argument);
  EXPECT_EQ(refusal({.path = directory.path(), .use = FileUse::write}), Errc::invalid_argument);
  EXPECT_EQ(refusal({.path = path, .fd = -1, .use = FileUse::write}), Errc::not_found);
  EXPECT_EQ(refusal({.path = {}, .fd = -1}), Errc::invalid_argument);
  EXPECT_EQ(refusal({.path = "/dev/null"}), Errc::invalid_argument);
  std::ofstream(path) << "x";
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(refusal({.path = {}, .fd = fd, .use = FileUse::write}), Errc::invalid_argument);
  ::close(fd);
  if (::geteuid() != 0) {
    ASSERT_EQ(::chmod(path.c_str(), 0400), 0);
    EXPECT_EQ(refusal({.path = path, .use = FileUse::write}), Errc::permission);
  }
}

}  // namespace
}  // namespace holdfast::sys
