// The server as its clients meet it: over a socket, by redis-cli, by redis-benchmark.
#include <gtest/gtest.h>

#include <cstdlib>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "examples/kv/bounds.h"
#include "examples/kv_process.h"
#include "support/run_program.h"
#include "support/seed.h"

namespace kv {
namespace {

using tests::Client;

class KvServer : public testing::Test {
 protected:
  KvServer() : server_(folder_.path(), {"--memory", "16M"}) {}
  ~KvServer() override { EXPECT_EQ(server_.end(SIGTERM), 0) << server_.output(); }
  Client connect() { return Client(server_.socket_path()); }

  tests::Folder folder_;
  tests::ServerProcess server_;
};

using Words = std::vector<std::string>;

TEST_F(KvServer, each_command_answers_as_redis_does) {
  struct Step {
    Words request;
    std::string reply;
  };
  const Step steps[] = {
      {{"PING"}, "+PONG"},
      {{"ping", "x"}, "$x"},
      {{"ECHO", "a\r\nb"}, "$a\r\nb"},
      {{"GET", "a"}, "$-1"},
      {{"SET", "a", "1"}, "+OK"},
      {{"SET", "a", "2", "NX"}, "$-1"},
      {{"SET", "a", "2", "xx", "get"}, "$1"},
      {{"SET", "none", "2", "XX"}, "$-1"},
      {{"SET", "none", "2", "XX", "GET"}, "$-1"},
      {{"SET", "a", "3", "NX", "GET"}, "$2"},
      {{"SET", "a", "3", "NX", "XX"}, "-ERR syntax error"},
      {{"SET", "a", "3", "EX", "10"}, "-ERR EX is not supported: keys do not expire here"},
      {{"SET", "a", "3", "nonsense"}, "-ERR syntax error"},
      {{"GET", "a"}, "$2"},
      {{"EXISTS", "a", "a", "none"}, ":2"},
      {{"TYPE", "a"}, "+string"},
      {{"TYPE", "none"}, "+none"},
      {{"INCR", "a"}, ":3"},
      {{"DECR", "a"}, ":2"},
      {{"INCRBY", "a", "40"}, ":42"},
      {{"DECRBY", "a", "50"}, ":-8"},
      {{"INCR", "new"}, ":1"},
      {{"INCRBY", "a", "x"}, "-ERR value is not an integer or out of range"},
      {{"INCRBY", "a", "9223372036854775808"}, "-ERR value is not an integer or out of range"},
      {{"SET", "big", "9223372036854775807"}, "+OK"},
      {{"INCR", "big"}, "-ERR increment or decrement would overflow"},
      {{"DECRBY", "big", "-9223372036854775808"}, "-ERR decrement would overflow"},
      {{"APPEND", "text", "Hello "}, ":6"},
      {{"APPEND", "text", "World"}, ":11"},
      {{"STRLEN", "text"}, ":11"},
      {{"STRLEN", "none"}, ":0"},
      {{"INCR", "text"}, "-ERR value is not an integer or out of range"},
      {{"MSET", "x", "1", "y", "2", "x", "3"}, "+OK"},
      {{"MSET", "x", "1", "y"}, "-ERR wrong number of arguments for 'MSET' command"},
      {{"MGET", "x", "none", "y"}, "*[$3 $-1 $2]"},
      {{"DBSIZE"}, ":6"},
      {{"KEYS", "t*"}, "*[$text]"},
      {{"SCAN", "0", "MATCH", "t*", "COUNT", "100000"}, "*[$0 *[$text]]"},
      {{"SCAN", "x"}, "-ERR invalid cursor"},
      {{"DEL", "x", "y", "none"}, ":2"},
      {{"SELECT", "0"}, "+OK"},
      {{"SELECT", "1"}, "-ERR DB index is out of range: there is database 0 only"},
      {{"CONFIG", "GET", "save"}, "*[$save $]"},
      {{"CONFIG", "GET", "appendonl?"}, "*[$appendonly $no]"},
      {{"CONFIG", "GET", "none"}, "*[]"},
      {{"COMMAND", "DOCS"}, "*[]"},
      {{"get", "a", "b"}, "-ERR wrong number of arguments for 'GET' command"},
      {{"NONSENSE", "a"}, "-ERR unknown command 'NONSENSE'"},
      {{"FLUSHALL"}, "+OK"},
      {{"DBSIZE"}, ":0"},
      {{"QUIT"}, "+OK"},
  };
  Client client = connect();
  for (const Step& step : steps) EXPECT_EQ(client.ask(step.request), step.reply) << step.request[0];
  EXPECT_EQ(client.rest(), "") << "QUIT closes the connection";
}

TEST_F(KvServer, requests_in_a_row_are_answered_in_their_order_however_they_are_cut) {
  const std::string stream = "SET a 1\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\nGET a\r\n";
  for (std::size_t cut = 0; cut <= stream.size(); ++cut) {
    Client client = connect();
    ASSERT_TRUE(client.send_raw(stream.substr(0, cut)));
    ASSERT_TRUE(client.send_raw(stream.substr(cut)));
    for (const char* expected : {"+OK", ":2", "$2"}) EXPECT_EQ(client.reply(), expected) << cut;
  }
}

TEST_F(KvServer, a_protocol_error_is_named_and_ends_that_connection_only) {
  Client good = connect();
  for (const std::string garbage : {"*1\r\n$99999999999\r\n", "*-x\r\n", "*1\r\nGET\r\n", "'\r\n",
                                    "\x16\x03\x01\x02 'TLS client hello\n"}) {
    Client bad = connect();
    ASSERT_TRUE(bad.send_raw("PING\r\n" + garbage));
    const std::string answer = bad.rest();
    EXPECT_TRUE(answer.starts_with("+PONG\r\n-ERR Protocol error: ")) << answer;
  }
  EXPECT_EQ(good.ask({"PING"}), "+PONG");
}

TEST_F(KvServer, a_client_that_goes_in_mid_request_leaves_nothing_behind) {
  for (int i = 0; i < 100; ++i) {
    Client client = connect();
    ASSERT_TRUE(client.send_raw("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100\r\nhalf of"));
  }
  Client client = connect();
  EXPECT_EQ(client.ask({"DBSIZE"}), ":0");
}

TEST_F(KvServer, random_commands_agree_with_a_plain_map) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::unordered_map<std::string, std::string> model;
  Client client = connect();
  for (int step = 0; step < 20'000; ++step) {
    const std::string key = "k" + std::to_string(random() % 2000);
    const auto what = random() % 5;
    if (what == 0) {
      ASSERT_EQ(client.ask({"DEL", key}), model.erase(key) == 1 ? ":1" : ":0");
    } else if (what == 1) {
      const bool known = model.contains(key);
      ASSERT_EQ(client.ask({"GET", key}), known ? "$" + model[key] : "$-1");
    } else if (what == 2) {
      model[key] += "more";
      ASSERT_EQ(client.ask({"APPEND", key, "more"}), ":" + std::to_string(model[key].size()));
    } else {
      std::string value(random() % 10 == 0 ? random() % 50'000 : random() % 100, '\0');
      for (char& c : value) c = static_cast<char>(random());
      ASSERT_EQ(client.ask({"SET", key, value}), "+OK");
      model[key] = value;
    }
  }
  EXPECT_EQ(client.ask({"DBSIZE"}), ":" + std::to_string(model.size()));
  for (const auto& [key, value] : model) ASSERT_EQ(client.ask({"GET", key}), "$" + value) << key;
}

TEST_F(KvServer, what_waits_for_a_client_that_does_not_read_is_bounded) {
  Client slow = connect();
  ASSERT_EQ(slow.ask({"SET", "a", std::string(1 << 20, 'x')}), "+OK");
  std::string requests;
  for (int i = 0; i < 200'000; ++i) requests += "GET a\r\n";  // 200 GB of replies
  std::size_t sent = 0;
  Client other = connect();
  for (int i = 0; i < 1000; ++i) {  // the other client's turns are the server's too
    sent += slow.send_some(std::string_view(requests).substr(sent));
    ASSERT_EQ(other.ask({"PING"}), "+PONG");
  }
  EXPECT_LT(sent, requests.size()) << "it went on reading";
  for (int i = 0; i < 20; ++i) ASSERT_EQ(slow.reply().size(), (1u << 20) + 1);
}

TEST_F(KvServer, a_reply_larger_than_the_limit_is_an_error_that_names_it) {
  Client client = connect();
  ASSERT_EQ(client.ask({"SET", "a", std::string(kBulkMost, 'x')}), "+OK");
  const std::string reply = client.ask({"MGET", "a", "a", "a", "a"});
  EXPECT_TRUE(reply.starts_with("-ERR")) << reply.substr(0, 80);
  EXPECT_NE(reply.find(std::to_string(kReplyMost)), std::string::npos);
  EXPECT_EQ(client.ask({"STRLEN", "a"}), ":" + std::to_string(kBulkMost));
  EXPECT_TRUE(client.ask({"APPEND", "a", "x"}).starts_with("-ERR the value would be larger"));
}

TEST_F(KvServer, connections_beyond_the_limit_are_told) {
  std::vector<std::unique_ptr<Client>> clients;
  for (std::size_t i = 0; i < kClientsMost; ++i) {
    clients.push_back(std::make_unique<Client>(server_.socket_path()));
  }
  ASSERT_EQ(clients.back()->ask({"PING"}), "+PONG");
  EXPECT_EQ(connect().rest(), "-ERR max number of clients reached\r\n");
  clients.pop_back();
  ASSERT_EQ(clients.back()->ask({"PING"}), "+PONG");
}

TEST(KvServerAlone, at_its_capacity_it_refuses_what_needs_memory_and_serves_the_rest) {
  const tests::Folder folder;
  tests::ServerProcess server(folder.path(), {"--memory", "8M", "--swap-limit", "32M"});
  Client client(server.socket_path());
  std::mt19937_64 random(1);
  std::vector<std::string> values;
  std::string reply = "+OK";
  while (values.size() < 1000) {
    std::string value(100'000, '\0');
    for (char& c : value) c = static_cast<char>(random());
    reply = client.ask({"SET", "k" + std::to_string(values.size()), value});
    if (reply != "+OK") break;
    values.push_back(std::move(value));
  }
  EXPECT_TRUE(reply.starts_with("-OOM ")) << reply;
  EXPECT_GT(values.size(), 80u);
  for (std::size_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(client.ask({"GET", "k" + std::to_string(i)}), "$" + values[i]) << i;
  }
  const std::string fresh = client.ask({"MSET", "k0", "changed", "more", values[0]});
  EXPECT_TRUE(fresh.starts_with("-OOM ")) << fresh;
  EXPECT_EQ(client.ask({"GET", "k0"}), "$" + values[0]) << "all keys of an MSET or none";
  EXPECT_EQ(client.ask({"DEL", "k1"}), ":1");
  EXPECT_EQ(client.ask({"SET", "k1", values[0]}), "+OK");
  EXPECT_EQ(server.end(SIGTERM), 0) << server.output();
}

TEST(KvServerAlone, shutdown_ends_it_and_a_port_of_its_choice_is_named) {
  const tests::Folder folder;
  tests::ServerProcess server(folder.path(), {});
  Client client(server.socket_path());
  EXPECT_TRUE(client.send_request({"SHUTDOWN"}));
  EXPECT_EQ(client.rest(), "");
  EXPECT_EQ(server.end(0), 0) << server.output();
  EXPECT_FALSE(std::filesystem::exists(server.socket_path()));
}

TEST(KvServerAlone, a_path_that_is_taken_is_refused_and_one_that_is_left_over_is_not) {
  const tests::Folder folder;
  tests::ServerProcess first(folder.path(), {});
  tests::ServerProcess second(folder.path(), {});
  EXPECT_EQ(second.end(0), 1);
  EXPECT_NE(second.output().find("in use"), std::string::npos) << second.output();
  EXPECT_EQ(Client(first.socket_path()).ask({"PING"}), "+PONG") << "the first one is not disturbed";
  EXPECT_EQ(first.end(SIGKILL), 128 + SIGKILL);
  tests::ServerProcess third(folder.path(), {});
  EXPECT_EQ(Client(third.socket_path()).ask({"PING"}), "+PONG");
}

TEST(KvServerAlone, wrong_usage_is_refused_with_the_reason) {
  EXPECT_EQ(holdfast::tests::run_program("kv", "--port 99999").status, 2);
  EXPECT_EQ(holdfast::tests::run_program("kv", "--memory lots").status, 2);
  const auto small = holdfast::tests::run_program("kv", "--memory 1M --port 0");
  EXPECT_EQ(small.status, 1);
  EXPECT_NE(small.output.find("memory_budget"), std::string::npos) << small.output;
  const auto address = holdfast::tests::run_program("kv", "--bind nowhere --port 0");
  EXPECT_EQ(address.status, 1);
  EXPECT_NE(address.output.find("nowhere"), std::string::npos) << address.output;
}

// The output of a shell command.
std::string shell(const std::string& command) {
  std::string output;
  std::FILE* const pipe = popen((command + " 2>&1 </dev/null").c_str(), "r");
  char buffer[4096];
  for (std::size_t got; (got = std::fread(buffer, 1, sizeof buffer, pipe)) != 0;) {
    output.append(buffer, got);
  }
  output += "exit " + std::to_string(pclose(pipe));
  return output;
}

bool is_installed(const std::string& program) {
  return std::system(("command -v " + program + " >/dev/null").c_str()) == 0;
}

TEST_F(KvServer, redis_cli_drives_it) {
  if (!is_installed("redis-cli")) GTEST_SKIP() << "no redis-cli here (Debian: redis-tools)";
  const std::string cli = "redis-cli -s '" + server_.socket_path() + "' ";
  EXPECT_EQ(shell(cli + "set greeting 'hello world'"), "OK\nexit 0");
  EXPECT_EQ(shell(cli + "get greeting"), "hello world\nexit 0");
  EXPECT_EQ(shell(cli + "-r 3 incr n"), "1\n2\n3\nexit 0");
  EXPECT_EQ(shell(cli + "--scan --pattern 'g*'"), "greeting\nexit 0");
  EXPECT_NE(shell(cli + "info").find("db0:keys=2"), std::string::npos);
  EXPECT_NE(shell(cli + "--bigkeys").find("Biggest string found"), std::string::npos);
  EXPECT_NE(shell(cli + "command").find("MSET"), std::string::npos);
  EXPECT_NE(shell("printf 'SET a 1\\r\\nGET a\\r\\n' | redis-cli -s '" + server_.socket_path() +
                  "' --pipe")
                .find("exit 0"),
            std::string::npos);
}

TEST_F(KvServer, redis_benchmark_runs_against_it) {
  if (!is_installed("redis-benchmark")) {
    GTEST_SKIP() << "no redis-benchmark here (Debian: redis-tools)";
  }
  const std::string base =
      "redis-benchmark -s '" + server_.socket_path() + "' -r 10000 -d 100 --csv ";
  const std::string output =
      shell(base + "-t ping,set,get,incr,mset -n 2000") + shell(base + "-t set,get -n 20000 -P 16");
  for (const char* test : {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"}) {
    EXPECT_NE(output.find("\"" + std::string(test) + "\",\""), std::string::npos) << output;
  }
  EXPECT_NE(output.find("exit 0"), std::string::npos) << output;
  EXPECT_EQ(output.find("rror"), std::string::npos) << output;
  EXPECT_EQ(output.find("WARN"), std::string::npos) << output;
}

}  // namespace
}  // namespace kv
