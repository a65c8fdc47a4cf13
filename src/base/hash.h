// The 128-bit hash of a page, by which a clean page is told from a changed one and a damaged slot
// from a sound one. XXH3-128 (xxHash 0.8): about 0.2 us a page. Not cryptographic: it guards
// against accidents, not against somebody who can write to the swap file (mode 0600, unlinked).
#pragma once

#include <cstddef>
#include <cstdint>

namespace holdfast::base {

struct Hash128 {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend constexpr bool operator==(const Hash128&, const Hash128&) noexcept = default;
};

// The hash of kPageSize bytes at `page`. Any context.
[[nodiscard]] Hash128 hash_page(const std::byte* page) noexcept;

// The hash of `size` bytes at `data`: checksums of what is written to files. Any context.
[[nodiscard]] Hash128 hash_bytes(const void* data, std::size_t size) noexcept;

}  // namespace holdfast::base
