// Pages of one repeated 64-bit word, told apart in a few loads, and the packing of such a word into
// the 56 bits that a page-table entry has to spare.
//
// A word packs if it is one of: small (high 8 bits zero), small negative (high 8 bits ones), low 8
// bits zero (most floating-point constants), or one 32-bit word twice. Other words are rare; their
// pages take a slot like any other page.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

namespace holdfast::base {

// The word that fills the page, if there is one. page: kPageSize bytes, 8-byte aligned.
[[nodiscard]] std::optional<std::uint64_t> repeated_word(const std::byte* page) noexcept;

// The word in 58 bits (2 of kind, 56 of value), if it packs. unpack_word(*pack_word(w)) == w.
[[nodiscard]] std::optional<std::uint64_t> pack_word(std::uint64_t word) noexcept;
[[nodiscard]] std::uint64_t unpack_word(std::uint64_t packed) noexcept;

// Fills kPageSize bytes at `page` with the word. page: 8-byte aligned.
void fill_page(std::byte* page, std::uint64_t word) noexcept;

}  // namespace holdfast::base
