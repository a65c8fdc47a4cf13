// How check() says what is wrong: one line on standard error, with two numbers.
#pragma once

#include <cstdint>

#include "sys/sys.h"

namespace holdfast::swap {

// Always false, so that a check can return it.
bool report(sys::Machine& machine, const char* what, std::uint64_t a, std::uint64_t b) noexcept;

}  // namespace holdfast::swap
