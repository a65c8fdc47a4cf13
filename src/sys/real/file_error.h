// What an errno of a named file means for the caller, and what can be done about it.
#pragma once

#include "base/base.h"

namespace holdfast::sys::real {

// doing, what: literals, as in Error.
[[nodiscard]] Error file_error(int os_errno, const char* doing, const char* what) noexcept;

}  // namespace holdfast::sys::real
