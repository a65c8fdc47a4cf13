// A file on disk for the kernel to swap to. Every block is written beforehand, so that the disk has
// really given them all. The destructor removes the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "trouble.h"

namespace holdfast::bench {

class SwapFile {
 public:
  [[nodiscard]] static Result<std::unique_ptr<SwapFile>> create(const std::string& directory,
                                                                std::uint64_t bytes);
  ~SwapFile();
  SwapFile(const SwapFile&) = delete;
  SwapFile& operator=(const SwapFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  SwapFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  Result<void> write_blocks(std::uint64_t bytes);

  std::string path_;
  int fd_;
};

}  // namespace holdfast::bench
