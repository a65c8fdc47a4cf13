#include "kernel_peer/swap_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "interruption.h"

namespace holdfast::bench {

Result<std::unique_ptr<SwapFile>> SwapFile::create(const std::string& directory,
                                                   std::uint64_t bytes) {
  const std::string path = fmt::format("{}/holdfast-bench-{}.swap", directory, getpid());
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return system_trouble("creating " + path);
  std::unique_ptr<SwapFile> file(new SwapFile(path, fd));
  if (auto written = file->write_blocks(bytes); !written) {
    return std::unexpected(written.error());
  }
  return file;
}

Result<void> SwapFile::write_blocks(std::uint64_t bytes) {
  const std::vector<char> zeros(1 << 20);
  for (std::uint64_t offset = 0; offset < bytes;) {
    if (auto fine = check_interruption(); !fine) return fine;
    const auto size = std::min<std::uint64_t>(zeros.size(), bytes - offset);
    const ssize_t put = pwrite(fd_, zeros.data(), size, off_t(offset));
    if (put <= 0) return system_trouble("writing " + path_);
    offset += std::uint64_t(put);
  }
  if (fsync(fd_) != 0) return system_trouble("fsync " + path_);
  posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED);
  return {};
}

SwapFile::~SwapFile() {
  close(fd_);
  unlink(path_.c_str());
}

}  // namespace holdfast::bench
