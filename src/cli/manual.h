// Man pages and shell completion, from the same definition as the flags themselves.
//
// An app's footer, which --help shows too, becomes sections of its page: a line without indent that
// ends with a colon is a title, indented lines are its text, "  term  text" is an item.
#pragma once

#include <string>

namespace CLI {
class App;
}

namespace holdfast::cli {

// Of the whole command, or of one of its commands ("run"), in man(7).
[[nodiscard]] std::string man_page(const CLI::App& app, const std::string& version);

// For bash, to be sourced.
[[nodiscard]] std::string bash_completion(const CLI::App& root);

}  // namespace holdfast::cli
