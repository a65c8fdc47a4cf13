// BGSAVE and its like: what a server that starts again finds.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "examples/kv_process.h"
#include "support/seed.h"

namespace kv {
namespace {

using tests::Client;
using Model = std::unordered_map<std::string, std::string>;
using Words = std::vector<std::string>;

std::string random_value(std::mt19937_64& random) {
  std::string value(random() % 20 == 0 ? random() % 20'000 : random() % 300, '\0');
  for (char& c : value) c = static_cast<char>(random());
  return value;
}

class KvPersistence : public testing::Test {
 protected:
  void start(Words more = {}) {
    more.insert(more.begin(), {"--memory", "16M", "--dir", folder_.path()});
    server_ = std::make_unique<tests::ServerProcess>(folder_.path(), more);
    client_ = std::make_unique<Client>(server_->socket_path());
  }
  // Ends the server as it stands.
  void crash() { EXPECT_EQ(server_->end(SIGKILL), 128 + SIGKILL) << server_->output(); }
  std::string ask(const Words& request) { return client_->ask(request); }
  // The value of a line of INFO persistence.
  std::string info(const std::string& name) {
    const std::string text = ask({"INFO", "persistence"});
    const std::size_t at = text.find("\n" + name + ":");
    if (at == std::string::npos) return "";
    const std::size_t value = at + name.size() + 2;
    return text.substr(value, text.find('\r', value) - value);
  }
  void wait_for_save() {
    std::string busy;
    while ((busy = info("rdb_bgsave_in_progress")) == "1") {
    }
    ASSERT_EQ(busy, "0");
  }
  void store(const Model& model) {
    for (const auto& [key, value] : model) ASSERT_EQ(ask({"SET", key, value}), "+OK");
  }
  void expect_data(const Model& model) {
    ASSERT_EQ(ask({"DBSIZE"}), ":" + std::to_string(model.size()));
    for (const auto& [key, value] : model) ASSERT_EQ(ask({"GET", key}), "$" + value) << key;
  }

  tests::Folder folder_;
  std::unique_ptr<tests::ServerProcess> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(KvPersistence, a_bgsave_under_load_is_the_data_of_its_moment_after_a_kill) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  start();
  Model model;
  for (int i = 0; i < 20'000; ++i) model["key:" + std::to_string(i)] = random_value(random);
  store(model);
  // In one stream: what comes before BGSAVE is in it, what comes behind it is not.
  std::vector<Words> before, after;
  for (int i = 0; i < 5000; ++i) {
    const std::string key = "key:" + std::to_string(random() % 25'000);
    Words request = {"SET", key, random_value(random)};
    if (random() % 4 == 0) request = {"DEL", key};
    before.push_back(request);
    if (request[0] == "SET") model[key] = request[2];
    if (request[0] == "DEL") model.erase(key);
  }
  for (int i = 0; i < 20'000; ++i) {
    after.push_back({"SET", "key:" + std::to_string(random() % 30'000), random_value(random)});
  }
  for (const auto& request : before) ASSERT_TRUE(client_->send_request(request));
  for (std::size_t i = 0; i < before.size(); ++i) ASSERT_FALSE(client_->reply().starts_with("-"));
  ASSERT_EQ(ask({"BGSAVE"}), "+Background saving started");
  for (const auto& request : after) ASSERT_EQ(ask(request), "+OK");
  wait_for_save();
  ASSERT_EQ(info("rdb_last_bgsave_status"), "ok") << server_->output();
  crash();
  start();
  expect_data(model);

  // What came back is as good as what was there: it grows, shrinks and is saved again.
  for (int i = 0; i < 20'000; ++i) {
    const std::string key = "more:" + std::to_string(i);
    model[key] = random_value(random);
    ASSERT_EQ(ask({"SET", key, model[key]}), "+OK");
  }
  ASSERT_EQ(ask({"SAVE"}), "+OK");
  crash();
  start();
  expect_data(model);
}

TEST_F(KvPersistence, a_kill_at_any_moment_leaves_one_save_or_the_next) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  constexpr int kKeys = 500;
  int saved = 0;  // the generation that is surely in the image
  int found_old = 0, found_new = 0;
  start();
  for (int round = 0; round < 100; ++round) {
    const int generation = saved + 1;
    for (int i = 0; i < kKeys; ++i) {
      std::string value = std::to_string(generation) + ":";
      value.resize(4000, static_cast<char>('a' + generation % 26));
      ASSERT_EQ(ask({"SET", "key:" + std::to_string(i), value}), "+OK");
    }
    ASSERT_EQ(ask({"BGSAVE"}), "+Background saving started");
    const bool to_the_end = round % 10 == 0;
    if (to_the_end) wait_for_save();
    // At once, a moment later, or far behind the save's end.
    for (auto turns = random() % (1 << random() % 15); turns > 0; --turns)
      ASSERT_EQ(ask({"PING"}), "+PONG");
    crash();
    start();
    ASSERT_EQ(ask({"DBSIZE"}), ":" + std::to_string(kKeys));
    const std::string first = ask({"GET", "key:0"});
    const int found = std::stoi(first.substr(1));
    ASSERT_TRUE(found == generation || (found == saved && !to_the_end)) << found << ", " << saved;
    for (int i = 1; i < kKeys; ++i) ASSERT_EQ(ask({"GET", "key:" + std::to_string(i)}), first) << i;
    (found == generation ? found_new : found_old) += 1;
    saved = found;
  }
  RecordProperty("new", found_new);
  RecordProperty("old", found_old);
}

TEST_F(KvPersistence, shutdown_and_sigterm_save_unless_they_are_told_not_to) {
  start();
  store({{"a", "1"}});
  EXPECT_EQ(server_->end(SIGTERM), 0) << server_->output();
  start();
  expect_data({{"a", "1"}});
  store({{"a", "2"}});
  ASSERT_TRUE(client_->send_request({"SHUTDOWN", "NOSAVE"}));
  EXPECT_EQ(server_->end(0), 0) << server_->output();
  start();
  expect_data({{"a", "1"}});
  store({{"a", "3"}});
  EXPECT_TRUE(ask({"SHUTDOWN", "MAYBE"}).starts_with("-ERR syntax"));
  ASSERT_TRUE(client_->send_request({"SHUTDOWN"}));
  EXPECT_EQ(server_->end(0), 0) << server_->output();
  start();
  expect_data({{"a", "3"}});
}

TEST_F(KvPersistence, deleted_data_stays_deleted) {
  start();
  Model model;
  for (int i = 0; i < 3000; ++i) model["key:" + std::to_string(i)] = std::string(500, 'x');
  store(model);
  ASSERT_EQ(ask({"SAVE"}), "+OK");
  ASSERT_EQ(ask({"FLUSHALL"}), "+OK");
  ASSERT_EQ(ask({"SET", "a", "1"}), "+OK");
  ASSERT_EQ(ask({"SAVE"}), "+OK");
  crash();
  start();
  expect_data({{"a", "1"}});
}

TEST_F(KvPersistence, without_a_folder_nothing_is_saved_and_the_error_says_what_to_do) {
  const tests::Folder folder;
  tests::ServerProcess server(folder.path(), {});
  Client client(server.socket_path());
  for (const char* command : {"BGSAVE", "SAVE"}) {
    const std::string reply = client.ask({command});
    EXPECT_TRUE(reply.starts_with("-ERR ")) << reply;
    EXPECT_NE(reply.find("--dir"), std::string::npos) << reply;
  }
  EXPECT_EQ(client.ask({"SHUTDOWN", "SAVE"}).substr(0, 4), "-ERR");
  EXPECT_EQ(client.ask({"PING"}), "+PONG");
  EXPECT_EQ(server.end(SIGTERM), 0) << server.output();
}

TEST_F(KvPersistence, a_save_that_fails_is_told_and_harms_nothing) {
  start();
  store({{"a", "1"}});
  ASSERT_EQ(ask({"SAVE"}), "+OK");
  // Its place is taken by something that no file can replace.
  std::filesystem::remove(folder_.path() + "/kv.image");
  std::filesystem::create_directories(folder_.path() + "/kv.image/full");
  ASSERT_EQ(ask({"BGSAVE"}), "+Background saving started");
  wait_for_save();
  EXPECT_EQ(info("rdb_last_bgsave_status"), "err");
  EXPECT_TRUE(ask({"SAVE"}).starts_with("-ERR "));
  expect_data({{"a", "1"}});
  EXPECT_EQ(server_->end(SIGTERM), 1) << "the data could not be saved at the end";
  EXPECT_NE(server_->output().find("could not be saved"), std::string::npos) << server_->output();
}

TEST_F(KvPersistence, an_image_that_is_damaged_is_refused_and_left_alone) {
  start();
  store({{"a", std::string(100'000, 'x')}});
  ASSERT_EQ(server_->end(SIGTERM), 0) << server_->output();
  const std::string path = folder_.path() + "/kv.image";
  const auto bytes = std::filesystem::file_size(path);
  std::filesystem::resize_file(path, bytes - 1);
  tests::ServerProcess refused(folder_.path(), {"--dir", folder_.path()});
  EXPECT_EQ(refused.end(0), 1);
  EXPECT_NE(refused.output().find("corrupted"), std::string::npos) << refused.output();
  EXPECT_EQ(std::filesystem::file_size(path), bytes - 1);

  std::ofstream(path) << "no image at all, but a file of somebody else's";
  tests::ServerProcess foreign(folder_.path(), {"--dir", folder_.path()});
  EXPECT_EQ(foreign.end(0), 1);
  EXPECT_NE(foreign.output().find("kv: "), std::string::npos) << foreign.output();
}

TEST_F(KvPersistence, all_of_the_data_may_change_while_a_full_server_saves) {
  start({"--swap-limit", "64M"});
  std::mt19937_64 random(1);
  std::vector<std::string> keys;
  Model model;
  for (;;) {
    std::string value(8000, '\0');
    for (char& c : value) c = static_cast<char>(random());
    const std::string key = "key:" + std::to_string(keys.size());
    const std::string reply = ask({"SET", key, value});
    if (reply != "+OK") {
      EXPECT_TRUE(reply.starts_with("-OOM ")) << reply;
      break;
    }
    keys.push_back(key);
    model[key] = value;
  }
  ASSERT_EQ(ask({"BGSAVE"}), "+Background saving started");
  Model changed = model;
  for (const auto& key : keys) {
    std::string& value = changed[key];
    std::reverse(value.begin(), value.end());
    ASSERT_EQ(ask({"SET", key, value}), "+OK") << "in its place, and the old version is kept";
  }
  expect_data(changed);
  wait_for_save();
  ASSERT_EQ(info("rdb_last_bgsave_status"), "ok") << server_->output();
  crash();
  start({"--swap-limit", "64M"});
  expect_data(model);
}

}  // namespace
}  // namespace kv
