#include "base/check.h"

#include <gtest/gtest.h>

#include <string>

#include "base/base.h"

namespace holdfast::base {
namespace {

Expected<int> half(int number) {
  if (number % 2 != 0) {
    return fail({.code = Errc::invalid_argument,
                 .what = "number",
                 .value = static_cast<std::uint64_t>(number)});
  }
  return number / 2;
}
Expected<int> quarter(int number) {
  const int once = TRY(half(number));
  return TRY(half(once));
}
Expected<void> check_even(int number) {
  TRY_VOID(half(number));
  return {};
}

TEST(Check, a_true_condition_is_silent) {
  HF_CHECK(1 + 1 == 2);
  HF_CHECK2(true, 1, 2);
}

TEST(Check, a_failure_names_place_expression_and_numbers) {
  const int apples = 3;
  EXPECT_DEATH(HF_CHECK2(apples == 4, apples, 18),
               "check failed: .*check_test.cc:[0-9]+: apples == 4 \\(3, 18\\)");
}

TEST(Check, a_dcheck_fails_in_debug_builds_only) {
  if (kHoldfastDebug) {
    EXPECT_DEATH(HF_DCHECK(1 == 2), "1 == 2");
  } else {
    int evaluated = 0;
    HF_DCHECK(++evaluated == 2);
    EXPECT_EQ(evaluated, 0);
  }
}

TEST(Check, a_line_that_is_too_long_is_cut_and_ended) {
  const std::string expression(2000, 'e');
  EXPECT_DEATH(check_failed("file", 1, expression.c_str(), 0, 0), "eeee\n");
}

TEST(Try, the_first_error_is_returned) {
  EXPECT_EQ(*quarter(12), 3);
  EXPECT_EQ(quarter(7).error().value, 7u);
  EXPECT_EQ(quarter(6).error().value, 3u);
  EXPECT_TRUE(check_even(2));
  EXPECT_FALSE(check_even(3));
}

TEST(Units, pages_are_counted_up) {
  EXPECT_EQ(pages_for(0), PageCount(0));
  EXPECT_EQ(pages_for(1), PageCount(1));
  EXPECT_EQ(pages_for(4096), PageCount(1));
  EXPECT_EQ(pages_for(4097), PageCount(2));
  EXPECT_EQ(pages_for(~0ULL), PageCount(1ULL << 52));
  EXPECT_EQ(PageCount(3).bytes(), 12288u);
}

TEST(Units, an_id_is_none_until_it_is_given) {
  EXPECT_TRUE(FrameIndex().is_none());
  EXPECT_FALSE(FrameIndex(0).is_none());
  EXPECT_EQ(FrameIndex::none(), FrameIndex());
  EXPECT_LT(FrameIndex(1), FrameIndex(2));
}

}  // namespace
}  // namespace holdfast::base
