// Many extents of a file at once: by io_uring, all in flight, or one call after another where the
// kernel's cache takes them.
//
//     extents.add(offset, data, kPageBytes);  ...        neighbours are joined
//     (*io)->write(fd, extents);                         returns when all of them are done
#pragma once

#include <liburing.h>
#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "trouble.h"

namespace holdfast::bench {

class Extents {
 public:
  struct Extent {
    std::uint64_t offset = 0;  // in the file
    std::uint64_t bytes = 0;
    std::size_t first = 0;  // of its vectors
    std::size_t count = 0;
  };
  static constexpr std::uint64_t kBytesMost = 1 << 20;  // of one extent

  void clear();
  // What begins where the last one ends, in the file, becomes part of it.
  void add(std::uint64_t offset, std::byte* data, std::uint64_t bytes);
  [[nodiscard]] std::span<const Extent> all() const { return extents_; }
  [[nodiscard]] const iovec* vectors_of(const Extent& extent) const {
    return vectors_.data() + extent.first;
  }

 private:
  std::vector<Extent> extents_;
  std::vector<iovec> vectors_;
};

class ExtentIo {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ExtentIo>> create();
  ~ExtentIo();
  ExtentIo(const ExtentIo&) = delete;
  ExtentIo& operator=(const ExtentIo&) = delete;

  [[nodiscard]] Result<void> write(int fd, const Extents& extents) {
    return transfer(fd, extents, true);
  }
  [[nodiscard]] Result<void> read(int fd, const Extents& extents) {
    return transfer(fd, extents, false);
  }
  // By pwritev, one after another: what the kernel's cache takes at once needs no ring.
  [[nodiscard]] static Result<void> write_cached(int fd, const Extents& extents);

 private:
  ExtentIo() = default;
  [[nodiscard]] Result<void> transfer(int fd, const Extents& extents, bool writes);
  unsigned reap(std::span<const Extents::Extent> extents, unsigned& failed);

  io_uring ring_{};
  bool open_ = false;
};

}  // namespace holdfast::bench
