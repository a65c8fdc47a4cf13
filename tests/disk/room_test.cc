// A file system without room: nothing of what was stored is lost, and when there is room again the
// same call succeeds.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cerrno>
#include <filesystem>

#include "disk/disk_world.h"
#include "run/private_disk.h"

namespace holdfast::disk::test {
namespace {

using run::test::PrivateDisk;

constexpr std::uint64_t kDisk = 16 * kMiB;
constexpr std::uint64_t kPages = 1024;  // of the file: a quarter of the disk

class DiskRoom : public testing::Test {
 protected:
  void SetUp() override {
    if (!disk.refused().empty()) GTEST_SKIP() << disk.refused();
  }
  // Leaves that much room.
  void fill_up(std::uint64_t left) {
    const std::uint64_t used = disk.used();
    ASSERT_LT(used + left, kDisk);
    ASSERT_NO_FATAL_FAILURE(write_file(ballast, Bytes(kDisk - used - left)));
  }
  void make_room() { ::unlink(ballast.c_str()); }
  // A file of nothing but a hole: each of its pages takes room when it is written.
  void put_hole() {
    write_file(path, {});
    ASSERT_EQ(::truncate(path.c_str(), kPages * kPageSize), 0);
  }
  static void change(const FileMapping& mapping, std::uint64_t key) {
    for (std::uint64_t page = 0; page < kPages; ++page) {
      store(mapping.data() + page * kPageSize + 8, key + page);
    }
  }
  static std::uint64_t wrong(const std::byte* memory, std::uint64_t key) {
    std::uint64_t wrong = 0;
    for (std::uint64_t page = 0; page < kPages; ++page) {
      wrong += load(memory + page * kPageSize + 8) == key + page ? 0 : 1;
    }
    return wrong;
  }
  std::uint64_t wrong_in_file(std::uint64_t key) { return wrong(read_file(path).data(), key); }

  const PrivateDisk disk{kDisk};
  const std::string path = disk.path() + "/file";
  const std::string ballast = disk.path() + "/ballast";
};

TEST_F(DiskRoom, ASyncThatFindsNoneKeepsAllInMemoryAndCanBeTriedAgain) {
  put_hole();
  const auto engine = make_engine(small_options());
  FileMapping mapping = map(*engine, path);
  ASSERT_NO_FATAL_FAILURE(fill_up(kMiB));
  change(mapping, 1);
  const auto synced = mapping.sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error().code, Errc::system);
  EXPECT_EQ(synced.error().os_errno, ENOSPC);
  EXPECT_LT(synced.error().value, kPages * kPageSize);
  EXPECT_NE(synced.error().message().find("make room"), std::string::npos);
  push_out(*engine);
  EXPECT_EQ(wrong(mapping.data(), 1), 0u);
  make_room();
  const auto told = mapping.sync();  // it also tells of what failed behind its back, once
  EXPECT_TRUE(told || told.error().os_errno == ENOSPC);
  const auto again = mapping.sync();
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(wrong_in_file(1), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_F(DiskRoom, ACommitThatFindsNoneIsIntactInMemoryAndCanBeTriedAgain) {
  ASSERT_NO_FATAL_FAILURE(write_file(path, Bytes(kPages * kPageSize)));
  const auto engine = make_engine(small_options());
  FileMapping mapping = map(*engine, path, {.commits = true});
  store(mapping.data() + 8, 5);
  ASSERT_TRUE(mapping.commit());
  ASSERT_NO_FATAL_FAILURE(fill_up(64 * kPageSize));
  change(mapping, 100);
  const auto failed = mapping.commit();
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().os_errno, ENOSPC);
  EXPECT_EQ(wrong(mapping.data(), 100), 0u);
  const Bytes file = read_file(path);
  EXPECT_EQ(load(file.data() + 8), 5u) << "the last commit";
  EXPECT_EQ(load(file.data() + kPageSize + 8), 0u) << "nothing of the one that failed";
  make_room();
  const auto again = mapping.commit();
  ASSERT_TRUE(again) << again.error().message();
  EXPECT_EQ(wrong_in_file(100), 0u);
  EXPECT_TRUE(all_is_well(*engine));
}

TEST_F(DiskRoom, ACommitThatFindsNoneCanBeRolledBack) {
  ASSERT_NO_FATAL_FAILURE(write_file(path, Bytes(kPages * kPageSize)));
  const auto engine = make_engine(small_options());
  FileMapping mapping = map(*engine, path, {.commits = true});
  change(mapping, 7);
  ASSERT_TRUE(mapping.commit());
  ASSERT_TRUE(mapping.sync());
  ASSERT_NO_FATAL_FAILURE(fill_up(0));
  change(mapping, 100'000);
  (void)mapping.commit();  // where the journal kept its room it succeeds, as far as that reaches
  store(mapping.data() + 16, 1);
  const Bytes committed = read_file(path);
  ASSERT_TRUE(mapping.rollback());
  EXPECT_EQ(differences(mapping.data(), committed.data(), mapping.size()), 0u);
  EXPECT_EQ(load(mapping.data() + 16), 0u);
}

// The journal has room and the file, a hole, has not: the commit is durable all the same, and
// sync() tells that the file is behind.
TEST_F(DiskRoom, ACommitIsDurableEvenWhereTheFileHasNoRoomForIt) {
  put_hole();
  {
    const auto engine = make_engine(small_options());
    FileMapping mapping = map(*engine, path, {.commits = true});
    ASSERT_NO_FATAL_FAILURE(fill_up((kPages + kPages / 2) * kPageSize));
    change(mapping, 9);
    const auto committed = mapping.commit();
    ASSERT_TRUE(committed) << committed.error().message();
    const auto synced = mapping.sync();
    ASSERT_FALSE(synced);
    EXPECT_EQ(synced.error().os_errno, ENOSPC);
    push_out(*engine);
    EXPECT_EQ(wrong(mapping.data(), 9), 0u);
    store(mapping.data() + 16, 1);
    const auto rolled_back = mapping.rollback();
    EXPECT_FALSE(rolled_back) << "the file does not show the last commit yet";
    EXPECT_EQ(load(mapping.data() + 16), 1u) << "nothing was done";
    // Here the process might die: the journal keeps the commit.
  }
  make_room();
  const auto engine = make_engine(small_options());
  const FileMapping mapping = map(*engine, path, {.commits = true});
  EXPECT_EQ(wrong(mapping.data(), 9), 0u);
  EXPECT_EQ(load(mapping.data() + 16), 0u) << "was not committed";
  EXPECT_EQ(wrong_in_file(9), 0u);
}

// The longest that this process may make a file, for as long as this lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(std::uint64_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit{bytes, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, SIG_DFL);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  struct rlimit before_{};
};

TEST_F(DiskRoom, AFileThatCannotGrowStaysAsItIs) {
  ASSERT_NO_FATAL_FAILURE(write_file(path, marks(0, 3 * kPageSize)));
  const auto engine = make_engine(small_options());
  FileMapping mapping = map(*engine, path, {.capacity = 4 * kMiB});
  {
    const FileSizeLimit limit(kMiB);
    const auto grown = mapping.resize(2 * kMiB);
    ASSERT_FALSE(grown);
    EXPECT_EQ(grown.error().os_errno, EFBIG);
    EXPECT_EQ(mapping.size(), 3 * kPageSize);
    EXPECT_EQ(unmarked(mapping.data(), 0, 3 * kPageSize), 0u);
  }
  ASSERT_TRUE(mapping.resize(2 * kMiB));
  EXPECT_EQ(mapping.size(), 2 * kMiB);
}

}  // namespace
}  // namespace holdfast::disk::test
