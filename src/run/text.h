// Numbers as people read them: "1.61 GiB", "12,418", "3.1 s", "41 %".
#pragma once

#include <cstdint>
#include <string>

namespace holdfast::run {

// Three digits and a unit of 1024.
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);
// All digits, by thousands.
[[nodiscard]] std::string count_text(std::uint64_t count);
// "12.4k": three digits or four.
[[nodiscard]] std::string short_count_text(double count);
[[nodiscard]] std::string seconds_text(std::uint64_t ns);
// `part` of `whole`, "41 %"; "0 %" of nothing.
[[nodiscard]] std::string percent_text(std::uint64_t part, std::uint64_t whole);

}  // namespace holdfast::run
