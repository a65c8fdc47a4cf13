// The words of an inline request, as somebody types them into telnet or nc.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace kv {

// Splits at blanks. "..." holds blanks and the escapes \n \r \t \b \a \\ \" \xHH; '...' holds all
// but \'. False: a quote is not closed, or something stands right behind a closing one.
[[nodiscard]] bool split_words(std::string_view line, std::vector<std::string>& words);

}  // namespace kv
