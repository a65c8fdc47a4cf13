// A Ceph cluster on loopback for tests: that of $HOLDFAST_CEPH_DIR, which ctest brings up before
// the tests of tests/far and takes down after them; without it, one of this process's own.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "support/temp_directory.h"

namespace holdfast::tests {

class CephCluster {
 public:
  CephCluster() {
    const char* const given = std::getenv("HOLDFAST_CEPH_DIR");
    if (given != nullptr && *given != '\0') {
      folder_ = given;
      return;
    }
    begin_own();
  }
  // One of this object's own, which listens on an address of this machine.
  explicit CephCluster(const std::string& address) : address_(address) { begin_own(); }
  ~CephCluster() {
    if (own_) (void)script("down");
  }
  CephCluster(const CephCluster&) = delete;
  CephCluster& operator=(const CephCluster&) = delete;

  // Why there is none; empty: there is.
  [[nodiscard]] static std::string missing() {
    const bool there = std::system(
                           "{ command -v ceph-mon && command -v ceph-osd && command -v "
                           "ceph; } >/dev/null") == 0;
    return there ? "" : "ceph-mon, ceph-osd or ceph is missing: tools/install_packages ceph";
  }
  [[nodiscard]] std::string configuration() const { return folder_ + "/ceph.conf"; }

  // A command of scripts/ceph-cluster.sh; its exit status.
  int script(const std::string& command) {
    return run("HOLDFAST_CEPH_DIR='" + folder_ + "' HOLDFAST_CEPH_ADDRESS='" + address_ +
               "' '" HOLDFAST_SOURCE_DIR "/scripts/ceph-cluster.sh' " + command);
  }
  // `rados` on the pool, as the user who may use it.
  int rados(const std::string& arguments) {
    return run("timeout 60 rados --conf '" + configuration() +
               "' --name client.holdfast -p holdfast " + arguments);
  }
  [[nodiscard]] bool is_up() const { return own_; }
  // What the last of these said.
  [[nodiscard]] const std::string& said() const { return said_; }

 private:
  void begin_own() {
    folder_ = directory_.path() + "/cluster";
    own_ = script("up") == 0;
  }
  int run(const std::string& command) {
    said_.clear();
    std::FILE* const pipe = ::popen((command + " 2>&1").c_str(), "re");
    if (pipe == nullptr) return -1;
    char buffer[4096];
    for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;)
      said_.append(buffer, n);
    return ::pclose(pipe);
  }

  TempDirectory directory_;
  std::string folder_;
  std::string address_;  // empty: loopback
  std::string said_;
  bool own_ = false;
};

// The cluster of this process's tests; it goes with the last of them.
class CephEnvironment final : public testing::Environment {
 public:
  static CephCluster& cluster() {
    if (slot() == nullptr) slot() = std::make_unique<CephCluster>();
    return *slot();
  }
  void TearDown() override { slot().reset(); }

 private:
  static std::unique_ptr<CephCluster>& slot() {
    static std::unique_ptr<CephCluster> cluster;
    return cluster;
  }
};

class CephTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string missing = CephCluster::missing();
    if (!missing.empty()) GTEST_SKIP() << missing;
    ASSERT_EQ(cluster().script("heal"), 0) << cluster().said();  // after a test that failed
  }
  static CephCluster& cluster() { return CephEnvironment::cluster(); }
};

}  // namespace holdfast::tests
