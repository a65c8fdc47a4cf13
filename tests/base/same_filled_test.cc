#include "base/same_filled.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>
#include <random>
#include <vector>

#include "base/base.h"
#include "support/seed.h"

namespace holdfast::base {
namespace {

struct alignas(4096) PageBuffer {
  std::array<std::byte, kPageSize> bytes{};
};

// Words at the edges of every kind of packing, and their neighbours.
std::vector<std::uint64_t> interesting_words() {
  std::vector<std::uint64_t> words;
  for (unsigned bit = 0; bit < 64; ++bit) {
    const std::uint64_t power = std::uint64_t{1} << bit;
    for (const std::uint64_t word : {power, power - 1, power + 1, ~power, -power}) {
      words.push_back(word);
    }
    for (unsigned other = 0; other < bit; ++other) {
      words.push_back(power | std::uint64_t{1} << other);
      words.push_back(~(power | std::uint64_t{1} << other));
    }
  }
  for (std::uint64_t byte = 0; byte < 256; ++byte) {
    words.push_back(byte * 0x0101010101010101U);
    words.push_back(byte << 56);
    words.push_back(byte << 56 | 1);
  }
  return words;
}

bool should_pack(std::uint64_t word) {
  return word >> 56 == 0 || word >> 56 == 0xff || (word & 0xff) == 0 ||
         word >> 32 == (word & 0xffffffffU);
}

TEST(SameFilled, a_packed_word_is_below_58_bits_and_comes_back) {
  for (const std::uint64_t word : interesting_words()) {
    const auto packed = pack_word(word);
    ASSERT_EQ(packed.has_value(), should_pack(word)) << std::hex << word;
    if (!packed) continue;
    EXPECT_EQ(*packed >> 58, 0u);
    EXPECT_EQ(unpack_word(*packed), word) << std::hex << word;
  }
}

TEST(SameFilled, random_words_of_every_kind_come_back) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (int i = 0; i < 200000; ++i) {
    std::uint64_t word = random();
    switch (i % 5) {
      case 0:
        word >>= 8;
        break;
      case 1:
        word |= std::uint64_t{0xff} << 56;
        break;
      case 2:
        word <<= 8;
        break;
      case 3:
        word = (word & 0xffffffffU) * 0x100000001U;
        break;
      default:
        break;
    }
    const auto packed = pack_word(word);
    ASSERT_EQ(packed.has_value(), should_pack(word)) << std::hex << word;
    if (packed) {
      ASSERT_EQ(unpack_word(*packed), word) << std::hex << word;
    }
  }
}

TEST(SameFilled, common_constants_pack) {
  EXPECT_TRUE(pack_word(0));
  EXPECT_TRUE(pack_word(~0ULL));
  EXPECT_TRUE(pack_word(std::bit_cast<std::uint64_t>(1.0)));
  EXPECT_TRUE(pack_word(0xdeadbeefdeadbeefU));
  EXPECT_FALSE(pack_word(0x123456789abcdef1U));
}

TEST(SameFilled, a_filled_page_is_recognised) {
  PageBuffer page;
  for (const std::uint64_t word : {std::uint64_t{0}, ~std::uint64_t{0}, std::uint64_t{0x1234}}) {
    fill_page(page.bytes.data(), word);
    EXPECT_EQ(repeated_word(page.bytes.data()), word);
  }
}

TEST(SameFilled, one_differing_byte_anywhere_is_seen) {
  PageBuffer page;
  fill_page(page.bytes.data(), 0x4242424242424242U);
  for (std::byte& byte : page.bytes) {
    byte ^= std::byte{1};
    ASSERT_EQ(repeated_word(page.bytes.data()), std::nullopt) << &byte - page.bytes.data();
    byte ^= std::byte{1};
  }
  EXPECT_TRUE(repeated_word(page.bytes.data()));
}

TEST(Hash, every_byte_of_the_page_counts) {
  PageBuffer page;
  const Hash128 zero = hash_page(page.bytes.data());
  EXPECT_EQ(zero, hash_page(page.bytes.data()));
  for (std::byte& byte : page.bytes) {
    byte = std::byte{1};
    ASSERT_NE(hash_page(page.bytes.data()), zero);
    byte = std::byte{0};
  }
}

}  // namespace
}  // namespace holdfast::base
