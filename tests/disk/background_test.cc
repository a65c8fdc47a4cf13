// What was stored to a shared file is there when its program is killed, after the interval, though
// nobody has asked for it: as with the kernel's own mappings.
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "disk/disk_world.h"

namespace holdfast::disk::test {
namespace {

// Set: this process is one that stores. Its value: s, or c with commits, the pipe, and the file.
constexpr const char* kInside = "HOLDFAST_TEST_STORES";
constexpr std::uint64_t kPages = 1000;
constexpr std::uint64_t kTail = 100;  // bytes of the last page
constexpr std::uint64_t kBytes = (kPages - 1) * kPageSize + kTail;

constexpr WriteBack kEager = {.interval_ms = 20, .age_ms = 0};

// Every third page, and the end of the file.
void store_all(std::byte* memory) {
  for (std::uint64_t page = 0; page < kPages; page += 3) store(memory + page * kPageSize, page + 1);
  store(memory + kBytes - 8, kBytes);
}

Bytes expected() {
  Bytes bytes = marks(0, kBytes);
  store_all(bytes.data());
  return bytes;
}

[[noreturn]] void live(const std::string& told) {
  const std::size_t colon = told.find(':');
  const int pipe = std::stoi(told.substr(1, colon - 1));
  Options options = small_options();
  options.write_back = kEager;
  auto engine = Engine::create(options);
  if (!engine) ::_exit(2);
  auto mapping = map_file(**engine, told.substr(colon + 1), {.commits = told[0] == 'c'});
  if (!mapping) ::_exit(3);
  store_all(mapping->data());
  if (::write(pipe, "s", 1) != 1) ::_exit(4);
  for (;;) ::pause();
}

// A program that stores, and is killed while it waits for ever. `stored`: called when it has.
template <class Stored>
void live_and_die(const std::string& path, bool commits, Stored stored) {
  int pipe[2];
  ASSERT_EQ(::pipe2(pipe, O_CLOEXEC), 0);
  const std::string how = (commits ? "c" : "s") + std::to_string(pipe[1]) + ":" + path;
  ::setenv(kInside, how.c_str(), 1);
  const pid_t child = ::fork();
  if (child == 0) {
    ::fcntl(pipe[1], F_SETFD, 0);
    ::execl("/proc/self/exe", "background_test",
            "--gtest_filter=DiskBackground.StoresOfAKilledProgramAreInTheFile", nullptr);
    ::_exit(1);
  }
  ::unsetenv(kInside);
  ::close(pipe[1]);
  char byte = 0;
  EXPECT_TRUE(::read(pipe[0], &byte, 1) == 1) << "it ended by itself";
  if (byte == 's') stored();
  ::kill(child, SIGKILL);
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "with " << WEXITSTATUS(status);
  ::close(pipe[0]);
}

// Looks at the file until it is as it should be. False: it never was.
bool becomes(const std::string& path, const Bytes& content) {
  constexpr auto kPatience = std::chrono::minutes(2);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (read_file(path) != content) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(DiskBackground, StoresOfAKilledProgramAreInTheFile) {
  if (const char* const told = std::getenv(kInside)) live(told);
  const tests::TempDirectory directory;
  const std::string path = directory.file("stored");
  put_file(path, kBytes);
  live_and_die(path, false, [&] { EXPECT_TRUE(becomes(path, expected())); });
  EXPECT_EQ(read_file(path), expected());
}

TEST(DiskBackground, StoresThatWereNotCommittedAreNot) {
  const tests::TempDirectory directory;
  const std::string path = directory.file("uncommitted");
  const std::string other = directory.file("stored");
  put_file(path, kBytes);
  put_file(other, kBytes);
  live_and_die(path, true, [&] {
    // Time enough: what another program stores now gets to its file.
    live_and_die(other, false, [&] { EXPECT_TRUE(becomes(other, expected())); });
  });
  EXPECT_EQ(read_file(path), marks(0, kBytes));
}

// Several threads store, one syncs, one makes the file longer, with all of it written behind them.
TEST(DiskBackground, FilesThatAreStoredToAllTheTimeHoldWhatWasStored) {
  for (const Options& each : engines()) {
    Options options = each;
    options.write_back = {.interval_ms = 1, .age_ms = 0};
    const tests::TempDirectory directory;
    const std::string path = directory.file("busy");
    put_file(path, kPages * kPageSize);
    const auto engine = make_engine(options);
    FileMapping mapping = map(*engine, path, {.capacity = 2 * kPages * kPageSize});
    constexpr std::uint64_t kThreads = 3;
    constexpr std::uint64_t kRounds = 30;
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < kThreads; ++thread) {
      threads.emplace_back([&, thread] {
        for (std::uint64_t round = 1; round <= kRounds; ++round) {
          for (std::uint64_t page = thread; page < kPages; page += kThreads) {
            store(mapping.data() + page * kPageSize, round * kPages + page);
          }
        }
      });
    }
    for (std::uint64_t more = 1; more <= 20; ++more) {
      EXPECT_TRUE(mapping.resize((kPages + more) * kPageSize));
      EXPECT_TRUE(mapping.sync());
    }
    for (std::thread& thread : threads) thread.join();
    Bytes content = marks(0, kPages * kPageSize);
    for (std::uint64_t page = 0; page < kPages; ++page) {
      store(content.data() + page * kPageSize, kRounds * kPages + page);
    }
    content.resize((kPages + 20) * kPageSize);
    // Those who sync may have been quicker every time: now nobody does.
    store(mapping.data() + kPageSize, 1);
    store(content.data() + kPageSize, 1);
    EXPECT_TRUE(becomes(path, content));
    EXPECT_GT(engine->stats().background_written, 0u);
    ASSERT_TRUE(mapping.unmap());
    EXPECT_EQ(read_file(path), content);
    EXPECT_TRUE(all_is_well(*engine));
  }
}

}  // namespace
}  // namespace holdfast::disk::test
