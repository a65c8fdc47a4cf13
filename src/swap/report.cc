#include "swap/report.h"

#include <cstdio>

namespace holdfast::swap {

bool report(sys::Machine& machine, const char* what, std::uint64_t a, std::uint64_t b) noexcept {
  char line[160];
  std::snprintf(line, sizeof line, "holdfast: swap check: %s (%llu, %llu)", what,
                static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
  machine.print_line(line);
  return false;
}

}  // namespace holdfast::swap
