// The table and the heap in a real region, under a budget that the data exceeds.
#include "examples/kv/database.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "examples/kv/reserve.h"
#include "support/seed.h"

namespace kv {
namespace {

using Model = std::unordered_map<std::string, std::string>;

class KvDatabase : public testing::Test {
 protected:
  explicit KvDatabase(std::uint64_t swap_limit = 0) : reserve_(1 << 20) {
    holdfast::Options options;
    options.memory_budget = 8 << 20;
    options.swap = {{.kind = holdfast::SwapTier::Kind::ram},
                    {.kind = holdfast::SwapTier::Kind::file, .limit_bytes = swap_limit}};
    options.on_error = Reserve::on_error;
    options.on_error_context = &reserve_;
    auto engine = holdfast::Engine::create(options);
    EXPECT_TRUE(engine) << engine.error().message();
    engine_ = std::move(*engine);
    const auto kept = reserve_.attach(*engine_);
    EXPECT_TRUE(kept) << kept.error().message();
    auto database = Database::create(*engine_, 4ull << 30);
    EXPECT_TRUE(database) << database.error().message();
    database_ = std::move(*database);
  }
  ~KvDatabase() override {
    EXPECT_TRUE(engine_->check_all());
    database_.reset();
    reserve_.detach();
  }

  Table& table() { return database_->table(); }
  void expect_same(const Model& model) {
    ASSERT_EQ(table().count(), model.size());
    std::size_t visited = 0;
    table().for_each([&](const Entry& entry) {
      const auto known = model.find(std::string(entry.key()));
      ASSERT_NE(known, model.end()) << entry.key();
      ASSERT_EQ(entry.value(), known->second) << entry.key();
      ++visited;
    });
    EXPECT_EQ(visited, model.size());
  }

  Reserve reserve_;
  std::unique_ptr<holdfast::Engine> engine_;
  std::unique_ptr<Database> database_;
};

std::string random_bytes(std::mt19937_64& random, std::size_t bytes) {
  std::string text(bytes, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

// Mostly short, some of pages, a few of many pages.
std::size_t random_length(std::mt19937_64& random) {
  const auto kind = random() % 1000;
  if (kind < 950) return random() % 200;
  return random() % (kind < 997 ? 10'000 : 300'000);
}

TEST_F(KvDatabase, random_changes_leave_what_a_plain_map_holds) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  Model model;
  for (int step = 0; step < 60'000; ++step) {
    const std::string key = "key:" + std::to_string(random() % 12'000);
    const auto what = random() % 100;
    if (what < 55) {
      const std::string value = random_bytes(random, random_length(random));
      ASSERT_TRUE(table().set(key, value));
      model[key] = value;
    } else if (what < 70) {
      const std::string more = random_bytes(random, random() % 300);
      const auto length = table().append(key, more);
      ASSERT_TRUE(length);
      ASSERT_EQ(*length, (model[key] += more).size());
    } else if (what < 80) {
      ASSERT_EQ(table().erase(key), model.erase(key) == 1);
    } else {
      const auto value = table().get(key);
      const auto known = model.find(key);
      ASSERT_EQ(value.has_value(), known != model.end()) << key;
      ASSERT_EQ(value.value_or(""), value ? known->second : "") << key;
    }
  }
  expect_same(model);
  const auto stats = engine_->stats();
  EXPECT_GT(stats.faults_swap + stats.faults_rescued, 0u) << "all of it fitted: nothing was shown";

  ASSERT_TRUE(database_->clear());
  expect_same({});
  ASSERT_TRUE(table().set("again", "1"));
  expect_same({{"again", "1"}});
}

TEST_F(KvDatabase, what_is_prepared_counts_when_it_is_committed_and_not_when_it_is_discarded) {
  ASSERT_TRUE(table().set("a", "old"));
  const auto first = table().prepare("a", "new");
  const auto second = table().prepare("b", "new");
  ASSERT_TRUE(first && second);
  expect_same({{"a", "old"}});
  table().discard(*second);
  table().commit(*first);
  expect_same({{"a", "new"}});
}

TEST_F(KvDatabase, a_key_set_twice_in_one_commit_keeps_its_last_value) {
  const auto first = table().prepare("a", "1");
  const auto second = table().prepare("a", "2");
  ASSERT_TRUE(first && second);
  table().commit(*first);
  table().commit(*second);
  expect_same({{"a", "2"}});
}

TEST_F(KvDatabase, freed_memory_is_used_again) {
  const std::string large(300'000, 'x');
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(table().set("large", large + std::to_string(i)));
    ASSERT_TRUE(table().set("small" + std::to_string(i % 10), std::string(100 + i % 3, 'y')));
  }
  EXPECT_LT(database_->heap().top(), 2u << 20);
}

TEST_F(KvDatabase, a_scan_meets_every_key_that_stays_however_the_table_grows) {
  std::set<std::string> wanted;
  for (int i = 0; i < 3000; ++i) {
    wanted.insert("stay:" + std::to_string(i));
    ASSERT_TRUE(table().set("stay:" + std::to_string(i), "x"));
  }
  std::uint64_t cursor = 0;
  int added = 0;
  do {
    cursor =
        table().scan(cursor, [&](const Entry& entry) { wanted.erase(std::string(entry.key())); });
    for (int i = 0; i < 20 && added < 15'000; ++i) {  // doubles the table twice meanwhile
      ASSERT_TRUE(table().set("new:" + std::to_string(added++), "x"));
    }
  } while (cursor != 0);
  EXPECT_EQ(added, 15'000);
  EXPECT_TRUE(wanted.empty()) << *wanted.begin();
}

TEST_F(KvDatabase, a_value_beyond_the_capacity_is_an_error_and_changes_nothing) {
  auto small = Database::create(*engine_, 16 << 20);
  ASSERT_TRUE(small);
  Table& table = (*small)->table();
  ASSERT_TRUE(table.set("a", std::string(8 << 20, 'a')));
  const auto refused = table.set("a", std::string(15 << 20, 'b'));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, holdfast::Errc::budget_exceeded);
  EXPECT_EQ(refused.error().limit, 16u << 20);
  EXPECT_EQ(table.get("a"), std::string(8 << 20, 'a'));
}

TEST_F(KvDatabase, a_region_that_holds_something_else_is_refused) {
  auto region = engine_->map_anonymous(1 << 20);
  ASSERT_TRUE(region);
  const auto opened = Database::open(*engine_, std::move(*region));
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, holdfast::Errc::corrupted);
}

class KvDatabaseWithLittleSwap : public KvDatabase {
 protected:
  static constexpr std::uint64_t kSwap = 16 << 20;
  KvDatabaseWithLittleSwap() : KvDatabase(kSwap) {}

  // Stores values of noise until one is refused, or the engine has asked for the reserve.
  Model fill(std::mt19937_64& random) {
    Model model;
    for (int i = 0; i < 100'000; ++i) {  // 100 MB: several times what there is room for
      const std::string key = "key:" + std::to_string(i);
      const std::string value = random_bytes(random, 1000);
      const auto stored = table().set(key, value);
      if (stored) model[key] = value;
      if (!stored) refusal_ = stored.error();
      if (!stored || reserve_.is_spent()) return model;
    }
    ADD_FAILURE() << "it was never full";
    return model;
  }

  holdfast::Error refusal_;
};

TEST_F(KvDatabaseWithLittleSwap, at_its_capacity_stores_are_refused_and_nothing_is_lost) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  auto database = Database::create(*engine_, kSwap / 8 * 7);
  ASSERT_TRUE(database);
  database_ = std::move(*database);
  Model model = fill(random);
  EXPECT_EQ(refusal_.code, holdfast::Errc::budget_exceeded) << refusal_.message();
  EXPECT_FALSE(reserve_.is_spent());
  EXPECT_GT(model.size(), 10'000u);
  expect_same(model);

  std::vector<std::string> gone;
  for (int i = 0; i < 5000; ++i) gone.push_back("key:" + std::to_string(2 * i));
  for (const auto& key : gone) {
    ASSERT_TRUE(table().erase(key));
    model.erase(key);
  }
  for (const auto& key : gone) {
    const std::string value = random_bytes(random, 1000);
    ASSERT_TRUE(table().set(key + "'", value)) << "what was deleted makes room";
    model[key + "'"] = value;
  }
  expect_same(model);
}

TEST_F(KvDatabaseWithLittleSwap, beyond_what_swap_can_hold_stores_are_refused_and_clearing_helps) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  EXPECT_GT(fill(random).size(), 10'000u);
  ASSERT_TRUE(database_->clear());
  const std::string value = random_bytes(random, 1 << 20);
  ASSERT_TRUE(table().set("again", value));
  expect_same({{"again", value}});
}

}  // namespace
}  // namespace kv
