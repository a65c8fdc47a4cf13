// What tests of images on an engine share: memory that can be saved without an engine, and files.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <vector>

#include "engine/real_engine.h"
#include "holdfast/image.h"
#include "support/temp_directory.h"

namespace holdfast::engine::test {

// A snapshot of ordinary memory, which its test may change afterwards.
class PlainSnapshot final : public detail::SnapshotControl {
 public:
  explicit PlainSnapshot(std::uint64_t pages) : memory(pages * kPageSize / 8) {}

  Expected<void> read(std::uint64_t offset, std::span<std::byte> to) override {
    read_bytes += to.size();
    std::memcpy(to.data(), base() + offset, to.size());
    return {};
  }
  Expected<void> visit(const SnapshotControl* since, bool, Visit tell, void* context) override {
    if (since == nullptr) {
      (void)tell({0, size(), RunKind::data}, context);
      return {};
    }
    // Page by page, as an engine that knows all would say.
    const auto& earlier = static_cast<const PlainSnapshot&>(*since);
    for (std::uint64_t at = 0; at < size(); at += kPageSize) {
      static const std::vector<std::byte> zeros(kPageSize);
      const std::byte* before = at < earlier.size() ? earlier.base() + at : zeros.data();
      const bool same = std::memcmp(base() + at, before, kPageSize) == 0;
      if (!tell({at, kPageSize, same ? RunKind::unchanged : RunKind::data}, context)) break;
    }
    return {};
  }
  Expected<void> drop() override { return {}; }
  [[nodiscard]] const std::byte* base() const noexcept override {
    return reinterpret_cast<const std::byte*>(memory.data());
  }
  [[nodiscard]] std::uint64_t size() const noexcept override { return memory.size() * 8; }
  [[nodiscard]] const void* engine() const noexcept override { return this; }

  [[nodiscard]] std::byte* page(std::uint64_t index) {
    return reinterpret_cast<std::byte*>(memory.data()) + index * kPageSize;
  }

  std::vector<std::uint64_t> memory;
  std::atomic<std::uint64_t> read_bytes{0};
};

// The key of each page of an image; every fifth is zeros.
inline void fill(PlainSnapshot& memory) {
  for (std::uint64_t p = 0; p < memory.size() / kPageSize; ++p) {
    if (p % 5 != 0) write_page(memory.page(p), p + 1);
  }
}

inline bool same_page(const Region& region, std::uint64_t page, PlainSnapshot& memory) {
  return std::memcmp(page_at(region, page), memory.page(page), kPageSize) == 0;
}

}  // namespace holdfast::engine::test
