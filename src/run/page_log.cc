#include "run/page_log.h"

#include <optional>

namespace holdfast::run {
namespace {

constexpr unsigned kGroupBits = 7;  // of a number in one byte; the eighth says that more follow
constexpr std::uint8_t kMore = 1U << kGroupBits;
constexpr unsigned kBitsMax = 63;
constexpr std::uint64_t kPageLimit = std::uint64_t{1} << 52;  // no address has more bits

// Small numbers for small distances, of either sign.
std::uint64_t fold(std::uint64_t distance) noexcept {
  return distance << 1 ^ (distance >> 63 != 0 ? ~std::uint64_t{0} : 0);
}
std::uint64_t unfold(std::uint64_t value) noexcept {
  return value >> 1 ^ ((value & 1) != 0 ? ~std::uint64_t{0} : 0);
}

std::optional<std::uint64_t> get(std::span<const std::uint8_t> bytes, std::size_t& at) noexcept {
  std::uint64_t value = 0;
  for (unsigned bits = 0; bits < kBitsMax && at < bytes.size(); bits += kGroupBits) {
    const std::uint8_t byte = bytes[at++];
    value |= std::uint64_t{byte & (kMore - 1U)} << bits;
    if ((byte & kMore) == 0) return value;
  }
  return std::nullopt;
}

}  // namespace

void PageLog::put(std::uint64_t value) {
  for (; value >= kMore; value >>= kGroupBits) {
    bytes_.push_back(static_cast<std::uint8_t>(value) | kMore);
  }
  bytes_.push_back(static_cast<std::uint8_t>(value));
}

void PageLog::add(std::uint64_t first, std::uint32_t count) {
  put(fold(first - end_));
  put(count - 1);
  pages_ += count;
  end_ = first + count;
}

std::expected<std::vector<std::uint64_t>, std::size_t> PageLog::decode(
    std::span<const std::uint8_t> bytes, std::uint64_t pages) {
  std::vector<std::uint64_t> all;
  std::uint64_t end = 0;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t run = at;
    const auto distance = get(bytes, at);
    const auto more = get(bytes, at);
    if (!distance || !more || *more >= pages - all.size()) return std::unexpected(run);
    const std::uint64_t first = end + unfold(*distance);
    if (first >= kPageLimit || *more >= kPageLimit) return std::unexpected(run);
    end = first + *more + 1;
    for (std::uint64_t page = first; page < end; ++page) all.push_back(page);
  }
  if (all.size() != pages) return std::unexpected(bytes.size());
  return all;
}

}  // namespace holdfast::run
