// A process that is killed while its threads commit leaves a file in which every transaction is
// whole: all that were acknowledged, and of each thread perhaps the one that was under way.
//
// Accounts on many pages, whose sum never changes. A transaction moves amounts between accounts,
// which are told by the number of its thread and its own, and counts itself in its thread's
// counter: so what a file must hold follows from its counters, to the last byte.
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "disk/disk_world.h"

namespace holdfast::disk::test {
namespace {

constexpr const char* kInside = "HOLDFAST_TEST_KILLS";  // set: this process has no engine yet
constexpr std::uint32_t kThreads = 3;
constexpr std::uint64_t kPages = 384;
constexpr std::uint64_t kSlots = kPages * kPageSize / 8;
constexpr std::uint64_t kCounters = 100 * kPageSize / 8;  // where thread 0 counts; a page each
constexpr std::uint64_t kStep = kPageSize / 8;
constexpr std::uint64_t kInitial = 1000;
constexpr std::uint32_t kMovesMax = 24;

struct Move {
  std::uint64_t from = 0;
  std::uint64_t to = 0;
  std::uint64_t amount = 0;
};

bool is_counter(std::uint64_t slot) {
  return slot >= kCounters && (slot - kCounters) % kStep == 0 &&
         (slot - kCounters) / kStep < kThreads;
}

// The moves of a transaction: as many as fit one page, or as are all over the file.
std::vector<Move> moves_of(std::uint32_t thread, std::uint64_t number) {
  std::mt19937_64 chance(number * kThreads + thread);
  const auto account = [&] {
    for (;;) {
      const std::uint64_t slot = chance() % kSlots;
      if (!is_counter(slot)) return slot;
    }
  };
  std::vector<Move> moves(1 + chance() % kMovesMax);
  for (Move& move : moves) move = {account(), account(), chance() % 100};
  return moves;
}

// --- the process that is killed ---

struct Told {
  std::uint32_t thread = 0;  // kReady: the file is mapped, and recovered
  std::uint32_t number = 0;  // of the transaction that is durable
};
constexpr std::uint32_t kReady = kThreads;

void tell(int pipe, Told what) {
  if (::write(pipe, &what, sizeof what) != static_cast<ssize_t>(sizeof what)) ::_exit(2);
}

// Stores are atomic, as another thread may move between the same accounts: order is all the same.
void add(std::uint64_t* slot, std::uint64_t amount) {
  std::atomic_ref(*slot).fetch_add(amount, std::memory_order_relaxed);
}

void commit_for_ever(FileMapping& mapping, std::uint32_t thread, int pipe) {
  auto* const slots = reinterpret_cast<std::uint64_t*>(mapping.data());
  std::uint64_t* const counter = slots + kCounters + thread * kStep;
  for (std::uint64_t number = *counter;; ++number) {
    {
      const auto change = mapping.begin();
      if (!change) ::_exit(3);
      for (const Move& move : moves_of(thread, number)) {
        add(slots + move.from, -move.amount);
        add(slots + move.to, move.amount);
      }
      *counter = number + 1;
    }
    if (!mapping.commit()) ::_exit(4);
    tell(pipe, {thread, static_cast<std::uint32_t>(number + 1)});
  }
}

[[noreturn]] void live(const std::string& path, int pipe, int go) {
  Options options = small_options();
  options.swap = {engine::test::ram_tier(SwapCompression::lz4, kMiB)};
  auto engine = Engine::create(options);
  if (!engine) ::_exit(5);
  auto mapping = map_file(**engine, path, {.commits = true, .journal_limit = 1 << 19});
  if (!mapping) {
    ::dprintf(STDERR_FILENO, "%s\n", mapping.error().message().c_str());
    ::_exit(6);
  }
  // What it shows is what is there: its reader compares that.
  const Bytes file = read_file(path);
  if (differences(mapping->data(), file.data(), mapping->size()) != 0) ::_exit(7);
  tell(pipe, {kReady, 0});
  char byte = 0;
  if (::read(go, &byte, 1) != 1) ::_exit(0);
  std::vector<std::thread> threads;
  for (std::uint32_t thread = 1; thread < kThreads; ++thread) {
    threads.emplace_back([&mapping, thread, pipe] { commit_for_ever(*mapping, thread, pipe); });
  }
  // What is not committed has to leave memory, too.
  threads.emplace_back([&engine] {
    for (;;) (void)(*engine)->reclaim(64);
  });
  commit_for_ever(*mapping, 0, pipe);
  ::_exit(8);
}

// --- the process that kills ---

class Victim {
 public:
  explicit Victim(const std::string& path) {
    int told[2];
    int go[2];
    EXPECT_EQ(::pipe2(told, O_CLOEXEC), 0);
    EXPECT_EQ(::pipe2(go, O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(told[0]);
      ::close(go[1]);
      live(path, told[1], go[0]);
    }
    ::close(told[1]);
    ::close(go[0]);
    told_ = told[0];
    go_ = go[1];
  }
  ~Victim() {
    ::close(told_);
    ::close(go_);
  }
  Victim(const Victim&) = delete;
  Victim& operator=(const Victim&) = delete;

  // False: it is gone.
  bool hear(Told& what) {
    return ::read(told_, &what, sizeof what) == static_cast<ssize_t>(sizeof what);
  }
  void go() { EXPECT_EQ(::write(go_, "g", 1), 1); }
  void kill() { ::kill(pid_, SIGKILL); }
  // True if it was killed, and has not ended by itself.
  bool wait() {
    int status = 0;
    EXPECT_EQ(::waitpid(pid_, &status, 0), pid_);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself with " << WEXITSTATUS(status);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
  }

 private:
  pid_t pid_ = -1;
  int told_ = -1;
  int go_ = -1;
};

class Ledger {
 public:
  explicit Ledger(const std::string& path) : path_(path), expected_(kSlots, kInitial) {
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
      expected_[kCounters + thread * kStep] = 0;
    }
    const auto* const bytes = reinterpret_cast<const std::byte*>(expected_.data());
    write_file(path, Bytes(bytes, bytes + kPages * kPageSize));
  }

  void acknowledge(const Told& what) { acknowledged_[what.thread] = what.number; }

  // The recovered file holds whole transactions: all that were acknowledged, and at most one more
  // of each thread.
  void compare() {
    const Bytes file = read_file(path_);
    ASSERT_EQ(file.size(), kPages * kPageSize);
    const auto* const slots = reinterpret_cast<const std::uint64_t*>(file.data());
    for (std::uint32_t thread = 0; thread < kThreads; ++thread) {
      const std::uint64_t found = slots[kCounters + thread * kStep];
      ASSERT_GE(found, acknowledged_[thread]) << "an acknowledged commit is gone";
      ASSERT_LE(found, acknowledged_[thread] + 1);
      for (std::uint64_t number = done_[thread]; number < found; ++number) replay(thread, number);
      in_flight += found - acknowledged_[thread];
      done_[thread] = acknowledged_[thread] = found;
    }
    std::uint64_t wrong = 0;
    std::uint64_t sum = 0;
    for (std::uint64_t slot = 0; slot < kSlots; ++slot) {
      wrong += slots[slot] == expected_[slot] ? 0 : 1;
      sum += is_counter(slot) ? 0 : slots[slot];
    }
    EXPECT_EQ(sum, (kSlots - kThreads) * kInitial);
    ASSERT_EQ(wrong, 0u) << "a transaction is not whole";
  }
  [[nodiscard]] std::uint64_t commits() const { return done_[0] + done_[1] + done_[2]; }

  std::uint64_t in_flight = 0;  // commits that were found and had not been acknowledged

 private:
  void replay(std::uint32_t thread, std::uint64_t number) {
    for (const Move& move : moves_of(thread, number)) {
      expected_[move.from] -= move.amount;
      expected_[move.to] += move.amount;
    }
    expected_[kCounters + thread * kStep] = number + 1;
  }

  const std::string path_;
  std::vector<std::uint64_t> expected_;
  std::array<std::uint64_t, kThreads> acknowledged_{};
  std::array<std::uint64_t, kThreads> done_{};
};

// An instant by chance: as long as this takes.
void pass(std::uint64_t nanoseconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(nanoseconds);
  while (std::chrono::steady_clock::now() < end) {
  }
}

// One life and one death. Those that die young die while they recover.
void kill_one(Ledger& ledger, const std::string& path, std::mt19937_64& chance) {
  Victim victim(path);
  Told what;
  if (chance() % 8 == 0) {
    pass(chance() % 20'000'000);
    victim.kill();
    while (victim.hear(what)) ASSERT_EQ(what.thread, kReady);
    ASSERT_TRUE(victim.wait());
    return;
  }
  ASSERT_TRUE(victim.hear(what) && what.thread == kReady) << victim.wait();
  ASSERT_NO_FATAL_FAILURE(ledger.compare());
  victim.go();
  for (std::uint64_t i = chance() % 12; i > 0 && victim.hear(what); --i) ledger.acknowledge(what);
  pass(chance() % 1'000'000);
  victim.kill();
  while (victim.hear(what)) ledger.acknowledge(what);
  ASSERT_TRUE(victim.wait());
}

// Forks as often as it likes: nothing here has an engine, or a thread.
void kill_them_all() {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 chance(seed);
  const tests::TempDirectory directory;
  const std::string path = directory.file("ledger");
  Ledger ledger(path);
  const bool slow = engine::test::kUnderAsan || engine::test::kUnderTsan;
  const int kills = slow ? 60 : 500;
  for (int i = 0; i < kills && !testing::Test::HasFailure(); ++i) {
    SCOPED_TRACE("kill " + std::to_string(i));
    kill_one(ledger, path, chance);
  }
  EXPECT_GT(ledger.commits(), 100u);
  EXPECT_GT(ledger.in_flight, 0u) << "none was killed between a commit and its acknowledgement";
}

TEST(DiskKill, FiveHundredKillsLeaveEachTransactionWholeOrNot) {
  if (std::getenv(kInside) != nullptr) return kill_them_all();
  // In a process of its own, which can be forked: rings do not survive that.
  const pid_t child = ::fork();
  if (child == 0) {
    ::setenv(kInside, "1", 1);
    ::execl("/proc/self/exe", "kill_test", "--gtest_filter=DiskKill.*", nullptr);
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "see above";
}

}  // namespace
}  // namespace holdfast::disk::test
