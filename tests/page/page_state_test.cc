#include "page/page_state.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "page/page.h"

namespace holdfast::page {
namespace {

using enum PageState;

// The drawing in page_state.h, arrow by arrow.
const std::set<std::pair<PageState, PageState>> kDrawn = {
    {free, held},          {free, charged},     {charged, free},     {held, resident},
    {held, free},          {held, warm},        {warm, held},        {warm, free},
    {held, cached},        {resident, cached},  {resident, orphan},  {cached, resident},
    {cached, writeback},   {cached, orphan},    {cached, warm},      {cached, free},
    {writeback, resident}, {writeback, cached}, {writeback, orphan}, {writeback, warm},
    {writeback, free},     {orphan, warm},      {orphan, free},
};

// Legal steps from `free` to each state.
std::vector<PageState> path_to(PageState state) {
  switch (state) {
    case free:
      return {};
    case held:
      return {held};
    case resident:
      return {held, resident};
    case cached:
      return {held, resident, cached};
    case writeback:
      return {held, resident, cached, writeback};
    case orphan:
      return {held, resident, orphan};
    case warm:
      return {held, warm};
    case charged:
      return {charged};
  }
  return {};
}

void bring(Page& page, PageState state) {
  for (const PageState step : path_to(state)) page.to(step);
}

class EveryPair : public testing::TestWithParam<int> {};

TEST_P(EveryPair, is_legal_exactly_if_the_drawing_has_the_arrow) {
  const auto from = static_cast<PageState>(GetParam());
  for (int i = 0; i < kPageStates; ++i) {
    const auto next = static_cast<PageState>(i);
    SCOPED_TRACE(std::string(name(from)) + " -> " + name(next));
    const bool drawn = kDrawn.contains({from, next});
    EXPECT_EQ(is_legal(from, next), drawn);
    Page page;
    bring(page, from);
    ASSERT_EQ(page.state(), from);
    if (drawn) {
      page.to(next);
      EXPECT_EQ(page.state(), next);
    } else {
      const std::string line = std::string("page state: ") + name(from) + " -> " + name(next);
      EXPECT_DEATH(page.to(next), line);
    }
  }
}
INSTANTIATE_TEST_SUITE_P(PageState, EveryPair, testing::Range(0, kPageStates),
                         [](const auto& test) {
                           return std::string("from_") + name(static_cast<PageState>(test.param));
                         });

TEST(PageState, a_change_of_state_leaves_everything_else_alone) {
  Page page;
  page.set_lru_list(LruList::active);
  page.set_order(9);
  page.set_home_memory(true);
  page.set_pool_window(0xabcde);
  page.set_owner({RegionId(0xfffe), PageIndex((1ULL << 48) - 1)});
  page.set_slot(SlotIndex(123));
  bring(page, writeback);
  EXPECT_EQ(page.lru_list(), LruList::active);
  EXPECT_EQ(page.order(), 9u);
  EXPECT_TRUE(page.has_home_memory());
  EXPECT_EQ(page.pool_window(), 0xabcdeu);
  EXPECT_EQ(page.owner(), (Owner{RegionId(0xfffe), PageIndex((1ULL << 48) - 1)}));
  EXPECT_EQ(page.slot(), SlotIndex(123));
}

TEST(PageState, each_field_of_the_word_is_its_own) {
  Page page;
  page.set_pool_window(Page::kNoPoolWindow);
  page.set_order(0);
  page.set_lru_list(LruList::inactive);
  EXPECT_EQ(page.order(), 0u);
  EXPECT_FALSE(page.has_home_memory());
  EXPECT_EQ(page.state(), free);
  page.set_home_memory(true);
  page.set_home_memory(false);
  page.set_pool_window(0);
  EXPECT_EQ(page.lru_list(), LruList::inactive);
  EXPECT_EQ(page.pool_window(), 0u);
  EXPECT_TRUE(page.owner().is_none());
}

}  // namespace
}  // namespace holdfast::page
