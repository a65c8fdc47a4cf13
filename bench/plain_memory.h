// Plain anonymous memory of 4 KiB pages, for peers.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "trouble.h"

namespace holdfast::bench {

class PlainMemory {
 public:
  [[nodiscard]] static Result<std::unique_ptr<PlainMemory>> map(std::uint64_t bytes) {
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return system_trouble("mmap");
    std::unique_ptr<PlainMemory> made(new PlainMemory(static_cast<std::byte*>(memory), bytes));
    if (madvise(memory, bytes, MADV_NOHUGEPAGE) != 0) return system_trouble("MADV_NOHUGEPAGE");
    return made;
  }
  ~PlainMemory() { munmap(data_, bytes_); }
  PlainMemory(const PlainMemory&) = delete;
  PlainMemory& operator=(const PlainMemory&) = delete;

  [[nodiscard]] std::byte* data() const { return data_; }

 private:
  PlainMemory(std::byte* data, std::uint64_t bytes) : data_(data), bytes_(bytes) {}

  std::byte* data_;
  std::uint64_t bytes_;
};

}  // namespace holdfast::bench
