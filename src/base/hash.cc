#include "base/hash.h"

#include <xxh_x86dispatch.h>

#include "base/units.h"

namespace holdfast::base {

Hash128 hash_bytes(const void* data, std::size_t size) noexcept {
  // The library picks SSE2, AVX2 or AVX-512 once, by cpuid: no allocation, no lock.
  const XXH128_hash_t hash = XXH3_128bits_dispatch(data, size);
  return {hash.low64, hash.high64};
}

Hash128 hash_page(const std::byte* page) noexcept { return hash_bytes(page, kPageSize); }

}  // namespace holdfast::base
