#include "examples/kv/pattern.h"

#include <fnmatch.h>
#include <gtest/gtest.h>

#include <random>
#include <string>

#include "support/seed.h"

namespace kv {
namespace {

TEST(KvPattern, the_forms_of_the_manual_match_what_it_says) {
  EXPECT_TRUE(glob_match("h?llo", "hello"));
  EXPECT_FALSE(glob_match("h?llo", "hllo"));
  EXPECT_TRUE(glob_match("h*llo", "heeeello"));
  EXPECT_TRUE(glob_match("h[ae]llo", "hallo"));
  EXPECT_FALSE(glob_match("h[ae]llo", "hillo"));
  EXPECT_TRUE(glob_match("h[^e]llo", "hbllo"));
  EXPECT_FALSE(glob_match("h[^e]llo", "hello"));
  EXPECT_TRUE(glob_match("h[a-b]llo", "hbllo"));
  EXPECT_TRUE(glob_match("h[b-a]llo", "hbllo"));
  EXPECT_TRUE(glob_match("a\\*b", "a*b"));
  EXPECT_FALSE(glob_match("a\\*b", "axb"));
  EXPECT_TRUE(glob_match("[\\]]", "]"));
  EXPECT_TRUE(glob_match("*", ""));
  EXPECT_FALSE(glob_match("", "a"));
  EXPECT_TRUE(glob_match("", ""));
}

TEST(KvPattern, what_is_not_closed_does_no_harm) {
  for (const char* pattern : {"[", "[^", "[a", "[a-", "\\", "a\\", "*[", "[\\"}) {
    (void)glob_match(pattern, "a");
    (void)glob_match(pattern, "");
  }
  EXPECT_TRUE(glob_match("[a", "a"));
}

TEST(KvPattern, many_stars_take_no_time) {
  const std::string text(50'000, 'a');
  EXPECT_FALSE(glob_match("*a*a*a*a*a*a*a*a*a*b", text));
}

TEST(KvPattern, it_agrees_with_fnmatch) {
  const std::uint64_t seed = holdfast::tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  const char* const pieces[] = {"a", "b", "?", "*", "[ab]", "[a-c]", "\\*", "c"};
  int matched = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string pattern;
    for (std::size_t i = random() % 6; i > 0; --i) pattern += pieces[random() % 8];
    std::string text;
    for (std::size_t i = random() % 6; i > 0; --i) text += "abc*"[random() % 4];
    const bool expected = fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
    matched += expected;
    ASSERT_EQ(glob_match(pattern, text), expected) << pattern << " against " << text;
  }
  EXPECT_GT(matched, 500);
}

}  // namespace
}  // namespace kv
