// Sizes on command lines: "512M" is 512 * 1024 * 1024 bytes.
//
// K, M, G and T are powers of 1024; a trailing "B" or "iB" is understood ("64MiB"); a fraction is
// not, because it would hide a rounding.
//
// Errors name the value, the limit and the remedy, as every message of Holdfast does.
#pragma once

#include <charconv>
#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <system_error>

namespace holdfast::cli {

// What a size may be, bytes, both ends included.
struct SizeLimits {
  std::uint64_t least = 0;
  std::uint64_t most = ~std::uint64_t{0};
};

// "64M" for 67108864: the largest unit that leaves no rest.
[[nodiscard]] inline std::string size_text(std::uint64_t bytes) {
  constexpr std::string_view kUnits = "KMGT";
  std::string unit;
  for (const char next : kUnits) {
    if (bytes == 0 || bytes % 1024 != 0) break;
    bytes /= 1024;
    unit = next;
  }
  return std::to_string(bytes) + unit;
}

namespace detail {

inline constexpr std::uint64_t kNoUnit = 0;

// The bytes of a unit as it is written after the digits; kNoUnit if it is none.
[[nodiscard]] inline std::uint64_t unit_bytes(std::string_view unit) {
  if (unit.empty() || unit == "B" || unit == "b") return 1;
  const std::string_view rest = unit.substr(1);
  if (!rest.empty() && rest != "B" && rest != "b" && rest != "iB" && rest != "ib") return kNoUnit;
  switch (unit.front()) {
    case 'K':
    case 'k':
      return std::uint64_t{1} << 10;
    case 'M':
    case 'm':
      return std::uint64_t{1} << 20;
    case 'G':
    case 'g':
      return std::uint64_t{1} << 30;
    case 'T':
    case 't':
      return std::uint64_t{1} << 40;
    default:
      return kNoUnit;
  }
}

[[nodiscard]] inline std::unexpected<std::string> bad_size(std::string_view text,
                                                           const std::string& why) {
  return std::unexpected("'" + std::string(text) + "' " + why);
}

}  // namespace detail

// The bytes that `text` names, or a message for the user, without a line end.
[[nodiscard]] inline std::expected<std::uint64_t, std::string> parse_size(
    std::string_view text, const SizeLimits& limits = {}) {
  std::uint64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  const bool digits = stop != text.data();
  const std::uint64_t unit =
      detail::unit_bytes(std::string_view(stop, static_cast<std::size_t>(end - stop)));
  if (!digits || unit == detail::kNoUnit) {
    return detail::bad_size(text,
                            "is not a size: write whole bytes, or a whole number with K, M, "
                            "G or T (powers of 1024), as in 512M");
  }
  if (error == std::errc::result_out_of_range || number > limits.most / unit) {
    return detail::bad_size(
        text, "is too large: the most is " + size_text(limits.most) + "; give a smaller size");
  }
  if (number * unit < limits.least) {
    return detail::bad_size(
        text, "is too small: the least is " + size_text(limits.least) + "; give a larger size");
  }
  return number * unit;
}

}  // namespace holdfast::cli
