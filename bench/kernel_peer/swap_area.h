// A file or device that the kernel swaps to for as long as this object lives.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "trouble.h"

namespace holdfast::bench {

class SwapArea {
 public:
  // Writes a swap header (as mkswap does) over the first page of `path` and switches swapping on,
  // with the highest priority, so that other swap space of the machine plays no part. Everything
  // else (page-cluster, swap read-ahead) stays as the machine has it. bytes: what path holds.
  [[nodiscard]] static Result<std::unique_ptr<SwapArea>> enable(const std::string& path,
                                                                std::uint64_t bytes);
  // Swapping off. Whoever swapped here should have ended: what is left is read back in.
  ~SwapArea();
  SwapArea(const SwapArea&) = delete;
  SwapArea& operator=(const SwapArea&) = delete;

 private:
  explicit SwapArea(std::string path) : path_(std::move(path)) {}

  std::string path_;
};

}  // namespace holdfast::bench
