// A small file system of a test's own, which can fill up, and which nothing outlives.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>

#include "support/temp_directory.h"

namespace holdfast::run::test {

// In memory, seen by this process and by what it starts; gone when they are.
class PrivateDisk {
 public:
  explicit PrivateDisk(std::uint64_t bytes) : path_(directory_.file("disk")) {
    std::filesystem::create_directory(path_);
    const std::string options = "size=" + std::to_string(bytes);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("none", path_.c_str(), "tmpfs", 0, options.c_str()) != 0) {
      refused_ = std::string("no file system of a test's own: ") + std::strerror(errno);
    }
  }
  ~PrivateDisk() {
    if (refused_.empty()) ::umount2(path_.c_str(), MNT_DETACH);
  }
  PrivateDisk(const PrivateDisk&) = delete;
  PrivateDisk& operator=(const PrivateDisk&) = delete;

  // Why this machine has none; empty: it is there.
  [[nodiscard]] const std::string& refused() const { return refused_; }
  [[nodiscard]] const std::string& path() const { return path_; }
  // What is taken of it, named or not.
  [[nodiscard]] std::uint64_t used() const {
    struct statvfs now{};
    if (::statvfs(path_.c_str(), &now) != 0) return ~std::uint64_t{0};
    return (now.f_blocks - now.f_bfree) * now.f_frsize;
  }

 private:
  tests::TempDirectory directory_;
  std::string path_;
  std::string refused_;
};

}  // namespace holdfast::run::test
