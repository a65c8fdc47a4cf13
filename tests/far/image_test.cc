// Memory images in a real pool: saved by one process, restored by others, in every weather.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <fstream>
#include <string>

#include "../run/execution.h"
#include "holdfast/holdfast.h"
#include "image/image.h"
#include "support/ceph_cluster.h"
#include "sys/sys.h"

namespace holdfast::tests {
namespace {

constexpr const char* kRight = "every byte was right\n";

class FarImages : public CephTest {
 protected:
  // Of a run before this one.
  void SetUp() override {
    CephTest::SetUp();
    if (testing::Test::IsSkipped()) return;
    for (const std::string& left : listed()) {
      EXPECT_TRUE(sys::real_machine().remove_far_image(options(left)));
    }
  }

  static std::string bin(const std::string& name) { return HOLDFAST_BIN_DIR "/" + name; }
  // A namespace of the test's own.
  static std::string space() {
    return testing::UnitTest::GetInstance()->current_test_info()->name();
  }
  static std::string name_of(const std::string& image) {
    return "rados:holdfast@holdfast/" + space() + "/" + image + "@" + cluster().configuration();
  }
  static sys::ObjectStoreOptions options(const std::string& image = "") {
    return {.pool = "holdfast",
            .name_space = space(),
            .configuration = cluster().configuration(),
            .user = "holdfast",
            .image = image};
  }

  run::test::Execution save(const std::string& image, int version = 0,
                            const std::string& base = "") {
    std::vector<std::string> command{bin("far_image"), "save", name_of(image), mebibytes_,
                                     std::to_string(version)};
    if (!base.empty()) command.push_back(name_of(base));
    return run::test::execute(command, saver_.path());
  }
  // Begins in a directory of its own.
  [[nodiscard]] pid_t start_restore(const std::string& image, const TempDirectory& directory,
                                    int version = 0, const std::string& step = "") const {
    std::vector<std::string> command{bin("far_image"), "restore", name_of(image), mebibytes_,
                                     std::to_string(version)};
    if (!step.empty()) command.push_back(step);
    return run::test::start(command, directory.path());
  }
  static void expect_right(const run::test::Execution& execution) {
    EXPECT_TRUE(execution.succeeded()) << execution.output << execution.error;
    EXPECT_EQ(execution.output, kRight);
  }
  [[nodiscard]] run::test::Execution command(const std::string& words) const {
    return run::test::execute({"/bin/sh", "-c", "'" + bin("holdfast") + "' " + words},
                              saver_.path());
  }
  static std::vector<std::string> listed() {
    const auto all = sys::real_machine().list_far_images(options());
    EXPECT_TRUE(all) << all.error().message();
    std::vector<std::string> names;
    for (const sys::FarImage& image : all.value_or(std::vector<sys::FarImage>())) {
      names.push_back(image.name);
    }
    return names;
  }
  static std::vector<sys::FarSession> sessions() {
    auto found = sys::list_far_sessions(options());
    EXPECT_TRUE(found) << found.error().message();
    return found ? *found : std::vector<sys::FarSession>();
  }
  static std::string objects() {
    EXPECT_EQ(cluster().rados("-N " + space() + " ls"), 0);
    return cluster().said();
  }

  const std::string mebibytes_ = "24";
  TempDirectory saver_;
};

TEST_F(FarImages, one_process_saves_and_others_restore_at_once) {
  const auto saved = save("monday");
  ASSERT_TRUE(saved.succeeded()) << saved.output << saved.error;
  EXPECT_EQ(listed(), std::vector<std::string>{"monday"});
  EXPECT_TRUE(sessions().empty());  // what is whole is no session
  const TempDirectory first, second;
  const pid_t one = start_restore("monday", first), two = start_restore("monday", second);
  expect_right(run::test::await(one, first.path()));
  expect_right(run::test::await(two, second.path()));
}

TEST_F(FarImages, an_incremental_image_finds_its_bases_in_the_pool) {
  ASSERT_TRUE(save("monday").succeeded());
  ASSERT_TRUE(save("tuesday", 1, "monday").succeeded());
  ASSERT_TRUE(save("wednesday", 2, "tuesday").succeeded());
  const TempDirectory directory;
  expect_right(run::test::await(start_restore("wednesday", directory, 2), directory.path()));

  const auto list = command("image list holdfast/" + space() + "@" + cluster().configuration() +
                            " --user holdfast");
  EXPECT_TRUE(list.succeeded()) << list.error;
  EXPECT_NE(list.output.find("based on monday"), std::string::npos) << list.output;
  const auto info = command("image info '" + name_of("wednesday") + "'");
  EXPECT_TRUE(info.succeeded()) << info.error;
  EXPECT_NE(info.output.find("its base, 2 down"), std::string::npos) << info.output;
  const auto verify = command("image verify '" + name_of("tuesday") + "'");
  EXPECT_TRUE(verify.succeeded()) << verify.error;
  EXPECT_NE(verify.output.find("sound"), std::string::npos) << verify.output;

  auto removed = command("image rm '" + name_of("monday") + "'");
  EXPECT_FALSE(removed.succeeded());
  EXPECT_NE(removed.error.find("tuesday is based on it"), std::string::npos) << removed.error;
  EXPECT_EQ(listed().size(), 3u);
  removed = command("image rm --force '" + name_of("monday") + "'");
  EXPECT_TRUE(removed.succeeded()) << removed.error;
  EXPECT_FALSE(command("image info '" + name_of("tuesday") + "'").succeeded());
  removed = command("image rm '" + name_of("wednesday") + "' '" + name_of("tuesday") + "'");
  EXPECT_TRUE(removed.succeeded()) << removed.error;
  EXPECT_EQ(objects(), "");
}

TEST_F(FarImages, what_is_wrong_with_a_name_is_said) {
  ASSERT_TRUE(save("monday").succeeded());
  const auto again = save("monday", 1);
  EXPECT_FALSE(again.succeeded());
  EXPECT_NE(again.output.find("name of the image"), std::string::npos) << again.output;
  EXPECT_NE(again.output.find("choose another"), std::string::npos) << again.output;
  EXPECT_EQ(listed(), std::vector<std::string>{"monday"});
  EXPECT_TRUE(sessions().empty());

  const auto none = Image::open(name_of("sunday"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::not_found) << none.error().message();
  EXPECT_EQ(none.error().os_errno, ENOENT);
  for (const char* const bad : {"rados:", "rados:pool", "rados:pool/", "rados:/name", "rados:@p/n",
                                "rados:p/n@", "rados:p//n", "rados:p/a/b/c"}) {
    const auto refused = Image::open(bad);
    ASSERT_FALSE(refused) << bad;
    EXPECT_EQ(refused.error().code, Errc::invalid_argument) << bad;
  }
  EXPECT_EQ(command("image rm rados:pool").status >> 8, 2);
  EXPECT_EQ(command("image list pool/").status >> 8, 2);
}

TEST_F(FarImages, a_saver_that_is_killed_leaves_nothing_to_see_and_gc_removes_the_rest) {
  const pid_t child = ::fork();
  if (child == 0) {
    sys::ObjectStoreOptions short_lease = options("monday");
    short_lease.lease_ns = 1'000'000'000;
    auto store = sys::real_machine().open_object_store(short_lease);
    if (!store) ::_exit(1);
    image::FarSink sink(std::move(*store), "monday", 65536);
    const std::vector<std::byte> bytes(600'000);
    if (sink.append(bytes.data(), bytes.size()) != 0) ::_exit(2);
    ::kill(::getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status)) << WEXITSTATUS(status);
  EXPECT_TRUE(listed().empty());
  EXPECT_FALSE(Image::open(name_of("monday")));
  const auto left = sessions();
  ASSERT_EQ(left.size(), 1u);
  EXPECT_TRUE(left[0].image);
  EXPECT_GT(left[0].objects, 0u);
  ASSERT_TRUE(save("monday").succeeded()) << "the name is free";
  run::test::Execution removed;
  do {
    removed = command("far gc holdfast/" + space() + "@" + cluster().configuration() +
                      " --user holdfast");
    ASSERT_TRUE(removed.succeeded()) << removed.error;
  } while (removed.output.find("removed ") == std::string::npos);
  EXPECT_TRUE(sessions().empty());
  const TempDirectory directory;
  expect_right(run::test::await(start_restore("monday", directory), directory.path()));
}

TEST_F(FarImages, a_full_pool_refuses_an_image_and_keeps_nothing_of_it) {
  ASSERT_EQ(cluster().script("fill"), 0) << cluster().said();
  const auto refused = save("monday");
  EXPECT_EQ(cluster().script("unfill"), 0) << cluster().said();
  EXPECT_FALSE(refused.succeeded());
  EXPECT_NE(refused.output.find("No space left on device"), std::string::npos) << refused.output;
  EXPECT_NE(refused.output.find("the pool is full"), std::string::npos) << refused.output;
  EXPECT_TRUE(listed().empty());
  EXPECT_EQ(objects(), "");
}

TEST_F(FarImages, a_cluster_that_stands_still_in_the_middle_is_waited_for) {
  ASSERT_TRUE(save("monday").succeeded());
  const TempDirectory directory;
  const std::string step = directory.file("step");
  const pid_t restorer = start_restore("monday", directory, 0, step);
  while (::access((step + ".begun").c_str(), F_OK) != 0) {
    ASSERT_EQ(::kill(restorer, 0), 0);
    ::sched_yield();
  }
  for (const char* const osd : {"0", "1", "2"}) {
    ASSERT_EQ(cluster().script(std::string("stop-osd ") + osd), 0) << cluster().said();
  }
  std::ofstream(step).close();
  EXPECT_NE(cluster().rados("-N " + space() + " --rados-osd-op-timeout 2 stat none"), 0);
  for (const char* const osd : {"0", "1", "2"}) {
    ASSERT_EQ(cluster().script(std::string("continue-osd ") + osd), 0) << cluster().said();
  }
  expect_right(run::test::await(restorer, directory.path()));
  EXPECT_EQ(cluster().script("await-clean"), 0) << cluster().said();
}

TEST_F(FarImages, one_that_is_removed_while_it_is_read_is_an_error_that_names_its_object) {
  ASSERT_TRUE(save("monday").succeeded());
  const auto image = Image::open(name_of("monday"));
  ASSERT_TRUE(image) << image.error().message();
  EXPECT_TRUE(image->verify());
  const auto removed = command("image rm '" + name_of("monday") + "'");
  EXPECT_TRUE(removed.succeeded()) << removed.error;
  const auto gone = image->verify();
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, Errc::io_error);
  EXPECT_EQ(gone.error().os_errno, ENOENT);
  EXPECT_STREQ(gone.error().what, "object of the image");
}

TEST_F(FarImages, nothing_is_read_before_it_is_touched) {
  ASSERT_TRUE(save("monday").succeeded());
  Options engine_options;
  engine_options.memory_budget = 16 << 20;
  const auto engine = Engine::create(engine_options);
  ASSERT_TRUE(engine) << engine.error().message();
  const auto region = restore_from(**engine, name_of("monday"));
  ASSERT_TRUE(region) << region.error().message();
  EXPECT_EQ((*engine)->stats().faults_source, 0u);
  EXPECT_EQ((*engine)->stats().pages_resident, 0u);
  const auto* const words = reinterpret_cast<const volatile std::uint64_t*>(region->data());
  EXPECT_EQ(words[1000 * 512], std::uint64_t{1000} << 16);
  const std::uint64_t brought = (*engine)->stats().faults_source;
  EXPECT_GT(brought, 0u);
  EXPECT_LE(brought, 16u);
}

}  // namespace
}  // namespace holdfast::tests
