// A sequence of pages, kept small: runs, each by how far it begins from where the one before it
// ended. A page that comes at random takes three or four bytes, 64 in a row as much.
#pragma once

#include <cstdint>
#include <expected>
#include <span>
#include <vector>

namespace holdfast::run {

class PageLog {
 public:
  // Pages [first, first + count), numbered by address >> kPageShift; count > 0.
  void add(std::uint64_t first, std::uint32_t count);
  [[nodiscard]] std::uint64_t pages() const noexcept { return pages_; }
  [[nodiscard]] std::span<const std::uint8_t> bytes() const noexcept { return bytes_; }

  // The pages one by one, out of bytes() of a log that had so many; or the offset of the first byte
  // that no log has. Fit for bytes of any origin.
  [[nodiscard]] static std::expected<std::vector<std::uint64_t>, std::size_t> decode(
      std::span<const std::uint8_t> bytes, std::uint64_t pages);

 private:
  void put(std::uint64_t value);

  std::vector<std::uint8_t> bytes_;
  std::uint64_t pages_ = 0;
  std::uint64_t end_ = 0;  // of the last run
};

}  // namespace holdfast::run
