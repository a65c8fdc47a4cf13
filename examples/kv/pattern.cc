#include "pattern.h"

#include <utility>

namespace kv {
namespace {

// Matches one character against the set that begins behind '[' at pattern[at]; moves `at` behind
// its ']'. A set that is not closed ends with the pattern.
bool match_set(std::string_view pattern, std::size_t& at, char c) {
  ++at;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  bool found = false;
  const auto one = [&] {  // the next character of the set, without its backslash
    if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
    return static_cast<unsigned char>(pattern[at++]);
  };
  const auto wanted = static_cast<unsigned char>(c);
  while (at < pattern.size() && pattern[at] != ']') {
    unsigned char low = one();
    unsigned char high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
      ++at;
      high = one();
    }
    if (low > high) std::swap(low, high);
    found = found || (wanted >= low && wanted <= high);
  }
  if (at < pattern.size()) ++at;
  return found != negated;
}

// Matches one character against what stands at pattern[at], which is no '*', and moves `at` on.
bool match_one(std::string_view pattern, std::size_t& at, char c) {
  if (pattern[at] == '[') return match_set(pattern, at, c);
  if (pattern[at] == '?') return ++at, true;
  if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
  return pattern[at++] == c;
}

}  // namespace

// Only the last '*' ever needs another try, one character further on.
bool glob_match(std::string_view pattern, std::string_view text) {
  std::size_t at = 0;
  std::size_t read = 0;
  std::size_t star = std::string_view::npos;
  std::size_t star_read = 0;
  while (read < text.size()) {
    if (at < pattern.size() && pattern[at] == '*') {
      star = ++at;
      star_read = read;
      continue;
    }
    if (at < pattern.size() && match_one(pattern, at, text[read])) {
      ++read;
      continue;
    }
    if (star == std::string_view::npos) return false;
    at = star;
    read = ++star_read;
  }
  while (at < pattern.size() && pattern[at] == '*') ++at;
  return at == pattern.size();
}

}  // namespace kv
