// Snapshots of a file while several threads store to it, commit, sync and push pages out: each
// of them shows one moment, and always the same.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "engine/real_engine.h"
#include "support/seed.h"
#include "support/temp_directory.h"

namespace holdfast::engine::test {
namespace {

constexpr std::uint64_t kPages = 3 * kBudget / kPageSize;  // of the file
constexpr std::uint64_t kAccounts = kPages * 4;            // 1 KiB each
constexpr std::int64_t kBalance = 1000;
constexpr int kWriters = 2;
constexpr int kReaders = 2;

class FileSnapshotRace : public testing::TestWithParam<std::tuple<FaultDelivery, bool>> {
 protected:
  void SetUp() override {
    const auto [delivery, commits] = GetParam();
    Options options = small_options(delivery);
    if (const std::string why = cannot_run(options); !why.empty()) GTEST_SKIP() << why;
    options.swap.push_back({.kind = SwapTier::Kind::file, .directory = directory.path()});
    put_file();
    engine = make_engine(options);
    ASSERT_NE(engine, nullptr);
    auto mapping = map_file(*engine, directory.file("accounts"), {.commits = commits});
    ASSERT_TRUE(mapping) << mapping.error().message();
    file = std::move(*mapping);
    has_commits = commits;
  }
  void TearDown() override {
    if (engine == nullptr) return;
    EXPECT_TRUE(all_is_well(*engine));
    ASSERT_TRUE(file.unmap());
    EXPECT_EQ(engine->stats().faults_refused, 0u);
  }
  void put_file() {
    std::ofstream out(directory.file("accounts"), std::ios::binary);
    std::vector<std::int64_t> account(1024 / 8, 0x5a5a5a5a5a5a5a);
    for (std::uint64_t i = 0; i < kAccounts; ++i) {
      account[0] = kBalance;
      account[1] = static_cast<std::int64_t>(i);
      out.write(reinterpret_cast<const char*>(account.data()), 1024);
    }
  }

  // Two threads may have the same account: the sum is what has to hold.
  std::int64_t* account(std::uint64_t i) {
    return reinterpret_cast<std::int64_t*>(file.data() + i * 1024);
  }
  static void add(std::int64_t* to, std::int64_t amount) {
    std::atomic_ref(*to).fetch_add(amount, std::memory_order_relaxed);
  }
  // Without commits there are no transactions: what belongs together is one word.
  void write(std::uint64_t seed) {
    std::mt19937_64 chance(seed);
    while (!done) {
      const std::uint64_t from = chance() % kAccounts;
      const std::uint64_t to = chance() % 2 == 0 ? chance() % kAccounts : from;
      const auto amount = static_cast<std::int64_t>(chance() % 10);
      if (has_commits) {
        const auto change = file.begin();
        EXPECT_TRUE(change);
        add(account(from), -amount);
        add(account(to), amount);
      } else {
        add(account(from) + 2, 1);
      }
      if (chance() % 64 == 0) (void)engine->reclaim(chance() % 32);
      if (chance() % 512 == 0) {
        const auto saved = has_commits ? file.commit() : file.sync();
        EXPECT_TRUE(saved) << saved.error().message();
      }
    }
  }

  static std::int64_t sum_of(const std::vector<std::int64_t>& words, std::uint64_t field) {
    std::int64_t sum = 0;
    for (std::uint64_t i = 0; i < kAccounts; ++i) sum += words[i * 128 + field];
    return sum;
  }
  // As memory, and by read(): the same both times, and of one moment.
  void read_some(int snapshots) {
    for (int i = 0; i < snapshots && !HasFailure(); ++i) {
      const auto snapshot = engine->snapshot(file);
      ASSERT_TRUE(snapshot) << snapshot.error().message();
      std::vector<std::int64_t> read(snapshot->size() / 8);
      std::vector<std::int64_t> loaded(read.size());
      ASSERT_TRUE(snapshot->read(0, std::as_writable_bytes(std::span(read))));
      std::memcpy(loaded.data(), snapshot->data(), snapshot->size());
      ASSERT_TRUE(read == loaded) << "it changed between two looks";
      if (has_commits) {
        ASSERT_EQ(sum_of(read, 0), kBalance * static_cast<std::int64_t>(kAccounts));
      }
      for (std::uint64_t at = 0; at < kAccounts; ++at) {
        ASSERT_EQ(read[at * 128 + 1], static_cast<std::int64_t>(at));
      }
    }
    ++readers_done;
  }

  const tests::TempDirectory directory;
  std::unique_ptr<Engine> engine;
  FileMapping file;
  bool has_commits = false;
  std::atomic<bool> done{false};
  std::atomic<int> readers_done{0};
};

TEST_P(FileSnapshotRace, ReadersHoldAConsistentViewWhileWritersGoOn) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  const int rounds = kUnderTsan ? 1 : 5;
  std::vector<std::thread> threads;
  for (int i = 0; i < kWriters; ++i) {
    threads.emplace_back([&, i] { write(seed + static_cast<std::uint64_t>(i)); });
  }
  std::vector<std::thread> readers;
  for (int i = 0; i < kReaders; ++i) readers.emplace_back([&] { read_some(rounds); });
  for (std::thread& reader : readers) reader.join();
  done = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(readers_done, kReaders);
}

INSTANTIATE_TEST_SUITE_P(Ways, FileSnapshotRace,
                         testing::Combine(testing::Values(FaultDelivery::signal,
                                                          FaultDelivery::thread),
                                          testing::Bool()),
                         [](const auto& way) {
                           const bool signal = std::get<0>(way.param) == FaultDelivery::signal;
                           return std::string(signal ? "signal" : "thread") +
                                  (std::get<1>(way.param) ? "_commits" : "_plain");
                         });

}  // namespace
}  // namespace holdfast::engine::test
