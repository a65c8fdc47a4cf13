// A block device of a test's own that really fails, and can be mended, with a file system on it.
//
// How it fails: it is a loop device whose backing file is cut short behind its back, and which is
// told so. The file system goes on as if it were as large as before, and what it sends behind the
// end the kernel refuses with EIO, as a disk does that cannot get at some of its sectors: reads,
// writes past the cache, and what the cache writes in its own time or at a flush. (Device mapper
// has targets for that, but not every kernel has device mapper.) The file system is ext4 without a
// journal, so that one failure is no reason for it to stop; its tables stand in front.
//
// All of it is in memory, seen by this process alone, and gone with it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/base.h"

namespace holdfast::disk::test {

class FailingDevice {
 public:
  // Stands on a file `name` in this directory, which is to be one of a PrivateDisk.
  FailingDevice(const std::string& directory, const std::string& name, std::uint64_t bytes)
      : FailingDevice(directory + "/" + name, bytes) {
    if (!refused_.empty()) return;
    // Inodes of 256 bytes have a time of birth.
    const std::string format =
        "mke2fs -q -F -t ext4 -b 4096 -I 256 -m 0 -O ^has_journal -E lazy_itable_init=0 '" +
        image_path_ + "' >/dev/null 2>&1";
    if (std::system(format.c_str()) != 0) {
      refused_ = "mke2fs is not there, or cannot make an ext4 file system";
      return;
    }
    mount_it();
  }
  ~FailingDevice() {
    mend();
    if (mounted_) ::umount2(path_.c_str(), MNT_DETACH);
    for (const int fd : {device_, image_}) {
      if (fd >= 0) ::close(fd);  // the last one lets go of the device
    }
  }
  FailingDevice(const FailingDevice&) = delete;
  FailingDevice& operator=(const FailingDevice&) = delete;

  // Why this machine has none; empty: it is there.
  [[nodiscard]] const std::string& refused() const { return refused_; }
  // Where its file system is.
  [[nodiscard]] const std::string& path() const { return path_; }

  // Everything on the device from there on fails. Flush before what is to be durable.
  void fail_from(std::uint64_t offset) {
    ASSERT_LT(offset, bytes_);
    ASSERT_EQ(good_, bytes_) << "it fails already";
    behind_.resize(bytes_ - offset);
    ASSERT_EQ(::pread(image_, behind_.data(), behind_.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(behind_.size()));
    good_ = offset;
    ASSERT_EQ(::ftruncate(image_, static_cast<off_t>(offset)), 0);
    ASSERT_EQ(::ioctl(device_, LOOP_SET_CAPACITY, 0), 0) << std::strerror(errno);
  }
  // It is as it was before. Async-signal-safe: false where the kernel refuses.
  bool mend() noexcept {
    if (good_ == bytes_) return true;
    const auto size = static_cast<ssize_t>(behind_.size());
    const bool whole =
        ::pwrite(image_, behind_.data(), behind_.size(), static_cast<off_t>(good_)) == size &&
        ::ioctl(device_, LOOP_SET_CAPACITY, 0) == 0;
    good_ = bytes_;
    return whole;
  }

  // What stands on the device now and in no cache, in a device of its own: what a machine finds
  // that has lost its power.
  [[nodiscard]] std::unique_ptr<FailingDevice> after_a_power_cut() const {
    Bytes content(bytes_);
    EXPECT_EQ(::pread(image_, content.data(), good_, 0), static_cast<ssize_t>(good_));
    std::copy(behind_.begin(), behind_.begin() + static_cast<std::ptrdiff_t>(bytes_ - good_),
              content.begin() + static_cast<std::ptrdiff_t>(good_));
    std::unique_ptr<FailingDevice> copy(new FailingDevice(image_path_ + "+", bytes_));
    if (copy->refused_.empty()) {
      EXPECT_EQ(::pwrite(copy->image_, content.data(), bytes_, 0), static_cast<ssize_t>(bytes_));
      copy->mount_it();
    }
    EXPECT_EQ(copy->refused_, "");
    return copy;
  }

 private:
  using Bytes = std::vector<std::byte>;

  FailingDevice(std::string image_path, std::uint64_t bytes)
      : image_path_(std::move(image_path)), path_(image_path_ + ".mounted"), bytes_(bytes) {
    image_ = ::open(image_path_.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (image_ < 0 || ::ftruncate(image_, static_cast<off_t>(bytes)) != 0) {
      refuse("no file for a device");
    }
  }
  void refuse(const char* what) {
    refused_ = std::string(what) + " of a test's own: " + std::strerror(errno);
  }
  void mount_it() {
    std::string name;
    if (!attach(name)) return refuse("no loop device");
    std::filesystem::create_directory(path_);
    mounted_ = ::mount(name.c_str(), path_.c_str(), "ext4", MS_NOATIME, "errors=continue") == 0;
    if (!mounted_) refuse("no file system on a loop device");
  }
  // A device that nobody has; it goes when nobody uses it any more.
  bool attach(std::string& name) {
    constexpr int kTries = 100;  // somebody else may be quicker
    const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return false;
    for (int tries = 0; tries < kTries && device_ < 0; ++tries) {
      const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
      if (number < 0) break;
      name = "/dev/loop" + std::to_string(number);
      const int fd = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
      if (fd < 0) break;
      loop_config config{};
      config.fd = static_cast<std::uint32_t>(image_);
      config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
      if (::ioctl(fd, LOOP_CONFIGURE, &config) == 0) {
        device_ = fd;
        break;
      }
      const int error = errno;
      ::close(fd);
      errno = error;
      if (error != EBUSY) break;
    }
    const int error = errno;
    ::close(control);
    errno = error;
    return device_ >= 0;
  }

  const std::string image_path_;
  const std::string path_;
  const std::uint64_t bytes_;
  std::uint64_t good_ = bytes_;  // of it, from the front
  Bytes behind_;                 // what stood behind them when it began to fail
  std::string refused_;
  bool mounted_ = false;
  int image_ = -1;
  int device_ = -1;
};

// Where a page of a file stands on its device, which it is brought to.
inline std::uint64_t place_of(const std::string& path, std::uint64_t page) {
  alignas(fiemap) std::byte room[sizeof(fiemap) + sizeof(fiemap_extent)]{};
  auto* const asked = new (room) fiemap{};
  asked->fm_start = page << kPageShift;
  asked->fm_length = kPageSize;
  asked->fm_flags = FIEMAP_FLAG_SYNC;
  asked->fm_extent_count = 1;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  EXPECT_EQ(::ioctl(fd, FS_IOC_FIEMAP, asked), 0) << path << ": " << std::strerror(errno);
  ::close(fd);
  EXPECT_EQ(asked->fm_mapped_extents, 1u) << path << ": page " << page << " is a hole";
  const fiemap_extent& extent = asked->fm_extents[0];
  return extent.fe_physical + (page << kPageShift) - extent.fe_logical;
}

// Gives each of two files of one content the other's place for a page.
inline void exchange_page(const std::string& path, const std::string& other, std::uint64_t page) {
  struct Asked {  // of ext4: move_extent
    std::uint32_t reserved = 0;
    std::uint32_t donor = 0;
    std::uint64_t first = 0;
    std::uint64_t donor_first = 0;
    std::uint64_t pages = 1;
    std::uint64_t moved = 0;
  } asked;
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  const int donor = ::open(other.c_str(), O_RDWR | O_CLOEXEC);
  asked.donor = static_cast<std::uint32_t>(donor);
  asked.first = asked.donor_first = page;
  ASSERT_EQ(::ioctl(fd, _IOWR('f', 15, Asked), &asked), 0) << std::strerror(errno);
  ASSERT_EQ(asked.moved, 1u);
  ::close(donor);
  ::close(fd);
}

}  // namespace holdfast::disk::test
