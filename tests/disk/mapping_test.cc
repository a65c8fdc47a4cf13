// What mappings of a real file show, and where their stores go: every mode, any offset and length.
#include <gtest/gtest.h>
#include <signal.h>

#include <array>
#include <cerrno>
#include <random>

#include "disk/disk_world.h"

namespace holdfast::disk::test {
namespace {

class DiskMapping : public testing::Test {
 protected:
  // Runs `body` with an engine of each kind, and proves it consistent.
  template <class Body>
  void with_each_engine(Body body, const std::vector<SwapTier>& swap = {SwapTier{}}) {
    for (Options options : engines()) {
      options.swap = swap;
      SCOPED_TRACE(options.delivery == FaultDelivery::signal ? "signal" : "thread");
      const auto engine = make_engine(options);
      ASSERT_NE(engine, nullptr);
      body(*engine);
      EXPECT_TRUE(all_is_well(*engine));
      if (HasFailure()) return;
    }
  }
  tests::TempDirectory directory;
  const std::string path = directory.file("file");
};

TEST_F(DiskMapping, ShowsAFileOfAnySizeWithZerosBehindItsEnd) {
  for (const std::uint64_t bytes : {1UL, 511UL, 4095UL, 4096UL, 4097UL, 70 * 4096UL + 1234}) {
    put_file(path, bytes);
    with_each_engine([&](Engine& engine) {
      for (const FileMode mode : {FileMode::read_only, FileMode::shared, FileMode::private_copy}) {
        const FileMapping mapping = map(engine, path, {.mode = mode});
        ASSERT_EQ(mapping.size(), bytes);
        EXPECT_EQ(unmarked(mapping.data(), 0, bytes), 0u) << bytes;
        const std::uint64_t rest = pages_for(bytes).bytes() - bytes;
        const Bytes zeros(rest);
        EXPECT_EQ(differences(mapping.data() + bytes, zeros.data(), rest), 0u) << bytes;
      }
    });
    EXPECT_EQ(read_file(path), marks(0, bytes)) << "looking changes nothing";
  }
}

TEST_F(DiskMapping, BeginsAndEndsAtAnyByteAndTouchesNoOther) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  constexpr std::uint64_t kBytes = 40 * kPageSize + 321;
  with_each_engine([&](Engine& engine) {
    std::mt19937_64 chance(seed);
    put_file(path, kBytes);
    Bytes expected = marks(0, kBytes);
    for (int round = 0; round < 40; ++round) {
      const std::uint64_t offset = chance() % kBytes;
      const std::uint64_t bytes = 1 + chance() % (kBytes - offset);
      FileMapping mapping = map(engine, path, {.offset = offset, .bytes = bytes});
      ASSERT_EQ(mapping.size(), bytes);
      ASSERT_EQ(differences(mapping.data(), expected.data() + offset, bytes), 0u);
      const auto value = static_cast<std::byte>(chance());
      std::memset(mapping.data(), static_cast<int>(value), bytes);
      std::fill_n(expected.begin() + static_cast<long>(offset), bytes, value);
      if (round % 2 == 0) push_out(engine);
      ASSERT_TRUE(round % 3 == 0 ? mapping.sync() : mapping.unmap());
      ASSERT_EQ(read_file(path), expected) << "offset " << offset << ", bytes " << bytes;
    }
  });
}

// As with mmap: stores between the end of a file and the end of its last page go nowhere.
TEST_F(DiskMapping, StoresBehindTheEndOfTheFileAreNotWritten) {
  put_file(path, kPageSize + 100);
  with_each_engine([&](Engine& engine) {
    FileMapping mapping = map(engine, path);
    std::memset(mapping.data() + kPageSize + 50, 7, kPageSize - 50);
    push_out(engine);
    ASSERT_TRUE(mapping.sync());
    const Bytes file = read_file(path);
    ASSERT_EQ(file.size(), kPageSize + 100);
    EXPECT_EQ(unmarked(file.data(), 0, kPageSize + 50), 0u);
    EXPECT_EQ(file.back(), std::byte{7});
    ASSERT_TRUE(mapping.unmap());
    put_file(path, kPageSize + 100);
  });
}

// Every page is changed and leaves by way of the file; then every other one is changed again, in
// an order by chance.
TEST_F(DiskMapping, AFileOfFourTimesTheBudgetIsReadAndChangedThroughout) {
  constexpr std::uint64_t kPages = 4 * kBudget / kPageSize;
  with_each_engine([&](Engine& engine) {
    ASSERT_NO_FATAL_FAILURE(put_file(path, kPages * kPageSize));
    FileMapping mapping = map(engine, path);
    std::uint64_t wrong = 0;
    for (std::uint64_t page = 0; page < kPages; ++page) {
      std::byte* const at = mapping.data() + page * kPageSize;
      wrong += unmarked(at, page * kPageSize, kPageSize);
      store(at + 8, page);
    }
    EXPECT_EQ(wrong, 0u);
    std::mt19937_64 chance(1);
    for (std::uint64_t i = 0; i < kPages / 4; ++i) {
      const std::uint64_t page = chance() % kPages;
      std::byte* const at = mapping.data() + page * kPageSize;
      wrong += load(at + 8) == page ? 0 : 1;
      store(at + 16, page);
      store(at + 24, page + 1);
    }
    EXPECT_EQ(wrong, 0u);
    EXPECT_GT(engine.stats().evicted_written, kPages / 2);
    ASSERT_TRUE(mapping.sync());
    const Bytes file = read_file(path);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      const std::byte* const at = file.data() + page * kPageSize;
      wrong += load(at + 8) == page ? 0 : 1;
      wrong += load(at + 24) == page + 1 ? 0 : unmarked(at + 24, page * kPageSize + 24, 8);
      wrong += unmarked(at + 32, page * kPageSize + 32, kPageSize - 32);
    }
    EXPECT_EQ(wrong, 0u);
  });
}

TEST_F(DiskMapping, HolesReadAsZerosAndStayHoles) {
  constexpr std::uint64_t kBytes = 3 * kBudget;
  with_each_engine([&](Engine& engine) {
    write_file(path, marks(0, kPageSize));
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(kBytes)), 0);
    FileMapping mapping = map(engine, path);
    std::uint64_t wrong = unmarked(mapping.data(), 0, kPageSize);
    for (std::uint64_t at = kPageSize; at < kBytes; at += 512) {
      wrong += mapping.data()[at] == std::byte{0} ? 0 : 1;
    }
    EXPECT_EQ(wrong, 0u);
    store(mapping.data() + kBytes / 2, 42);
    ASSERT_TRUE(mapping.sync());
    EXPECT_LE(blocks_of(path), 64u) << "in sectors: what was only read was written";
    EXPECT_EQ(load(read_file(path, kBytes / 2, 8).data()), 42u);
  });
}

TEST_F(DiskMapping, IsMadeAndGrowsWithItsFile) {
  constexpr std::uint64_t kMost = 2 * kBudget;
  with_each_engine([&](Engine& engine) {
    ::unlink(path.c_str());
    FileMapping mapping = map(engine, path, {.create = true, .at_least = 100, .capacity = kMost});
    ASSERT_EQ(mapping.size(), 100u);
    struct stat status{};
    ASSERT_EQ(::stat(path.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
    const std::byte* const base = mapping.data();
    std::uint64_t before = 0;
    for (std::uint64_t bytes = 100; bytes <= kMost; bytes = bytes * 3 + 7) {
      ASSERT_TRUE(mapping.resize(bytes));
      ASSERT_EQ(mapping.data(), base);
      ASSERT_EQ(mapping.size(), bytes);
      ASSERT_EQ(read_file(path, bytes).size(), 0u);
      for (std::uint64_t at = before; at < bytes; at += 4096) {
        ASSERT_EQ(mapping.data()[at], std::byte{0}) << at << " of " << bytes;
      }
      for (std::uint64_t at = before; at < bytes; ++at) mapping.data()[at] = mark(at);
      before = bytes;
    }
    EXPECT_EQ(mapping.resize(kMost + 1).error().code, Errc::invalid_argument);
    ASSERT_TRUE(mapping.sync());
    EXPECT_EQ(read_file(path), marks(0, before));
    ASSERT_TRUE(mapping.resize(2 * kPageSize));
    EXPECT_EQ(read_file(path), marks(0, 2 * kPageSize));
  });
}

TEST_F(DiskMapping, PrivateStoresNeverReachTheFile) {
  constexpr std::uint64_t kPages = 2 * kBudget / kPageSize;
  with_each_engine(
      [&](Engine& engine) {
        ASSERT_NO_FATAL_FAILURE(put_file(path, kPages * kPageSize));
        FileMapping own = map(engine, path, {.mode = FileMode::private_copy});
        FileMapping other = map(engine, path, {.mode = FileMode::private_copy, .offset = 12});
        for (std::uint64_t page = 0; page < kPages; page += 3) {
          store(own.data() + page * kPageSize + 8, page + 1);
          store(other.data() + page * kPageSize + 8, page + 2);
        }
        std::uint64_t wrong = 0;
        for (std::uint64_t page = 0; page < kPages; ++page) {
          const std::uint64_t at = page * kPageSize;
          const bool changed = page % 3 == 0;
          if (changed) wrong += load(own.data() + at + 8) == page + 1 ? 0 : 1;
          if (changed) wrong += load(other.data() + at + 8) == page + 2 ? 0 : 1;
          wrong += unmarked(own.data() + at + 16, at + 16, kPageSize - 16);
        }
        EXPECT_EQ(wrong, 0u);
        EXPECT_EQ(own.sync().error().code, Errc::invalid_argument);
        ASSERT_TRUE(own.unmap());
        ASSERT_TRUE(other.unmap());
        EXPECT_EQ(read_file(path), marks(0, kPages * kPageSize));
      },
      {engine::test::file_tier(SwapIo::automatic)});
}

// The descriptor may be closed at once, and the file need not have a name.
TEST_F(DiskMapping, ADescriptorIsEnoughAndIsNotKept) {
  with_each_engine([&](Engine& engine) {
    put_file(path, 3 * kPageSize);
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    const int other = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    ::unlink(path.c_str());
    auto mapping = map_file(engine, fd);
    ASSERT_TRUE(mapping) << mapping.error().message();
    EXPECT_FALSE(map_file(engine, fd, {.commits = true})) << "there is no place for a journal";
    ::close(fd);
    EXPECT_EQ(unmarked(mapping->data(), 0, 3 * kPageSize), 0u);
    store(mapping->data() + kPageSize, 5);
    ASSERT_TRUE(mapping->sync());
    std::uint64_t value = 0;
    ASSERT_EQ(::pread(other, &value, sizeof value, kPageSize), 8);
    EXPECT_EQ(value, 5u);
    ::close(other);
    EXPECT_FALSE(map_file(engine, fd));
  });
}

// One page of a file has one frame, by whatever name and offset it was mapped.
TEST_F(DiskMapping, AllMappingsOfAFileAreOneMemory) {
  put_file(path, 20 * kPageSize);
  const std::string link = directory.file("link");
  ASSERT_EQ(::link(path.c_str(), link.c_str()), 0);
  with_each_engine([&](Engine& engine) {
    const FileMapping whole = map(engine, path);
    const FileMapping part = map(engine, link, {.offset = 4097, .bytes = 9000});
    const FileMapping seen = map(engine, path, {.mode = FileMode::read_only});
    EXPECT_EQ(whole.data() + 4097, part.data());
    store(part.data() + 1000, 77);
    EXPECT_EQ(load(seen.data() + 5097), 77u);
    const auto pin = engine.pin(part.data(), part.size());
    ASSERT_TRUE(pin);
    push_out(engine);
    store(whole.data() + 5097, 78);
    EXPECT_EQ(load(seen.data() + 5097), 78u);
  });
}

// Loads and stores that no call can refuse end the process with one line, as bad ones do.
TEST(DiskMappingDeathTest, AStoreToAReadOnlyMappingEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  // The child comes by here too, and leaves nothing: the file has no name.
  const int fd = ::open(testing::TempDir().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) GTEST_SKIP() << "no files without a name here: " << std::strerror(errno);
  const Bytes content = marks(0, kPageSize);
  ASSERT_EQ(::pwrite(fd, content.data(), kPageSize, 0), kPageSize);
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, SIG_DFL);
        const auto engine = make_engine(small_options());
        const auto mapping = map_file(*engine, fd, {.mode = FileMode::read_only});
        if (!mapping || mapping->data()[5] != mark(5)) ::_exit(1);
        mapping->data()[5] = std::byte{1};
      },
      testing::KilledBySignal(SIGBUS), "holdfast: ");
  Bytes after(kPageSize);
  ASSERT_EQ(::pread(fd, after.data(), kPageSize, 0), kPageSize);
  EXPECT_EQ(after, content);
  ::close(fd);
}

}  // namespace
}  // namespace holdfast::disk::test
