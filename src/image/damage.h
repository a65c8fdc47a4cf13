// The errors of images: what is wrong, and at which offset of the file.
#pragma once

#include <cstdint>

#include "base/base.h"

namespace holdfast::image {

// `what`: a literal that ends in ", at offset".
[[nodiscard]] inline Error damaged(const char* what, std::uint64_t offset) noexcept {
  return {.code = Errc::corrupted,
          .doing = "read image",
          .what = what,
          .value = offset,
          .remedy = "the file is damaged or was never finished: use an earlier image"};
}

}  // namespace holdfast::image
