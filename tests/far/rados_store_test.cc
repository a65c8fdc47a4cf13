// Objects of sessions in a real pool: what comes back, who may write, what is left.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "support/ceph_cluster.h"
#include "sys/sys.h"

namespace holdfast::tests {
namespace {

[[maybe_unused]] const testing::Environment* const g_environment =
    testing::AddGlobalTestEnvironment(new CephEnvironment);

constexpr std::uint64_t kSecond = 1'000'000'000;

// Submits one request and waits for it.
int perform(sys::ObjectStore& store, sys::ObjectAction action, std::uint64_t object,
            std::byte* data = nullptr, std::uint64_t bytes = 0, std::uint64_t offset = 0) {
  std::atomic<bool> done{false};
  sys::ObjectRequest request{.action = action,
                             .object = object,
                             .offset = offset,
                             .data = data,
                             .bytes = bytes,
                             .done =
                                 [](sys::ObjectRequest& r) noexcept {
                                   auto& flag = *static_cast<std::atomic<bool>*>(r.context);
                                   flag.store(true);
                                   flag.notify_one();
                                 },
                             .context = &done};
  store.submit(request);
  done.wait(false);
  return request.error;
}

class RadosStore : public CephTest {
 protected:
  // Each test has a namespace of its own, so that it sees its own sessions alone.
  sys::ObjectStoreOptions options() const {
    return {.pool = "holdfast",
            .name_space = testing::UnitTest::GetInstance()->current_test_info()->name(),
            .configuration = cluster().configuration(),
            .user = "holdfast",
            .wait_ns = 10 * kSecond};
  }
  static std::unique_ptr<sys::ObjectStore> open(const sys::ObjectStoreOptions& options) {
    auto store = sys::real_machine().open_object_store(options);
    EXPECT_TRUE(store) << store.error().message();
    return store ? std::move(*store) : nullptr;
  }
  std::vector<sys::FarSession> sessions() const {
    auto found = sys::list_far_sessions(options());
    EXPECT_TRUE(found) << found.error().message();
    return found ? *found : std::vector<sys::FarSession>();
  }
  std::vector<std::byte> data = std::vector<std::byte>(1 << 20, std::byte{0x5a});
};

TEST_F(RadosStore, what_was_written_is_read_and_nothing_is_left) {
  {
    const auto store = open(options());
    ASSERT_NE(store, nullptr);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 31 >> 3);
    ASSERT_EQ(perform(*store, sys::ObjectAction::write, 7, data.data(), data.size()), 0);
    std::vector<std::byte> back(5000);
    ASSERT_EQ(perform(*store, sys::ObjectAction::read, 7, back.data(), back.size(), 123457), 0);
    EXPECT_EQ(std::memcmp(back.data(), data.data() + 123457, back.size()), 0);
    EXPECT_EQ(perform(*store, sys::ObjectAction::read, 7, back.data(), 5000, data.size() - 10),
              EIO);
    EXPECT_EQ(perform(*store, sys::ObjectAction::read, 8, back.data(), 16), ENOENT);
    const auto all = sessions();
    ASSERT_EQ(all.size(), 1u);
    EXPECT_TRUE(all[0].alive);
    EXPECT_EQ(all[0].objects, 1u);
    EXPECT_EQ(all[0].bytes, data.size());
    EXPECT_NE(all[0].owner.find("process " + std::to_string(::getpid())), std::string::npos)
        << all[0].owner;
    EXPECT_EQ(perform(*store, sys::ObjectAction::remove, 7), 0);
    EXPECT_EQ(perform(*store, sys::ObjectAction::read, 7, back.data(), 16), ENOENT);
    EXPECT_EQ(perform(*store, sys::ObjectAction::remove, 7), ENOENT);
  }
  EXPECT_TRUE(sessions().empty());
}

TEST_F(RadosStore, what_is_wrong_is_an_error_that_names_it) {
  sys::ObjectStoreOptions bad = options();
  bad.pool = "nothing";
  auto store = sys::real_machine().open_object_store(bad);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::not_found);
  EXPECT_STREQ(store.error().what, "pool");

  bad = options();
  bad.configuration = "/nowhere/ceph.conf";
  store = sys::real_machine().open_object_store(bad);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::not_found);
  EXPECT_STREQ(store.error().what, "configuration");

  bad = options();
  bad.user = "nobody";  // has no keyring
  store = sys::real_machine().open_object_store(bad);
  ASSERT_FALSE(store);
  EXPECT_STREQ(store.error().what, "keyring") << store.error().message();
}

TEST_F(RadosStore, a_wrong_key_and_a_cluster_that_is_not_there_are_errors) {
  const TempDirectory directory;
  const auto conf = [&](const std::string& line) {
    const std::string file = directory.file("ceph.conf");
    const std::string edit =
        "sed '" + line + "' '" + cluster().configuration() + "' >'" + file + "'";
    EXPECT_EQ(std::system(edit.c_str()), 0);
    return file;
  };
  const std::string key = directory.file("key");
  ASSERT_EQ(std::system(("ceph-authtool --create-keyring '" + key +
                         "' --gen-key -n client.holdfast >/dev/null")
                            .c_str()),
            0);
  sys::ObjectStoreOptions bad = options();
  bad.configuration = conf("/client.holdfast/,+1s|keyring = .*|keyring = " + key + "|");
  auto store = sys::real_machine().open_object_store(bad);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::permission) << store.error().message();
  EXPECT_STREQ(store.error().what, "key");

  bad.configuration = conf("s|^mon host = .*|mon host = [v2:127.0.0.1:1/0]|");
  bad.wait_ns = 2 * kSecond;
  store = sys::real_machine().open_object_store(bad);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Errc::timed_out) << store.error().message();
  EXPECT_STREQ(store.error().what, "monitor");
}

TEST_F(RadosStore, who_has_lost_its_lock_writes_no_more_and_reads_on) {
  sys::ObjectStoreOptions short_lease = options();
  short_lease.lease_ns = 2 * kSecond;
  const auto store = open(short_lease);
  ASSERT_NE(store, nullptr);
  ASSERT_EQ(perform(*store, sys::ObjectAction::write, 1, data.data(), 4096), 0);
  const auto all = sessions();
  ASSERT_EQ(all.size(), 1u);
  // Somebody breaks the lock, and takes it.
  const std::string header = "holdfast.swap." + all[0].id;
  const std::string where = "-N " + options().name_space + " ";
  ASSERT_EQ(cluster().rados(where + "lock info " + header + " holdfast"), 0) << cluster().said();
  const std::size_t at = cluster().said().find("client.");
  ASSERT_NE(at, std::string::npos) << cluster().said();
  const std::string locker =
      cluster().said().substr(at, cluster().said().find_first_of("\" ,", at) - at);
  ASSERT_EQ(cluster().rados(where + "lock break " + header + " holdfast " + locker +
                            " --lock-cookie " + all[0].id),
            0)
      << cluster().said();
  ASSERT_EQ(cluster().rados(where + "lock get " + header + " holdfast --lock-cookie thief"), 0)
      << cluster().said();
  int error = 0;
  while ((error = perform(*store, sys::ObjectAction::write, 2, data.data(), 4096)) == 0) {
  }
  EXPECT_EQ(error, ESTALE);
  EXPECT_FALSE(store->owns_session());
  EXPECT_EQ(perform(*store, sys::ObjectAction::remove, 1), ESTALE);
  std::vector<std::byte> back(4096);
  EXPECT_EQ(perform(*store, sys::ObjectAction::read, 1, back.data(), back.size()), 0);
}

TEST_F(RadosStore, a_lock_is_renewed_for_as_long_as_its_session_lives) {
  sys::ObjectStoreOptions short_lease = options();
  short_lease.lease_ns = kSecond;
  const auto store = open(short_lease);
  ASSERT_NE(store, nullptr);
  // Three leases long, it is never free.
  const std::uint64_t end = sys::real_machine().now_ns() + 3 * kSecond;
  while (sys::real_machine().now_ns() < end) {
    const auto all = sessions();
    ASSERT_EQ(all.size(), 1u);
    ASSERT_TRUE(all[0].alive);
    ASSERT_EQ(perform(*store, sys::ObjectAction::write, 1, data.data(), 4096), 0);
  }
}

TEST_F(RadosStore, what_a_dead_session_left_is_removed_and_a_living_one_is_not) {
  const pid_t child = ::fork();
  if (child == 0) {  // a process of its own, which is killed with its session open
    sys::ObjectStoreOptions short_lease = options();
    short_lease.lease_ns = 2 * kSecond;
    auto store = sys::real_machine().open_object_store(short_lease);
    if (!store) ::_exit(1);
    for (std::uint64_t i = 1; i <= 5; ++i) {
      if (perform(**store, sys::ObjectAction::write, i, data.data(), 65536) != 0) ::_exit(2);
    }
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  const auto living = open(options());
  ASSERT_NE(living, nullptr);
  ASSERT_EQ(perform(*living, sys::ObjectAction::write, 1, data.data(), 4096), 0);

  auto all = sessions();
  ASSERT_EQ(all.size(), 2u);
  const auto is_dead = [](const sys::FarSession& session) { return session.objects == 5; };
  auto dead = std::ranges::find_if(all, is_dead);
  ASSERT_NE(dead, all.end());
  EXPECT_EQ(dead->bytes, 5 * 65536u);
  const std::string dead_id = dead->id;
  const std::string living_id = all[dead == all.begin() ? 1 : 0].id;
  auto removed = sys::remove_far_session(options(), living_id);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::busy);
  // Its lock outlives it by the lease; then it can be removed.
  while (!(removed = sys::remove_far_session(options(), dead_id))) {
    ASSERT_EQ(removed.error().code, Errc::busy) << removed.error().message();
  }
  EXPECT_EQ(removed->objects, 5u);
  all = sessions();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].id, living_id);
  removed = sys::remove_far_session(options(), dead_id);
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().code, Errc::not_found);
}

}  // namespace
}  // namespace holdfast::tests
