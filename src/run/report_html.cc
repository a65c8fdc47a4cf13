// A report as a page: the same JSON, and the script that draws it, in one file.
#include <fmt/format.h>

#include <string_view>

#include "run/report.h"
#include "run/report_page.h"

namespace holdfast::run {
namespace {

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text) {
    switch (c) {
      case '<':
        safe += "&lt;";
        break;
      case '&':
        safe += "&amp;";
        break;
      default:
        safe += c;
    }
  }
  return safe;
}

// Data within a page must not look like the end of its element. '<' is in strings only.
std::string harmless(const std::string& json) {
  std::string safe;
  safe.reserve(json.size());
  for (const char c : json) {
    if (c == '<') {
      safe += "\\u003c";
    } else {
      safe += c;
    }
  }
  return safe;
}

// The value of a placeholder; empty: it is none.
std::string value_of(std::string_view name, const Report& report) {
  if (name == "style") return std::string(kReportStyle);
  if (name == "script") return std::string(kReportScript);
  if (name == "data") return harmless(report_json(report));
  if (name == "title") return report.command.empty() ? "" : escaped(report.command.front());
  return {};
}

}  // namespace

std::string report_html(const Report& report) {
  std::string page;
  std::string_view rest = kReportPage;
  for (;;) {
    const std::size_t open = rest.find("{{");
    const std::size_t close = rest.find("}}", open);
    page += rest.substr(0, open);
    if (close == std::string_view::npos) return page;
    page += value_of(rest.substr(open + 2, close - open - 2), report);
    rest.remove_prefix(close + 2);
  }
}

std::string report_for(const std::string& path, const Report& report) {
  const bool page = path.ends_with(".html") || path.ends_with(".htm");
  return page ? report_html(report) : report_json(report);
}

}  // namespace holdfast::run
