// Files that are written once and read at any place.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>

#include "support/temp_directory.h"
#include "sys/sys.h"

namespace holdfast::sys {
namespace {

using tests::TempDirectory;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

int append(ByteSink& sink, const std::string& text) {
  return sink.append(reinterpret_cast<const std::byte*>(text.data()), text.size());
}

TEST(RealByteStore, AReplacementIsInvisibleUntilItIsCommitted) {
  const TempDirectory directory;
  const std::string path = directory.file("image");
  std::ofstream(path) << "old";
  {
    auto sink = replace_file(path);
    ASSERT_TRUE(sink) << sink.error().message();
    ASSERT_EQ(append(**sink, "new"), 0);
    EXPECT_EQ(text_of(path), "old");
    ASSERT_EQ(append(**sink, "er"), 0);
    ASSERT_TRUE((*sink)->commit());
    EXPECT_EQ(text_of(path), "newer");
  }
  EXPECT_EQ(text_of(path), "newer");
  EXPECT_EQ(directory.names().size(), 1u) << "nothing else is left";
  struct stat status{};
  ASSERT_EQ(::stat(path.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U) << "memory is nobody else's business";
}

// Written directly, past the page cache, but for the last piece: sizes around its unit.
TEST(RealByteStore, FilesOfAnySizeArriveWhole) {
  const TempDirectory directory;
  const std::string path = directory.file("image");
  for (const std::size_t size :
       {0UL, 1UL, 511UL, 4096UL, (1UL << 20) - 1, 1UL << 20, (1UL << 20) + 1, (3UL << 20) + 777}) {
    std::string text(size, 'x');
    for (std::size_t i = 0; i < size; i += 97) text[i] = static_cast<char>('a' + i % 26);
    auto sink = replace_file(path);
    ASSERT_TRUE(sink);
    for (std::size_t at = 0; at < size; at += 300'000) {
      ASSERT_EQ(append(**sink, text.substr(at, 300'000)), 0);
    }
    ASSERT_TRUE((*sink)->commit());
    EXPECT_TRUE(text_of(path) == text) << size;
  }
}

TEST(RealByteStore, WhatIsNotCommittedLeavesNothing) {
  const TempDirectory directory;
  {
    auto sink = replace_file(directory.file("image"));
    ASSERT_TRUE(sink);
    ASSERT_EQ(append(**sink, "half"), 0);
  }
  EXPECT_TRUE(directory.names().empty());
}

TEST(RealByteStore, WritesRoundTripThroughADescriptor) {
  const TempDirectory directory;
  const int fd = ::open(directory.file("image").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  ASSERT_EQ(::write(fd, "what was here before", 20), 20);
  const auto refused = byte_sink_of(fd);
  ASSERT_FALSE(refused) << "it is not at its beginning";
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_EQ(refused.error().value, 20u);
  ::lseek(fd, 0, SEEK_SET);
  auto sink = byte_sink_of(fd);
  ASSERT_TRUE(sink) << sink.error().message();
  ASSERT_EQ(append(**sink, "content"), 0);
  ASSERT_TRUE((*sink)->commit());
  auto source = byte_source_of(fd);
  ::close(fd);  // both have their own
  ASSERT_TRUE(source) << source.error().message();
  EXPECT_EQ((*source)->size(), 7u) << "what was there before is gone";
  std::byte room[4];
  ASSERT_EQ((*source)->read(3, room, 4), 0);
  EXPECT_EQ(std::memcmp(room, "tent", 4), 0);
  EXPECT_EQ((*source)->read(4, room, 4), EIO) << "the file ends before";
}

TEST(RealByteStore, APipeIsWrittenAndCannotBeReadAtAnOffset) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  auto sink = byte_sink_of(ends[1]);
  ASSERT_TRUE(sink) << sink.error().message();
  ASSERT_EQ(append(**sink, "through"), 0);
  EXPECT_TRUE((*sink)->commit()) << "a pipe has nothing to sync";
  char room[7];
  EXPECT_EQ(::read(ends[0], room, 7), 7);
  EXPECT_EQ(byte_source_of(ends[0]).error().code, Errc::invalid_argument);
  EXPECT_EQ(byte_source_of(ends[1]).error().code, Errc::invalid_argument) << "not readable";
  EXPECT_EQ(byte_sink_of(ends[0]).error().code, Errc::invalid_argument) << "not writable";
  ::close(ends[0]);
  ::close(ends[1]);
  EXPECT_EQ(byte_source_of(ends[0]).error().code, Errc::invalid_argument);
  EXPECT_EQ(byte_sink_of(-1).error().code, Errc::invalid_argument);
}

TEST(RealByteStore, AFullDeviceIsTold) {
  const int fd = ::open("/dev/full", O_WRONLY | O_CLOEXEC);
  if (fd < 0) GTEST_SKIP() << "no /dev/full here: " << std::strerror(errno);
  auto sink = byte_sink_of(fd);
  ::close(fd);
  ASSERT_TRUE(sink) << sink.error().message();
  EXPECT_EQ(append(**sink, "x"), ENOSPC);
}

TEST(RealByteStore, PlacesWhereNoFileCanBeAreRefused) {
  const TempDirectory directory;
  EXPECT_EQ(replace_file(directory.file("no/where")).error().code, Errc::not_found);
  EXPECT_EQ(replace_file(directory.path()).error().code, Errc::invalid_argument);
  EXPECT_EQ(replace_file(directory.path() + "/").error().code, Errc::invalid_argument);
  EXPECT_EQ(replace_file("").error().code, Errc::invalid_argument);
  EXPECT_EQ(replace_file("/dev/null").error().code, Errc::invalid_argument);
  EXPECT_EQ(open_byte_source(directory.file("none")).error().code, Errc::not_found);
  EXPECT_EQ(open_byte_source(directory.path()).error().code, Errc::invalid_argument);
  EXPECT_EQ(open_byte_source("/dev/null").error().code, Errc::invalid_argument);
  EXPECT_EQ(list_files(directory.file("none")).error().code, Errc::not_found);
}

TEST(RealByteStore, ListsRegularFiles) {
  const TempDirectory directory;
  std::ofstream(directory.file("b")) << "b";
  std::ofstream(directory.file("a")) << "a";
  ASSERT_EQ(::mkdir(directory.file("c").c_str(), 0700), 0);
  const auto paths = list_files(directory.path());
  ASSERT_TRUE(paths);
  EXPECT_EQ(*paths, (std::vector<std::string>{directory.file("a"), directory.file("b")}));
}

}  // namespace
}  // namespace holdfast::sys
