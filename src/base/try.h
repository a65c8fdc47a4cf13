// TRY(expression): the value of an Expected, or return its error from the enclosing function.
#pragma once

#include <utility>

#include "holdfast/error.h"

// GNU statement expression: understood by g++ and clang, the two compilers that we build with.
#define TRY(expression)                                                               \
  (__extension__({                                                                    \
    auto&& try_result_ = (expression);                                                \
    if (!try_result_) return std::unexpected<::holdfast::Error>(try_result_.error()); \
    std::move(*try_result_);                                                          \
  }))

// The same for Expected<void>.
#define TRY_VOID(expression)                                                          \
  do {                                                                                \
    auto&& try_result_ = (expression);                                                \
    if (!try_result_) return std::unexpected<::holdfast::Error>(try_result_.error()); \
  } while (false)
