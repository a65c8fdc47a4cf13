#include "kernel_peer/swap_area.h"

#include <fcntl.h>
#include <sys/swap.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstring>

#include "workload.h"

namespace holdfast::bench {
namespace {

// union swap_header of the kernel's include/linux/swap.h: 1024 bytes left to boot code, then these.
struct HeaderInfo {
  std::uint32_t version = 1;
  std::uint32_t last_page = 0;
  std::uint32_t bad_pages = 0;
  std::array<unsigned char, 16> uuid = {};
  std::array<char, 16> volume = {};
};
constexpr std::size_t kInfoOffset = 1024;
constexpr char kMagic[] = "SWAPSPACE2";  // the last ten bytes of the page
constexpr std::size_t kMagicBytes = sizeof kMagic - 1;
constexpr int kHighestPriority = SWAP_FLAG_PRIO_MASK;

Result<void> write_header(const std::string& path, std::uint64_t bytes) {
  alignas(4096) static std::array<unsigned char, kPageBytes> page;
  page.fill(0);
  HeaderInfo info;
  info.last_page = static_cast<std::uint32_t>(bytes / kPageBytes - 1);
  std::memcpy(page.data() + kInfoOffset, &info, sizeof info);
  std::memcpy(page.data() + kPageBytes - kMagicBytes, kMagic, kMagicBytes);

  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return system_trouble("open " + path);
  const bool written = pwrite(fd, page.data(), page.size(), 0) == ssize_t{kPageBytes};
  const bool synced = written && fsync(fd) == 0;
  const auto trouble = system_trouble("writing a swap header to " + path);
  close(fd);
  if (!synced) return trouble;
  return {};
}

}  // namespace

Result<std::unique_ptr<SwapArea>> SwapArea::enable(const std::string& path, std::uint64_t bytes) {
  if (auto written = write_header(path, bytes); !written) return std::unexpected(written.error());
  if (swapon(path.c_str(), SWAP_FLAG_PREFER | kHighestPriority) != 0) {
    return system_trouble("swapon " + path);
  }
  return std::unique_ptr<SwapArea>(new SwapArea(path));
}

SwapArea::~SwapArea() {
  if (swapoff(path_.c_str()) != 0) std::perror(("swapoff " + path_).c_str());
}

}  // namespace holdfast::bench
