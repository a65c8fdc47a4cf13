#include "inline_words.h"

#include <cctype>
#include <charconv>

namespace kv {
namespace {

bool is_blank(char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; }

// The character that an escape stands for; `rest` begins behind the backslash and is moved on.
char unescape(std::string_view& rest) {
  unsigned char byte = 0;
  if (rest.size() >= 3 && rest[0] == 'x') {
    const char* const end = rest.data() + 3;
    if (std::from_chars(rest.data() + 1, end, byte, 16).ptr == end) {
      rest.remove_prefix(3);
      return static_cast<char>(byte);
    }
  }
  const char c = rest[0];
  rest.remove_prefix(1);
  constexpr std::string_view kNames = "nrtba";
  constexpr std::string_view kValues = "\n\r\t\b\a";
  const std::size_t place = kNames.find(c);
  return place == std::string_view::npos ? c : kValues[place];
}

// Reads what stands in quotes; `rest` begins behind the opening one.
bool read_quoted(char quote, std::string_view& rest, std::string& word) {
  while (!rest.empty()) {
    const char c = rest[0];
    rest.remove_prefix(1);
    if (c == quote) return rest.empty() || is_blank(rest[0]);
    const bool escape = c == '\\' && !rest.empty() && (quote == '"' || rest[0] == '\'');
    word += escape ? unescape(rest) : c;
  }
  return false;
}

}  // namespace

bool split_words(std::string_view line, std::vector<std::string>& words) {
  words.clear();
  while (true) {
    while (!line.empty() && is_blank(line[0])) line.remove_prefix(1);
    if (line.empty()) return true;
    std::string& word = words.emplace_back();
    while (!line.empty() && !is_blank(line[0])) {
      const char c = line[0];
      line.remove_prefix(1);
      if (c != '"' && c != '\'') {
        word += c;
      } else if (!read_quoted(c, line, word)) {
        return false;
      }
    }
  }
}

}  // namespace kv
