// Programs that know nothing of Holdfast, with their memory in a pool, in every weather.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <string>

#include "../run/execution.h"
#include "holdfast/holdfast.h"
#include "run/program.h"
#include "support/ceph_cluster.h"
#include "sys/sys.h"

namespace holdfast::tests {
namespace {

constexpr const char* kRight = "every byte was right\n";

// A program under `holdfast run` in a directory of its own; its memory goes to a namespace of the
// test's own.
class FarRun : public CephTest {
 protected:
  void SetUp() override {
    CephTest::SetUp();
    if (testing::Test::IsSkipped()) return;
    const int refused = run::userfault_refusal();
    if (refused != 0) {
      GTEST_SKIP() << "this machine gives no userfaultfd that serves system calls and tells of "
                      "forks: errno "
                   << refused;
    }
  }
  void TearDown() override {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
  }

  static std::string bin(const std::string& name) { return HOLDFAST_BIN_DIR "/" + name; }
  std::string space() const {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  std::string pool(const std::string& name = "holdfast") const {
    return name + "/" + space() + "@" + cluster().configuration();
  }
  sys::ObjectStoreOptions options() const {
    return {.pool = "holdfast",
            .name_space = space(),
            .configuration = cluster().configuration(),
            .user = "holdfast"};
  }
  std::string stop_file() const { return directory_.path() + "/stop"; }

  // Starts far_bytes with these tiers; returns when it has written all of its memory, or has ended.
  void start(const std::string& mebibytes, const std::vector<std::string>& tiers,
             const std::string& wait_seconds = "60") {
    start_program({bin("far_bytes"), mebibytes, stop_file()}, tiers, wait_seconds);
    await_file(stop_file() + ".begun");
  }
  void start_program(const std::vector<std::string>& program, const std::vector<std::string>& tiers,
                     const std::string& wait_seconds = "60") {
    std::vector<std::string> command{bin("holdfast"), "run",      "--quiet",    "--memory",  "32M",
                                     "--far-user",    "holdfast", "--far-wait", wait_seconds};
    for (const std::string& tier : tiers) {
      command.push_back("--swap");
      command.push_back(tier);
    }
    command.emplace_back("--");
    command.insert(command.end(), program.begin(), program.end());
    pid_ = run::test::start(command, directory_.path());
    ASSERT_GT(pid_, 0);
  }
  // Returns when it is there, or the program has ended.
  void await_file(const std::string& path) const {
    while (::access(path.c_str(), F_OK) != 0) {
      siginfo_t ended{};
      ::waitid(P_PID, static_cast<id_t>(pid_), &ended, WEXITED | WNOHANG | WNOWAIT);
      if (ended.si_pid != 0) break;
      ::sched_yield();
    }
  }
  void all_osds(const std::string& command) {
    for (const char* const osd : {" 0", " 1", " 2"}) {
      ASSERT_EQ(cluster().script(command + osd), 0) << cluster().said();
    }
  }
  run::test::Execution await() {
    return run::test::await(std::exchange(pid_, -1), directory_.path());
  }
  // Lets it look at all of its memory, and end.
  run::test::Execution end() {
    std::ofstream stop(stop_file());
    stop.close();
    return await();
  }
  std::string said() const { return run::test::contents(directory_.path() + "/err"); }
  // The pages that have been written out since; the program is at work.
  std::vector<sys::FarSession> sessions() const {
    auto found = sys::list_far_sessions(options());
    EXPECT_TRUE(found) << found.error().message();
    return found ? *found : std::vector<sys::FarSession>();
  }
  void expect_right(const run::test::Execution& execution) {
    EXPECT_TRUE(execution.succeeded()) << execution.status << ": " << execution.error;
    EXPECT_EQ(execution.output, kRight);
    EXPECT_TRUE(sessions().empty());  // it leaves nothing
  }

  TempDirectory directory_;
  pid_t pid_ = -1;
};

TEST_F(FarRun, a_program_of_four_times_its_memory_is_right_and_leaves_nothing) {
  start("128", {"ram", "rados:" + pool()});
  const auto at_work = sessions();
  ASSERT_EQ(at_work.size(), 1u);
  EXPECT_TRUE(at_work[0].alive);
  EXPECT_GT(at_work[0].bytes, 20u << 20);
  EXPECT_NE(at_work[0].owner.find("holdfast on "), std::string::npos) << at_work[0].owner;
  expect_right(end());
}

TEST_F(FarRun, far_memory_alone_will_do) {
  start("96", {"rados:" + pool()});
  expect_right(end());
}

TEST_F(FarRun, osds_die_and_come_back_one_after_another_and_no_byte_is_wrong) {
  start("128", {"ram", "rados:" + pool()});
  for (const char* const osd : {"0", "1", "2"}) {
    ASSERT_EQ(cluster().script(std::string("kill-osd ") + osd), 0) << cluster().said();
    ASSERT_EQ(cluster().script(std::string("revive-osd ") + osd), 0) << cluster().said();
    ASSERT_EQ(cluster().script("await-clean"), 0) << cluster().said();
  }
  expect_right(end());
}

TEST_F(FarRun, the_monitor_stands_still_for_a_while_and_no_byte_is_wrong) {
  start("96", {"ram", "rados:" + pool()});
  ASSERT_EQ(cluster().script("stop-mon"), 0) << cluster().said();
  EXPECT_NE(cluster().script("ceph --connect-timeout 5 status"), 0);  // five seconds of it
  ASSERT_EQ(cluster().script("continue-mon"), 0) << cluster().said();
  ASSERT_EQ(cluster().script("status"), 0) << cluster().said();
  expect_right(end());
}

TEST_F(FarRun, a_cluster_that_stands_still_is_waited_for_and_the_terminal_is_told) {
  start("96", {"ram", "rados:" + pool()});
  all_osds("stop-osd");
  while (said().find("waiting for far memory (rados, pool holdfast, object ") ==
         std::string::npos) {
    ASSERT_EQ(::kill(pid_, 0), 0) << said();
    ::sched_yield();
  }
  all_osds("continue-osd");
  expect_right(end());
  EXPECT_EQ(cluster().script("await-clean"), 0) << cluster().said();
}

TEST_F(FarRun, a_page_that_is_waited_for_holds_up_no_fault_that_another_tier_can_serve) {
  start_program({bin("far_waiter"), "64", "32", stop_file()}, {"ram", "rados:" + pool()}, "300");
  await_file(stop_file() + ".begun");
  all_osds("stop-osd");
  std::ofstream(stop_file()).close();
  await_file(stop_file() + ".served");
  const bool served = ::access((stop_file() + ".served").c_str(), F_OK) == 0;
  all_osds("continue-osd");
  const auto execution = await();
  EXPECT_TRUE(served) << execution.status << ": " << execution.output << execution.error;
  expect_right(execution);
  EXPECT_EQ(cluster().script("await-clean"), 0) << cluster().said();
}

TEST_F(FarRun, a_program_that_moves_discards_and_forks_is_right_with_its_memory_far_away) {
  for (const char* const arguments : {"3 60 96", "2 40 96 forks"}) {
    const std::string seed = std::to_string(::getpid());
    std::vector<std::string> program{"/bin/sh", "-c",
                                     "exec " + bin("run_storm") + " " + seed + " " + arguments};
    start_program(program, {"rados:" + pool()});
    const auto execution = await();
    EXPECT_TRUE(execution.succeeded())
        << "run_storm " << seed << " " << arguments << ": " << execution.output << execution.error;
    EXPECT_NE(execution.output.find("every byte was right"), std::string::npos);
    EXPECT_TRUE(sessions().empty());
  }
}

TEST_F(FarRun, what_does_not_fit_into_a_full_pool_goes_to_the_next_tier) {
  ASSERT_EQ(cluster().script("fill"), 0) << cluster().said();
  start("96", {"ram", "rados:" + pool(), "file:" + directory_.path()});
  EXPECT_EQ(::access((stop_file() + ".begun").c_str(), F_OK), 0) << said();
  EXPECT_EQ(cluster().script("unfill"), 0) << cluster().said();
  expect_right(end());
}

TEST_F(FarRun, a_pool_that_fills_up_in_the_middle_loses_nothing) {
  start("96", {"ram", "rados:" + pool(), "file:" + directory_.path()});
  ASSERT_EQ(cluster().script("fill"), 0) << cluster().said();
  const auto execution = end();
  EXPECT_EQ(cluster().script("unfill"), 0) << cluster().said();
  expect_right(execution);
}

TEST_F(FarRun, a_page_of_a_deleted_pool_ends_the_program_and_says_which_object) {
  const std::string caps = "ceph auth caps client.holdfast mon 'allow r' osd 'allow rwx";
  ASSERT_EQ(cluster().script("ceph osd pool create doomed 4"), 0) << cluster().said();
  ASSERT_EQ(cluster().script(caps + "'"), 0) << cluster().said();
  start("96", {"ram", "rados:doomed@" + cluster().configuration()}, "10");
  ASSERT_EQ(cluster().script("ceph osd pool delete doomed doomed --yes-i-really-really-mean-it"), 0)
      << cluster().said();
  const auto execution = await();
  EXPECT_EQ(cluster().script(caps + " pool=holdfast'"), 0) << cluster().said();
  EXPECT_TRUE(WIFEXITED(execution.status));
  EXPECT_EQ(WEXITSTATUS(execution.status), 125);
  EXPECT_NE(execution.error.find("read from far memory"), std::string::npos) << execution.error;
  EXPECT_NE(execution.error.find("object"), std::string::npos) << execution.error;
  EXPECT_NE(execution.error.find("No such file or directory"), std::string::npos)
      << execution.error;
  EXPECT_EQ(execution.output, "");
}

TEST_F(FarRun, a_pool_that_is_not_there_is_wrong_usage_and_nothing_runs) {
  start("32", {"rados:" + pool("nothing")});
  const auto execution = await();
  EXPECT_TRUE(WIFEXITED(execution.status));
  EXPECT_EQ(WEXITSTATUS(execution.status), 2);
  EXPECT_NE(execution.error.find("open far memory: not_found: pool"), std::string::npos)
      << execution.error;
  EXPECT_NE(::access((stop_file() + ".begun").c_str(), F_OK), 0);
}

TEST_F(FarRun, a_wrong_key_and_a_cluster_that_is_not_there_are_wrong_usage_and_nothing_runs) {
  const std::string conf = directory_.file("ceph.conf");
  const std::string key = directory_.file("key");
  const auto refused = [&](const std::string& edit) {
    const std::string make = "ceph-authtool --create-keyring '" + key +
                             "' --gen-key -n client.holdfast >/dev/null && sed '" + edit + "' '" +
                             cluster().configuration() + "' >'" + conf + "'";
    EXPECT_EQ(std::system(make.c_str()), 0);
    start("32", {"ram", "rados:holdfast@" + conf}, "2");
    const auto execution = await();
    EXPECT_TRUE(WIFEXITED(execution.status));
    EXPECT_EQ(WEXITSTATUS(execution.status), 2);
    EXPECT_NE(::access((stop_file() + ".begun").c_str(), F_OK), 0);
    return execution.error;
  };
  std::string error = refused("/client.holdfast/,+1s|keyring = .*|keyring = " + key + "|");
  EXPECT_NE(error.find("open far memory: permission: key"), std::string::npos) << error;
  error = refused("s|^mon host = .*|mon host = [v2:127.0.0.1:1/0]|");
  EXPECT_NE(error.find("open far memory: timed_out: monitor"), std::string::npos) << error;
}

TEST_F(FarRun, a_stolen_lock_is_told_and_what_is_written_from_then_on_goes_to_the_next_tier) {
  start("96", {"ram", "rados:" + pool(), "file:" + directory_.path()});
  const auto all = sessions();
  ASSERT_EQ(all.size(), 1u);
  const std::string header = "holdfast.swap." + all[0].id + " holdfast ";
  const auto lock = [&](const std::string& what) {
    return cluster().rados("-N " + space() + " lock " + what);
  };
  ASSERT_EQ(lock("info " + header), 0) << cluster().said();
  const std::size_t at = cluster().said().find("client.");
  ASSERT_NE(at, std::string::npos) << cluster().said();
  const std::string locker =
      cluster().said().substr(at, cluster().said().find_first_of("\" ,", at) - at);
  ASSERT_EQ(lock("break " + header + locker + " --lock-cookie " + all[0].id), 0)
      << cluster().said();
  ASSERT_EQ(lock("get " + header + "--lock-cookie thief"), 0) << cluster().said();
  while (said().find("somebody else has taken the lock of this session") == std::string::npos) {
    ASSERT_EQ(::kill(pid_, 0), 0) << said();
    ::sched_yield();
  }
  const auto execution = end();
  EXPECT_TRUE(execution.succeeded()) << execution.status << ": " << execution.error;
  EXPECT_EQ(execution.output, kRight);
  EXPECT_EQ(sessions().size(), 1u);  // what is there is the thief's
}

TEST_F(FarRun, the_commands_list_and_remove_what_dead_sessions_left) {
  const TempDirectory aside;
  const auto far = [&](const std::string& what) {
    return run::test::execute(
        {"/bin/sh", "-c",
         "'" + bin("holdfast") + "' far " + what + " '" + pool() + "' --user holdfast"},
        aside.path());
  };
  auto listed = far("list");
  EXPECT_TRUE(listed.succeeded()) << listed.error;
  EXPECT_EQ(listed.output, "");
  const pid_t child = ::fork();
  if (child == 0) {  // a session whose process is killed; its lock is short
    sys::ObjectStoreOptions short_lease = options();
    short_lease.lease_ns = 1'000'000'000;
    auto store = sys::real_machine().open_object_store(short_lease);
    if (!store) ::_exit(1);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  start("64", {"rados:" + pool()});
  run::test::Execution removed;
  do {
    removed = far("gc");
    ASSERT_TRUE(removed.succeeded()) << removed.error;
  } while (removed.output.find("removed ") == std::string::npos);
  listed = far("list --json");
  EXPECT_TRUE(listed.succeeded()) << listed.error;
  EXPECT_NE(listed.output.find("\"alive\":true"), std::string::npos) << listed.output;
  EXPECT_EQ(listed.output.find("\"alive\":false"), std::string::npos) << listed.output;
  expect_right(end());
}

TEST_F(FarRun, an_engine_of_the_library_keeps_its_pages_there) {
  for (const FaultDelivery delivery : {FaultDelivery::signal, FaultDelivery::thread}) {
    Options engine_options;
    engine_options.memory_budget = 16 << 20;
    engine_options.delivery = delivery;
    engine_options.swap = {{.kind = SwapTier::Kind::rados,
                            .far = {.pool = "holdfast",
                                    .name_space = space(),
                                    .configuration = cluster().configuration(),
                                    .user = "holdfast"}}};
    auto engine = Engine::create(engine_options);
    ASSERT_TRUE(engine) << engine.error().message();
    constexpr std::size_t kWords = (std::size_t{48} << 20) / sizeof(std::uint64_t);
    auto region = (*engine)->map_anonymous(kWords * sizeof(std::uint64_t));
    ASSERT_TRUE(region) << region.error().message();
    auto* const words = reinterpret_cast<volatile std::uint64_t*>(region->data());
    for (std::size_t i = 0; i < kWords; ++i) words[i] = i * 0x9e3779b97f4a7c15ULL;
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < kWords; ++i) wrong += words[i] != i * 0x9e3779b97f4a7c15ULL ? 1 : 0;
    EXPECT_EQ(wrong, 0u);
    EXPECT_TRUE((*engine)->check_all());
    const Stats stats = (*engine)->stats();
    ASSERT_EQ(stats.tiers.size(), 1u);
    EXPECT_EQ(stats.tiers[0].kind, "rados");
    EXPECT_GT(stats.tiers[0].written_bytes, 20u << 20);
    EXPECT_GT(stats.tiers[0].read_bytes, 20u << 20);
  }
  EXPECT_TRUE(sessions().empty());
}

}  // namespace
}  // namespace holdfast::tests
