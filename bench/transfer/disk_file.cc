#include "transfer/disk_file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <vector>

#include "workload.h"

namespace holdfast::bench {
namespace {
constexpr std::uint64_t kPiece = 1 << 20;  // that is filled at once: its pages count from 0
}

std::uint64_t DiskFile::tag_of(std::uint64_t page) {
  return page_tag(page % (kPiece / kPageBytes));
}

Result<std::unique_ptr<DiskFile>> DiskFile::create(const std::string& directory,
                                                   std::uint64_t bytes) {
  std::string path = directory + "/holdfast-bench-XXXXXX";
  const int fd = mkostemp(path.data(), O_CLOEXEC);
  if (fd < 0) return system_trouble("make " + path);
  std::unique_ptr<DiskFile> file(new DiskFile(path, bytes));
  std::vector<std::byte> piece(kPiece);
  for (std::uint64_t done = 0; done < bytes; done += kPiece) {
    Workload(piece.data(), 0, kPiece / kPageBytes, done + 1).fill();
    if (write(fd, piece.data(), kPiece) != long{kPiece}) {
      auto trouble = system_trouble("fill " + path);
      close(fd);
      return trouble;
    }
  }
  const bool durable = fsync(fd) == 0;
  close(fd);
  if (!durable) return system_trouble("write out " + path);
  return file;
}

DiskFile::~DiskFile() { unlink(path_.c_str()); }

Result<int> DiskFile::open_direct(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC);
  if (fd < 0) return system_trouble("open " + path + " with O_DIRECT");
  return fd;
}

}  // namespace holdfast::bench
