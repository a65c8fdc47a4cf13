// Small files of /sys and /proc: a value in, a value out.
#pragma once

#include <string>
#include <string_view>

#include "trouble.h"

namespace holdfast::bench {

// The content without its trailing newline.
[[nodiscard]] Result<std::string> read_text(const std::string& path);
// One write() of the whole text to a file that exists.
[[nodiscard]] Result<void> write_text(const std::string& path, std::string_view text);
// The number of kB that /proc/self/status gives for `field`; 0 if there is no such line.
[[nodiscard]] unsigned long long status_kilobytes(std::string_view field);

}  // namespace holdfast::bench
