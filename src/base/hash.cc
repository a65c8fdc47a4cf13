#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/units.h"

namespace holdfast::base {

Hash128 hash_page(const std::byte* page) noexcept {
  const XXH128_hash_t hash = XXH3_128bits(page, kPageSize);
  return {hash.low64, hash.high64};
}

}  // namespace holdfast::base
