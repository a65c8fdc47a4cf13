#include "cli/size.h"

#include <gtest/gtest.h>

namespace holdfast::cli {
namespace {

TEST(Size, units_are_powers_of_1024) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("4096"), 4096u);
  EXPECT_EQ(parse_size("1K"), 1024u);
  EXPECT_EQ(parse_size("64M"), 64u << 20);
  EXPECT_EQ(parse_size("2G"), 2ull << 30);
  EXPECT_EQ(parse_size("3T"), 3ull << 40);
}

TEST(Size, the_usual_spellings_are_understood) {
  EXPECT_EQ(parse_size("7b"), 7u);
  EXPECT_EQ(parse_size("64m"), 64u << 20);
  EXPECT_EQ(parse_size("64MB"), 64u << 20);
  EXPECT_EQ(parse_size("64MiB"), 64u << 20);
}

TEST(Size, what_is_no_size_is_named_with_the_remedy) {
  for (const char* text :
       {"", "M", "lots", "-1", "+1", "1.5G", "12X", "12MM", "12Mi", " 1", "1 M"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_NE(size.error().find("'" + std::string(text) + "'"), std::string::npos) << size.error();
    EXPECT_NE(size.error().find("as in 512M"), std::string::npos) << size.error();
  }
}

TEST(Size, what_overflows_is_too_large) {
  EXPECT_EQ(parse_size("18446744073709551615"), ~std::uint64_t{0});
  for (const char* text : {"18446744073709551616", "16777216T", "99999999999999999999G"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size.has_value()) << text;
    EXPECT_NE(size.error().find("too large"), std::string::npos) << size.error();
  }
}

TEST(Size, limits_are_named) {
  const SizeLimits limits{8 << 20, 1ull << 30};
  EXPECT_EQ(parse_size("8M", limits), 8u << 20);
  EXPECT_EQ(parse_size("1G", limits), 1u << 30);
  EXPECT_EQ(parse_size("8191K", limits).error(),
            "'8191K' is too small: the least is 8M; give a larger size");
  EXPECT_EQ(parse_size("1073741825", limits).error(),
            "'1073741825' is too large: the most is 1G; give a smaller size");
}

TEST(Size, text_uses_the_largest_unit_without_a_rest) {
  EXPECT_EQ(size_text(0), "0");
  EXPECT_EQ(size_text(1000), "1000");
  EXPECT_EQ(size_text(1536), "1536");
  EXPECT_EQ(size_text(64ull << 20), "64M");
  EXPECT_EQ(size_text(2048ull << 40), "2048T");
}

}  // namespace
}  // namespace holdfast::cli
