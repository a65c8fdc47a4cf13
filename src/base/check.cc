#include "base/check.h"

#include <unistd.h>

#include <cstdlib>

#include "base/text.h"

namespace holdfast::base {

void check_failed(const char* file, int line, const char* expression, std::uint64_t a,
                  std::uint64_t b) noexcept {
  char buffer[512];
  Text text(buffer, sizeof buffer - 1);
  text.add("holdfast: check failed: ").add(file).add(":").add(static_cast<std::uint64_t>(line));
  text.add(": ").add(expression);
  if (a != 0 || b != 0) {
    text.add(" (").add(a).add(", ").add(b).add(")");
  }
  // Room for the newline was kept: a cut line still ends the line.
  const std::size_t length = text.length();
  buffer[length] = '\n';
  // Nothing can be done about a failing write on the way out.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, buffer, length + 1);
  std::abort();
}

}  // namespace holdfast::base
