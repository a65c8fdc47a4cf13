// Machines of their own, played by network namespaces: an image saved on one is restored on two
// others at once, and the link of one of these is cut in the middle and comes back.
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "../run/execution.h"
#include "support/ceph_cluster.h"

namespace holdfast::tests {
namespace {

int shell(const std::string& command) {
  return std::system(("{ " + command + "; } >/dev/null 2>&1").c_str());
}

// A host that reaches this one, and through it nothing else, over a link of its own.
class Host {
 public:
  // number: 0 to 9; each has two addresses of a subnet of four.
  explicit Host(int number)
      : name_("hf" + std::to_string(::getpid()) + "-" + std::to_string(number)),
        here_(address(4 * number + 1)) {
    const std::string inside = "ip netns exec " + name_ + " ip ";
    up_ = shell("ip netns add " + name_) == 0 &&
          shell("ip link add " + name_ + "h type veth peer name " + name_ + "n netns " + name_) ==
              0 &&
          shell("ip addr add " + here_ + "/30 dev " + name_ + "h") == 0 && link("up") &&
          shell(inside + "addr add " + address(4 * number + 2) + "/30 dev " + name_ + "n") == 0 &&
          shell(inside + "link set lo up") == 0 &&
          shell(inside + "link set " + name_ + "n up") == 0 &&
          shell(inside + "route add default via " + here_) == 0;
  }
  ~Host() {
    (void)shell("ip link del " + name_ + "h");
    (void)shell("ip netns del " + name_);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  [[nodiscard]] bool is_up() const { return up_; }
  // This machine's address on the link.
  [[nodiscard]] const std::string& here() const { return here_; }
  bool link(const std::string& state) const {
    return shell("ip link set " + name_ + "h " + state) == 0;
  }
  // A command on this host.
  [[nodiscard]] std::vector<std::string> on(const std::vector<std::string>& command) const {
    std::vector<std::string> all{"ip", "netns", "exec", name_};
    all.insert(all.end(), command.begin(), command.end());
    return all;
  }

 private:
  static std::string address(int last) {
    return "10.213." + std::to_string(::getpid() % 250) + "." + std::to_string(last);
  }

  const std::string name_, here_;
  bool up_ = false;
};

TEST(FarHosts, an_image_of_one_is_restored_by_two_others_though_a_link_is_cut_meanwhile) {
  if (const std::string missing = CephCluster::missing(); !missing.empty()) {
    GTEST_SKIP() << missing;
  }
  const Host saver(0), steady(1), cut_off(2);
  if (!saver.is_up() || !steady.is_up() || !cut_off.is_up()) {
    GTEST_SKIP() << "no network namespaces joined by veth can be made here (needs root and ip)";
  }
  CephCluster cluster(saver.here());
  ASSERT_TRUE(cluster.is_up()) << cluster.said();
  const std::string name = "rados:holdfast@holdfast/image@" + cluster.configuration();
  const auto command = [&](const std::string& what) {
    return std::vector<std::string>{HOLDFAST_BIN_DIR "/far_image", what, name, "24", "0"};
  };
  const TempDirectory on_saver, on_steady, on_cut_off;
  const auto saved = run::test::execute(saver.on(command("save")), on_saver.path());
  ASSERT_TRUE(saved.succeeded()) << saved.output << saved.error;

  const std::string step = on_cut_off.file("step");
  std::vector<std::string> in_steps = command("restore");
  in_steps.push_back(step);
  const pid_t one = run::test::start(steady.on(command("restore")), on_steady.path());
  const pid_t other = run::test::start(cut_off.on(in_steps), on_cut_off.path());
  while (::access((step + ".begun").c_str(), F_OK) != 0) {
    ASSERT_EQ(::kill(other, 0), 0);
    ::sched_yield();
  }
  ASSERT_TRUE(cut_off.link("down"));
  std::ofstream(step).close();
  // Nothing comes through, by the time that a request of another client takes to give up.
  const TempDirectory aside;
  const auto refused =
      run::test::execute(cut_off.on({"timeout", "3", "rados", "--conf", cluster.configuration(),
                                     "--name", "client.holdfast", "-p", "holdfast", "ls"}),
                         aside.path());
  EXPECT_FALSE(refused.succeeded());
  EXPECT_EQ(run::test::contents(on_cut_off.path() + "/out"), "");
  ASSERT_TRUE(cut_off.link("up"));
  for (const auto& [pid, directory] : {std::pair(one, &on_steady), std::pair(other, &on_cut_off)}) {
    const auto restored = run::test::await(pid, directory->path());
    EXPECT_TRUE(restored.succeeded()) << restored.output << restored.error;
    EXPECT_EQ(restored.output, "every byte was right\n");
  }
}

}  // namespace
}  // namespace holdfast::tests
