#include "base/same_filled.h"

#include <cstring>

#include "base/check.h"
#include "base/units.h"

namespace holdfast::base {
namespace {

constexpr std::size_t kWords = kPageSize / sizeof(std::uint64_t);
constexpr std::size_t kStep = 16;  // words compared between two looks: two cache lines
static_assert(kWords % kStep == 0);

constexpr unsigned kKindShift = 56;
constexpr std::uint64_t kValueMask = (std::uint64_t{1} << kKindShift) - 1;
enum Kind : std::uint64_t { small, negative, low_zero, twice };

std::uint64_t word_at(const std::byte* page, std::size_t index) noexcept {
  std::uint64_t word;
  std::memcpy(&word, page + index * sizeof word, sizeof word);
  return word;
}

}  // namespace

std::optional<std::uint64_t> repeated_word(const std::byte* page) noexcept {
  HF_DCHECK(reinterpret_cast<std::uintptr_t>(page) % alignof(std::uint64_t) == 0);
  const std::uint64_t first = word_at(page, 0);
  // Most pages differ at once: neighbours, the middle, the end.
  if (word_at(page, 1) != first || word_at(page, kWords / 2) != first ||
      word_at(page, kWords - 1) != first) {
    return std::nullopt;
  }
  for (std::size_t i = 0; i < kWords; i += kStep) {
    std::uint64_t difference = 0;
    for (std::size_t k = 0; k < kStep; ++k) difference |= word_at(page, i + k) ^ first;
    if (difference != 0) return std::nullopt;
  }
  return first;
}

std::optional<std::uint64_t> pack_word(std::uint64_t word) noexcept {
  const std::uint64_t high = word >> kKindShift;
  const auto half = static_cast<std::uint32_t>(word);
  if (high == 0) return Kind::small << kKindShift | word;
  if (high == 0xff) return Kind::negative << kKindShift | (word & kValueMask);
  if ((word & 0xff) == 0) return Kind::low_zero << kKindShift | word >> 8;
  if (word >> 32 == half) return Kind::twice << kKindShift | half;
  return std::nullopt;
}

std::uint64_t unpack_word(std::uint64_t packed) noexcept {
  HF_DCHECK2(packed >> (kKindShift + 2) == 0, packed, 0);
  const std::uint64_t value = packed & kValueMask;
  switch (packed >> kKindShift & 3) {
    case Kind::small:
      return value;
    case Kind::negative:
      return value | ~kValueMask;
    case Kind::low_zero:
      return value << 8;
    default:
      return value << 32 | value;
  }
}

void fill_page(std::byte* page, std::uint64_t word) noexcept {
  HF_DCHECK(reinterpret_cast<std::uintptr_t>(page) % alignof(std::uint64_t) == 0);
  for (std::size_t i = 0; i < kWords; ++i) {
    std::memcpy(page + i * sizeof word, &word, sizeof word);
  }
}

}  // namespace holdfast::base
