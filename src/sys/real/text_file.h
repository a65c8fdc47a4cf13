// Small text files of /proc and /sys.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace holdfast::sys::real {

// The first 64 KiB of the file; nothing if it cannot be read (errno says why). Task context.
[[nodiscard]] std::optional<std::string> read_text(const std::string& path);

// The decimal number that the text begins with; nothing if it begins with none or it is too large.
[[nodiscard]] std::optional<std::uint64_t> parse_number(const std::string& text) noexcept;

}  // namespace holdfast::sys::real
