// Patterns of KEYS, SCAN and CONFIG GET: * ? [abc] [^a] [a-z] \x
#pragma once

#include <string_view>

namespace kv {

// True if the whole text matches. Time at most pattern times text, whatever the pattern.
[[nodiscard]] bool glob_match(std::string_view pattern, std::string_view text);

}  // namespace kv
