#include "holdfast/region.h"

#include <gtest/gtest.h>

#include <utility>

#include "engine/fake_engine.h"

namespace holdfast {
namespace {

using engine::test::FakeControl;

TEST(Region, an_empty_region_refuses_everything_by_name) {
  Region region;
  EXPECT_FALSE(region);
  EXPECT_EQ(region.data(), nullptr);
  EXPECT_EQ(region.size(), 0u);
  EXPECT_EQ(region.resize(1).error().code, Errc::not_mapped);
  EXPECT_EQ(region.advise(0, 1, Advice::cold).error().code, Errc::not_mapped);
  EXPECT_EQ(region.prefetch(0, 1).error().code, Errc::not_mapped);
  EXPECT_EQ(region.unmap().error().code, Errc::not_mapped);
}

TEST(Region, it_is_unmapped_once_however_often_it_moves) {
  FakeControl control(kPageSize);
  {
    Region first(&control);
    Region second(std::move(first));
    Region third;
    third = std::move(second);
    EXPECT_FALSE(second);
    EXPECT_EQ(third.data(), control.base());
    EXPECT_EQ(control.unmapped, 0);
  }
  EXPECT_EQ(control.unmapped, 1);
}

TEST(Region, assigning_over_a_region_unmaps_it) {
  FakeControl one(kPageSize), two(kPageSize);
  Region region(&one);
  region = Region(&two);
  EXPECT_EQ(one.unmapped, 1);
  EXPECT_EQ(two.unmapped, 0);
}

TEST(Region, a_second_unmap_is_an_error) {
  FakeControl control(kPageSize);
  Region region(&control);
  EXPECT_TRUE(region.unmap());
  EXPECT_EQ(region.unmap().error().code, Errc::not_mapped);
  EXPECT_EQ(control.unmapped, 1);
}

TEST(Region, errors_of_the_engine_pass_through) {
  FakeControl control(kPageSize);
  Region region(&control);
  EXPECT_EQ(region.resize(0).error().code, Errc::invalid_argument);
  EXPECT_TRUE(region.resize(2 * kPageSize));
  EXPECT_EQ(region.size(), 2 * kPageSize);
  EXPECT_EQ(region.prefetch(0, 2 * kPageSize), 2u);
}

}  // namespace
}  // namespace holdfast
