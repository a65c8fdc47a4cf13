#include "base/index_list.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <random>
#include <vector>

#include "support/seed.h"

namespace holdfast::base {
namespace {

template <class Link>
struct NodeOf {
  Link next_link{kNoLink};
  Link prev_link{kNoLink};
};
template <class Node>
struct LinksOf {
  static auto& next(Node& node) noexcept { return node.next_link; }
  static auto& prev(Node& node) noexcept { return node.prev_link; }
};

template <class Link>
class IndexListTest : public testing::Test {
 protected:
  using Node = NodeOf<Link>;
  using List = IndexList<Node, LinksOf<Node>>;
  std::vector<Node> nodes = std::vector<Node>(64);
  List list{std::span<Node>(nodes)};

  std::vector<std::uint32_t> content() {
    std::vector<std::uint32_t> out;
    for (std::uint32_t i = list.front(); i != kNoLink; i = list.after(i)) out.push_back(i);
    return out;
  }
};
using LinkTypes = testing::Types<std::uint32_t, std::atomic<std::uint32_t>>;
TYPED_TEST_SUITE(IndexListTest, LinkTypes);

TYPED_TEST(IndexListTest, a_new_list_is_empty) {
  EXPECT_TRUE(this->list.empty());
  EXPECT_EQ(this->list.pop_front(), kNoLink);
  EXPECT_TRUE(this->list.is_valid());
}

TYPED_TEST(IndexListTest, a_removed_node_has_no_links) {
  for (std::uint32_t i = 0; i < 3; ++i) this->list.push_back(i);
  this->list.remove(1);
  EXPECT_EQ(this->nodes[1].next_link, kNoLink);
  EXPECT_EQ(this->nodes[1].prev_link, kNoLink);
  EXPECT_EQ(this->content(), (std::vector<std::uint32_t>{0, 2}));
  EXPECT_EQ(this->list.before(2), 0u);
  EXPECT_EQ(this->list.back(), 2u);
}

#if defined(HOLDFAST_DEBUG)
TYPED_TEST(IndexListTest, pushing_a_linked_node_aborts) {
  this->list.push_back(4);
  EXPECT_DEATH(this->list.push_back(4), "kNoLink");
}
#endif

TYPED_TEST(IndexListTest, random_events_agree_with_a_deque) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::deque<std::uint32_t> model;
  for (int step = 0; step < 20000; ++step) {
    const auto index = static_cast<std::uint32_t>(random() % this->nodes.size());
    const auto found = std::find(model.begin(), model.end(), index);
    if (found != model.end()) {
      model.erase(found);
      this->list.remove(index);
    } else if (random() % 2 == 0) {
      model.push_front(index);
      this->list.push_front(index);
    } else {
      model.push_back(index);
      this->list.push_back(index);
    }
    if (random() % 4 == 0 && !model.empty()) {
      ASSERT_EQ(this->list.pop_front(), model.front());
      model.pop_front();
    }
    ASSERT_TRUE(this->list.is_valid());
    ASSERT_EQ(this->list.size(), model.size());
    ASSERT_EQ(this->content(), std::vector(model.begin(), model.end()));
  }
}

}  // namespace
}  // namespace holdfast::base
