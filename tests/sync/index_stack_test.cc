#include "sync/index_stack.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "support/seed.h"

namespace holdfast::sync {
namespace {

struct Node {
  std::atomic<std::uint32_t> link{base::kNoLink};
  std::atomic<int> owners{0};  // > 1: two threads popped it
};
struct Links {
  static std::atomic<std::uint32_t>& next(Node& node) noexcept { return node.link; }
};
using Stack = IndexStack<Node, Links>;

TEST(IndexStack, last_in_is_first_out) {
  std::vector<Node> nodes(8);
  Stack stack;
  EXPECT_TRUE(stack.empty());
  EXPECT_EQ(stack.pop(nodes), base::kNoLink);
  for (std::uint32_t i = 0; i < 3; ++i) stack.push(nodes, i);
  EXPECT_EQ(stack.size(), 3u);
  EXPECT_EQ(stack.front(), 2u);
  for (std::uint32_t i = 3; i-- > 0;) {
    EXPECT_EQ(stack.pop(nodes), i);
    EXPECT_EQ(nodes[i].link, base::kNoLink);
  }
  EXPECT_TRUE(stack.empty());
}

TEST(IndexStack, a_chain_goes_in_and_out_at_once) {
  std::vector<Node> nodes(8);
  Stack stack;
  stack.push(nodes, 7);
  nodes[1].link = 2;
  nodes[2].link = 3;
  stack.push_chain(nodes, 1, 3, 3);
  EXPECT_EQ(stack.size(), 4u);
  std::vector<std::uint32_t> chain;
  for (std::uint32_t i = stack.take_all(); i != base::kNoLink; i = nodes[i].link)
    chain.push_back(i);
  stack.note_taken(4);
  EXPECT_EQ(chain, (std::vector<std::uint32_t>{1, 2, 3, 7}));
  EXPECT_TRUE(stack.empty());
  EXPECT_EQ(stack.size(), 0u);
}

// Few nodes and many threads: the same node is popped, pushed and popped again between another
// popper's load and its exchange all the time. A lost tag shows as a node with two owners.
void hammer(std::span<Node> nodes, std::array<Stack, 2>& stacks, std::uint64_t seed,
            std::atomic<bool>& doubled) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < 60000; ++i) {
    Stack& from = stacks[random() % 2];
    std::vector<std::uint32_t> mine;
    if (random() % 64 == 0) {
      for (std::uint32_t k = from.take_all(); k != base::kNoLink;) {
        const std::uint32_t next = nodes[k].link.exchange(base::kNoLink);
        mine.push_back(k);
        k = next;
      }
      from.note_taken(static_cast<std::uint32_t>(mine.size()));
    } else {
      for (auto n = random() % 3; n > 0; --n) {
        const std::uint32_t k = from.pop(nodes);
        if (k != base::kNoLink) mine.push_back(k);
      }
    }
    for (const std::uint32_t k : mine) {
      if (nodes[k].owners.fetch_add(1) != 0) doubled = true;
    }
    for (const std::uint32_t k : mine) {
      nodes[k].owners.fetch_sub(1);
      stacks[random() % 2].push(nodes, k);
    }
  }
}

TEST(IndexStack, threads_that_pop_and_push_the_same_few_nodes_never_share_one) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  constexpr std::uint32_t kNodes = 6;
  std::vector<Node> nodes(kNodes);
  std::array<Stack, 2> stacks;
  for (std::uint32_t i = 0; i < kNodes; ++i) stacks[0].push(nodes, i);
  std::atomic<bool> doubled{false};
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] { hammer(nodes, stacks, seed + t, doubled); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(doubled);
  EXPECT_EQ(stacks[0].size() + stacks[1].size(), kNodes);
  std::uint32_t found = 0;
  for (Stack& stack : stacks) {
    while (stack.pop(nodes) != base::kNoLink) ++found;
  }
  EXPECT_EQ(found, kNodes);
}

}  // namespace
}  // namespace holdfast::sync
