// What the real machine refuses, and files that change under their mappings.
#include <gtest/gtest.h>
#include <sys/file.h>

#include <atomic>
#include <cerrno>
#include <filesystem>

#include "disk/disk_world.h"

namespace holdfast::disk::test {
namespace {

class DiskTrouble : public testing::Test {
 protected:
  void SetUp() override {
    put_file(path, kBytes);
    std::filesystem::permissions(directory.path(), std::filesystem::perms::all);
  }
  static constexpr std::uint64_t kBytes = 64 * kPageSize;
  tests::TempDirectory directory;
  const std::string path = directory.file("file");
};

// --- files that cannot be mapped ---

TEST_F(DiskTrouble, WhatIsNoFileIsRefused) {
  const auto engine = make_engine(small_options());
  const Error none = refusal(*engine, directory.file("none"));
  EXPECT_EQ(none.code, Errc::not_found);
  EXPECT_EQ(none.os_errno, ENOENT);
  EXPECT_EQ(refusal(*engine, path + "/below").code, Errc::not_found);
  EXPECT_EQ(refusal(*engine, directory.path()).code, Errc::invalid_argument);
  EXPECT_EQ(refusal(*engine, directory.path(), {.mode = FileMode::read_only}).code,
            Errc::invalid_argument);
  const std::string pipe = directory.file("pipe");
  ASSERT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
  EXPECT_EQ(refusal(*engine, pipe).code, Errc::invalid_argument) << "and it does not wait";
  EXPECT_EQ(refusal(*engine, "/dev/null").code, Errc::invalid_argument);
  EXPECT_FALSE(map_file(*engine, -1));
  EXPECT_FALSE(map_file(*engine, ""));
  EXPECT_EQ(directory.names().size(), 2u) << "nothing was made";
  EXPECT_EQ(engine->stats().managed_bytes, 0u);
}

// Somebody who is not root, for as long as this lives.
class Nobody {
 public:
  Nobody() { EXPECT_EQ(::seteuid(65534), 0); }
  ~Nobody() { EXPECT_EQ(::seteuid(0), 0); }
  Nobody(const Nobody&) = delete;
  Nobody& operator=(const Nobody&) = delete;
};

TEST_F(DiskTrouble, WhatOneMayNotReadOrWriteIsRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root, to become somebody else";
  const auto engine = make_engine(small_options());
  const std::string open_to_read = directory.file("open_to_read");
  put_file(open_to_read, kPageSize);
  ASSERT_EQ(::chmod(open_to_read.c_str(), 0644), 0);
  {
    const Nobody nobody;
    EXPECT_EQ(refusal(*engine, path).code, Errc::permission);
    EXPECT_EQ(refusal(*engine, path, {.mode = FileMode::read_only}).code, Errc::permission);
    const Error refused = refusal(*engine, open_to_read);
    EXPECT_EQ(refused.code, Errc::permission);
    EXPECT_EQ(refused.os_errno, EACCES);
    for (const FileMode mode : {FileMode::read_only, FileMode::private_copy}) {
      const FileMapping mapping = map(*engine, open_to_read, {.mode = mode});
      EXPECT_EQ(unmarked(mapping.data(), 0, kPageSize), 0u);
    }
  }
  // It was mapped read-only: that does not make it so for those who may write.
  store(map(*engine, open_to_read).data(), 1);
  EXPECT_EQ(load(read_file(open_to_read).data()), 1u);
}

TEST_F(DiskTrouble, ADescriptorMustBeOpenForWhatIsAskedOfIt) {
  const auto engine = make_engine(small_options());
  const int reads = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const int writes = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  EXPECT_FALSE(map_file(*engine, reads));
  EXPECT_TRUE(map_file(*engine, reads, {.mode = FileMode::read_only}));
  EXPECT_TRUE(map_file(*engine, reads, {.mode = FileMode::private_copy}));
  EXPECT_FALSE(map_file(*engine, writes)) << "as with mmap: a mapping is read, too";
  EXPECT_FALSE(map_file(*engine, writes, {.mode = FileMode::read_only}));
  ::close(reads);
  ::close(writes);
}

TEST_F(DiskTrouble, TwoEnginesDoNotCommitToOneFile) {
  const auto engine = make_engine(small_options());
  const auto other = make_engine(small_options());
  {
    const FileMapping mapping = map(*engine, path, {.commits = true});
    EXPECT_EQ(refusal(*other, path, {.commits = true}).code, Errc::busy);
    EXPECT_EQ(refusal(*other, path).code, Errc::busy);
    const FileMapping read = map(*other, path, {.mode = FileMode::private_copy});
    EXPECT_EQ(unmarked(read.data(), 0, kBytes), 0u);
  }
  EXPECT_TRUE(map_file(*other, path, {.commits = true})) << "it has gone with its mapping";
  EXPECT_EQ(directory.names().size(), 1u) << "and the journal with the last one";
}

// Another process: what makes a claim is the lock.
TEST_F(DiskTrouble, AnotherProcessThatCommitsIsNotedUntilItDies) {
  int ready[2];
  ASSERT_EQ(::pipe2(ready, O_CLOEXEC), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (::flock(fd, LOCK_EX) == 0) (void)!::write(ready[1], "r", 1);
    ::pause();
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  const auto engine = make_engine(small_options());
  const Error refused = refusal(*engine, path, {.commits = true});
  EXPECT_EQ(refused.code, Errc::busy);
  EXPECT_NE(refused.message().find("one process at a time"), std::string::npos);
  ::kill(pid, SIGKILL);
  ASSERT_EQ(::waitpid(pid, nullptr, 0), pid);
  EXPECT_TRUE(map_file(*engine, path, {.commits = true}));
  ::close(ready[0]);
  ::close(ready[1]);
}

// --- files that change under their mappings ---

// Makes the file as long as it was when somebody asks for what was cut off, and has it tried again.
struct Healer {
  std::string path;
  std::uint64_t bytes = 0;
  std::atomic<int> calls{0};
  Error error{};
  std::uintptr_t address = 0;
};
OnError make_it_longer(const Error& error, std::uintptr_t address, void* context) noexcept {
  auto& healer = *static_cast<Healer*>(context);
  healer.error = error;
  healer.address = address;
  if (healer.calls.fetch_add(1) > 0) return OnError::terminate;
  const bool longer = ::truncate(healer.path.c_str(), static_cast<off_t>(healer.bytes)) == 0;
  return longer ? OnError::retry : OnError::terminate;
}

TEST_F(DiskTrouble, AFileThatIsCutShortTellsTheHandlerAndIsNotMadeLonger) {
  Healer healer{.path = path, .bytes = kBytes};
  Options options = small_options();
  options.on_error = make_it_longer;
  options.on_error_context = &healer;
  const auto engine = make_engine(options);
  FileMapping mapping = map(*engine, path);
  store(mapping.data() + 5 * kPageSize, 5);
  store(mapping.data() + 50 * kPageSize, 50);
  ASSERT_EQ(::truncate(path.c_str(), 20 * kPageSize + 8), 0);
  const auto synced = mapping.sync();
  ASSERT_FALSE(synced);
  EXPECT_EQ(synced.error().value, 50 * kPageSize);
  EXPECT_EQ(read_file(path).size(), 20 * kPageSize + 8);
  EXPECT_EQ(load(read_file(path, 5 * kPageSize).data()), 5u);
  EXPECT_EQ(load(mapping.data() + 50 * kPageSize), 50u) << "what is in memory stays";
  // Its handler heals it.
  EXPECT_EQ(load(mapping.data() + 40 * kPageSize), 0u);
  EXPECT_EQ(healer.calls, 1);
  EXPECT_EQ(healer.error.code, Errc::io_error);
  EXPECT_EQ(healer.error.value, 40 * kPageSize);
  EXPECT_EQ(healer.error.limit, 20 * kPageSize + 8);
  EXPECT_EQ(healer.address, reinterpret_cast<std::uintptr_t>(mapping.data()) + 40 * kPageSize);
  ASSERT_TRUE(mapping.sync());
  EXPECT_EQ(load(read_file(path, 50 * kPageSize).data()), 50u);
  EXPECT_TRUE(all_is_well(*engine));
}

// A name may lead to another file now: the mapping stays with its own.
TEST_F(DiskTrouble, AFileThatIsReplacedStaysMappedAndTheNameLeadsToTheNew) {
  const auto engine = make_engine(small_options());
  FileMapping mapping = map(*engine, path);
  const int old = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const std::string other = directory.file("other");
  write_file(other, Bytes(kBytes));
  std::filesystem::rename(other, path);
  const FileMapping replaced = map(*engine, path);
  EXPECT_EQ(unmarked(mapping.data(), 0, kBytes), 0u);
  EXPECT_EQ(load(replaced.data() + 8), 0u);
  store(mapping.data() + 16, 3);
  ASSERT_TRUE(mapping.sync());
  std::uint64_t value = 0;
  ASSERT_EQ(::pread(old, &value, 8, 16), 8);
  EXPECT_EQ(value, 3u);
  EXPECT_EQ(load(read_file(path).data() + 16), 0u) << "not into the new one";
  ::close(old);
}

// The new file has the old one's journal beside it: that is not its own.
TEST_F(DiskTrouble, AFileThatIsReplacedUnderItsCommitsIsNotTakenForTheOld) {
  const auto engine = make_engine(small_options());
  {
    FileMapping mapping = map(*engine, path, {.commits = true});
    store(mapping.data(), 1);
    ASSERT_TRUE(mapping.commit());
    const std::string other = directory.file("other");
    write_file(other, Bytes(kBytes));
    std::filesystem::rename(other, path);
    EXPECT_FALSE(map_file(*engine, path, {.commits = true}));
    EXPECT_EQ(load(read_file(path).data()), 0u);
  }
  EXPECT_TRUE(map_file(*engine, path, {.commits = true}));
  EXPECT_EQ(load(read_file(path).data()), 0u);
}

// What somebody else writes to the file is seen by whoever has not read that page yet.
TEST_F(DiskTrouble, WhatOthersWriteIsSeenWhereAPageComesInAnew) {
  const auto engine = make_engine(small_options());
  const FileMapping mapping = map(*engine, path, {.mode = FileMode::read_only});
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  const std::uint64_t value = 12345;
  ASSERT_EQ(::pwrite(fd, &value, sizeof value, 30 * kPageSize), 8);
  EXPECT_EQ(load(mapping.data() + 30 * kPageSize), value);
  const std::uint64_t later = 67890;
  ASSERT_EQ(::pwrite(fd, &later, sizeof later, 30 * kPageSize), 8);
  push_out(*engine);
  EXPECT_EQ(load(mapping.data() + 30 * kPageSize), later);
  ::close(fd);
}

}  // namespace
}  // namespace holdfast::disk::test
