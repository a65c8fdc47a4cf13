// The parts of the page that report_html() puts together: src/run/report_page/*, made into text by
// the build (cmake/programs.cmake).
#pragma once

#include <string_view>

namespace holdfast::run {

extern const std::string_view kReportPage;    // with {{title}}, {{style}}, {{data}}, {{script}}
extern const std::string_view kReportStyle;   // CSS
extern const std::string_view kReportScript;  // JavaScript: draws the page from the data

}  // namespace holdfast::run
