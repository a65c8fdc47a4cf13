#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>
#include <vector>

#include "sys/real_fixture.h"

namespace holdfast::sys::test {
namespace {

namespace fs = std::filesystem;

// A directory of the test's own.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    const char* const base = std::getenv("TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/holdfast-test-XXXXXX";
    EXPECT_NE(mkdtemp(path_.data()), nullptr);
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A tmpfs mounted on a directory of the test's own.
class SmallTmpfs {
 public:
  explicit SmallTmpfs(const char* options) {
    mounted_ = mount("holdfast-test", directory_.path().c_str(), "tmpfs", 0, options) == 0;
  }
  ~SmallTmpfs() {
    if (mounted_) umount2(directory_.path().c_str(), MNT_DETACH);
  }
  SmallTmpfs(const SmallTmpfs&) = delete;
  SmallTmpfs& operator=(const SmallTmpfs&) = delete;
  [[nodiscard]] bool is_mounted() const { return mounted_; }
  [[nodiscard]] const std::string& path() const { return directory_.path(); }

 private:
  TemporaryDirectory directory_;
  bool mounted_ = false;
};

std::unique_ptr<SwapFile> create(const std::string& directory, IoBackend backend) {
  auto file = real_machine().create_swap_file({.directory = directory, .backend = backend});
  EXPECT_TRUE(file.has_value()) << file.error().message();
  return file ? std::move(*file) : nullptr;
}

Error refusal(const std::string& directory) {
  auto file = real_machine().create_swap_file({.directory = directory});
  EXPECT_FALSE(file.has_value());
  return file ? Error{} : file.error();
}

class SwapFileBackend : public testing::TestWithParam<IoBackend> {
 protected:
  void SetUp() override {
    const Ability ring = probe_capabilities().io_uring;
    if (GetParam() == IoBackend::ring && !ring.works) {
      GTEST_SKIP() << "io_uring is not allowed here: " << strerror(ring.os_errno);
    }
  }
};

std::vector<IoRequest> requests_for(const Reserved& memory, std::uint64_t count,
                                    std::uint64_t stride) {
  std::vector<IoRequest> requests;
  for (std::uint64_t i = 0; i < count; ++i) {
    requests.push_back({.data = real_machine().view(memory.address(i)),
                        .bytes = kPageSize,
                        .offset = i * stride * kPageSize,
                        .error = -1});
  }
  return requests;
}

void expect_no_error(const std::vector<IoRequest>& requests) {
  for (const IoRequest& request : requests) EXPECT_EQ(request.error, 0) << request.offset;
}

TEST_P(SwapFileBackend, what_was_written_is_read_back) {
  constexpr std::uint64_t kCount = 150;  // more than a ring holds
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), GetParam());
  const Reserved out(kCount * kPageSize, Purpose::pool);
  const Reserved in(kCount * kPageSize, Purpose::pool);
  for (std::uint64_t i = 0; i < kCount; ++i) out.word(i) = 31 * i + 1;
  auto writes = requests_for(out, kCount, 3);
  file->write(writes);
  expect_no_error(writes);
  auto reads = requests_for(in, kCount, 3);
  file->read(reads);
  expect_no_error(reads);
  for (std::uint64_t i = 0; i < kCount; ++i) EXPECT_EQ(in.word(i), 31 * i + 1);
}

TEST_P(SwapFileBackend, an_extent_beyond_the_end_is_an_error_of_its_own) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), GetParam());
  const Reserved memory(4 * kPageSize, Purpose::pool);
  auto writes = requests_for(memory, 1, 1);
  file->write(writes);
  expect_no_error(writes);
  auto reads = requests_for(memory, 3, 1);
  file->read(reads);
  EXPECT_EQ(reads[0].error, 0);
  EXPECT_EQ(reads[1].error, EIO);
  EXPECT_EQ(reads[2].error, EIO);
}

TEST_P(SwapFileBackend, memory_that_is_not_there_is_an_error_of_its_own) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), GetParam());
  const Reserved memory(2 * kPageSize, Purpose::pool);
  Address gone = 0;
  {
    const Reserved brief(kPageSize, Purpose::pool);
    gone = brief.address();
  }
  auto writes = requests_for(memory, 2, 1);
  writes[0].data = reinterpret_cast<std::byte*>(gone);
  file->write(writes);
  EXPECT_EQ(writes[0].error, EFAULT);
  EXPECT_EQ(writes[1].error, 0);
}

TEST_P(SwapFileBackend, a_punched_range_reads_as_zeros) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), GetParam());
  const Reserved memory(4 * kPageSize, Purpose::pool);
  for (std::uint64_t i = 0; i < 4; ++i) memory.word(i) = i + 1;
  auto requests = requests_for(memory, 4, 1);
  file->write(requests);
  ASSERT_EQ(file->punch(kPageSize, 2 * kPageSize), 0);
  file->read(requests);
  expect_no_error(requests);
  EXPECT_EQ(memory.word(0), 1u);
  EXPECT_EQ(memory.word(1), 0u);
  EXPECT_EQ(memory.word(2), 0u);
  EXPECT_EQ(memory.word(3), 4u);
}

TEST_P(SwapFileBackend, a_full_file_system_is_an_error_of_the_extent) {
  const SmallTmpfs tmpfs("size=64k");
  if (!tmpfs.is_mounted()) GTEST_SKIP() << "a full file system is made by mounting, as root";
  const auto file = create(tmpfs.path(), GetParam());
  ASSERT_NE(file, nullptr);
  const Reserved memory(32 * kPageSize, Purpose::pool);
  for (std::uint64_t i = 0; i < 32; ++i) memory.word(i) = i + 1;
  auto requests = requests_for(memory, 32, 1);
  file->write(requests);
  std::uint64_t written = 0;
  for (const IoRequest& request : requests) {
    EXPECT_TRUE(request.error == 0 || request.error == ENOSPC) << request.error;
    if (request.error == 0) ++written;
  }
  EXPECT_GT(written, 0u);
  EXPECT_LT(written, 32u);
}

TEST_P(SwapFileBackend, several_threads_call_at_once) {
  constexpr std::uint64_t kThreads = 8;  // more than there are rings
  constexpr std::uint64_t kPages = 16;
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), GetParam());
  std::atomic<std::uint64_t> wrong{0};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      const Reserved memory(kPages * kPageSize, Purpose::pool);
      auto requests = requests_for(memory, kPages, 1);
      for (IoRequest& request : requests) request.offset += t * kPages * kPageSize;
      for (std::uint64_t round = 0; round < 20; ++round) {
        for (std::uint64_t i = 0; i < kPages; ++i) memory.word(i) = t << 32 | round << 16 | i;
        file->write(requests);
        for (std::uint64_t i = 0; i < kPages; ++i) memory.word(i) = 0;
        file->read(requests);
        for (std::uint64_t i = 0; i < kPages; ++i) {
          if (requests[i].error != 0 || memory.word(i) != (t << 32 | round << 16 | i)) ++wrong;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0u);
}

TEST_P(SwapFileBackend, signals_do_not_disturb_a_transfer) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), GetParam());
  struct sigaction action{};
  struct sigaction old{};
  action.sa_handler = [](int) {};  // no SA_RESTART: calls are interrupted
  sigaction(SIGUSR1, &action, &old);
  const pthread_t self = pthread_self();
  std::atomic<bool> stop{false};
  std::thread pest([&] {
    while (!stop.load()) {
      pthread_kill(self, SIGUSR1);
      std::this_thread::yield();
    }
  });
  const Reserved memory(16 * kPageSize, Purpose::pool);
  auto requests = requests_for(memory, 16, 1);
  for (std::uint64_t round = 0; round < 50; ++round) {
    for (std::uint64_t i = 0; i < 16; ++i) memory.word(i) = round * 100 + i;
    file->write(requests);
    expect_no_error(requests);
    file->read(requests);
    expect_no_error(requests);
    for (std::uint64_t i = 0; i < 16; ++i) ASSERT_EQ(memory.word(i), round * 100 + i);
  }
  stop = true;
  pest.join();
  sigaction(SIGUSR1, &old, nullptr);
}

INSTANTIATE_TEST_SUITE_P(All, SwapFileBackend,
                         testing::Values(IoBackend::plain, IoBackend::ring, IoBackend::automatic),
                         [](const auto& parameter) {
                           switch (parameter.param) {
                             case IoBackend::plain:
                               return "plain";
                             case IoBackend::ring:
                               return "ring";
                             case IoBackend::automatic:
                               return "automatic";
                           }
                           return "";
                         });

TEST(RealSwapFile, no_name_leads_to_it_and_only_its_owner_may_open_it) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), IoBackend::plain);
  EXPECT_TRUE(fs::is_empty(directory.path()));
  // Our own descriptor of it, found by the device of the directory and the lack of links.
  bool found = false;
  for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    const fs::path target = fs::read_symlink(entry.path(), error);
    if (error || !target.string().starts_with(directory.path())) continue;
    struct stat status{};
    ASSERT_EQ(stat(entry.path().c_str(), &status), 0);
    if (!S_ISREG(status.st_mode)) continue;
    found = true;
    EXPECT_EQ(status.st_mode & 07777, 0600u);
    EXPECT_EQ(status.st_nlink, 0u);
    EXPECT_NE(fcntl(std::atoi(entry.path().filename().c_str()), F_GETFD) & FD_CLOEXEC, 0);
  }
  EXPECT_TRUE(found);
}

TEST(RealSwapFile, its_block_size_is_a_power_of_two_from_512_to_4096) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), IoBackend::plain);
  const std::uint32_t block = file->block_bytes();
  EXPECT_TRUE(block == 512 || block == 1024 || block == 2048 || block == 4096) << block;
}

TEST(RealSwapFile, one_block_alone_is_written_and_read) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), IoBackend::automatic);
  const Reserved memory(kPageSize, Purpose::pool);
  memory.word(0) = 4711;
  IoRequest request{.data = real_machine().view(memory.address()),
                    .bytes = file->block_bytes(),
                    .offset = file->block_bytes(),
                    .error = -1};
  file->write({&request, 1});
  EXPECT_EQ(request.error, 0);
  memory.word(0) = 0;
  file->read({&request, 1});
  EXPECT_EQ(request.error, 0);
  EXPECT_EQ(memory.word(0), 4711u);
}

TEST(RealSwapFile, its_description_names_the_backend) {
  const TemporaryDirectory directory;
  const auto file = create(directory.path(), IoBackend::plain);
  EXPECT_NE(std::string(file->description()).find("pread"), std::string::npos);
}

TEST(RealSwapFile, a_directory_that_is_missing_is_not_found) {
  const TemporaryDirectory directory;
  const Error error = refusal(directory.path() + "/missing");
  EXPECT_EQ(error.code, Errc::not_found);
  EXPECT_EQ(error.os_errno, ENOENT);
  EXPECT_STRNE(error.remedy, "");
  EXPECT_EQ(refusal("").code, Errc::not_found);
}

TEST(RealSwapFile, a_file_in_place_of_the_directory_is_an_invalid_argument) {
  const Error error = refusal("/proc/self/exe");
  EXPECT_EQ(error.code, Errc::invalid_argument);
  EXPECT_EQ(error.os_errno, ENOTDIR);
}

TEST(RealSwapFile, a_read_only_file_system_is_a_matter_of_permission) {
  const SmallTmpfs tmpfs("ro");
  if (!tmpfs.is_mounted()) GTEST_SKIP() << "a read-only file system is made by mounting, as root";
  const TemporaryDirectory directory;
  ASSERT_EQ(mount(nullptr, tmpfs.path().c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr), 0);
  const Error error = refusal(tmpfs.path());
  EXPECT_EQ(error.code, Errc::permission);
  EXPECT_EQ(error.os_errno, EROFS);
  EXPECT_STRNE(error.remedy, "");
}

TEST(RealSwapFile, a_directory_of_somebody_else_is_a_matter_of_permission) {
  const TemporaryDirectory directory;
  ASSERT_EQ(chmod(directory.path().c_str(), 0500), 0);
  // Root may write anywhere: a child that is nobody asks.
  const pid_t child = fork();
  if (child == 0) {
    if (geteuid() == 0 &&
        (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)) {
      _exit(2);
    }
    const auto file = real_machine().create_swap_file({.directory = directory.path()});
    _exit(!file && file.error().code == Errc::permission && file.error().os_errno == EACCES ? 0
                                                                                            : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(chmod(directory.path().c_str(), 0700), 0);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST(RealSwapFile, no_descriptor_left_is_a_system_error_with_a_remedy) {
  const TemporaryDirectory directory;
  rlimit old{};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
  rlimit none = old;
  none.rlim_cur = 0;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  const Error error = refusal(directory.path());
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  EXPECT_EQ(error.code, Errc::system);
  EXPECT_EQ(error.os_errno, EMFILE);
  EXPECT_STRNE(error.remedy, "");
}

}  // namespace
}  // namespace holdfast::sys::test
