// Counted references: the last one frees, whichever it is.
#include "base/counted.h"

#include <gtest/gtest.h>

#include <thread>
#include <utility>
#include <vector>

namespace holdfast::base::test {
namespace {

class Thing final : public Counted {
 public:
  explicit Thing(int& alive) noexcept : alive_(alive) { ++alive_; }
  ~Thing() { --alive_; }

 private:
  int& alive_;
};

TEST(CountedRef, TheLastOneFreesTheObject) {
  int alive = 0;
  CountedRef<Thing> first(new Thing(alive));
  CountedRef<Thing> second = first;
  EXPECT_EQ(first, second);
  first.reset();
  EXPECT_EQ(alive, 1);
  EXPECT_FALSE(first);
  second = CountedRef<Thing>();
  EXPECT_EQ(alive, 0);
}

TEST(CountedRef, AMoveTakesTheReferenceAlong) {
  int alive = 0;
  CountedRef<Thing> first(new Thing(alive));
  const CountedRef<Thing> second = std::move(first);
  first.reset();
  EXPECT_EQ(alive, 1);
  EXPECT_TRUE(second);
}

TEST(CountedRef, AssignedToItselfItStays) {
  int alive = 0;
  CountedRef<Thing> one(new Thing(alive));
  const CountedRef<Thing>& same = one;
  one = same;
  EXPECT_EQ(alive, 1);
}

TEST(CountedRef, ThreadsMayTakeAndPutAtOnce) {
  int alive = 0;
  {
    const CountedRef<Thing> one(new Thing(alive));
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&one] {
        for (int round = 0; round < 10000; ++round) const CountedRef<Thing> own = one;
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(alive, 1);
  }
  EXPECT_EQ(alive, 0);
}

}  // namespace
}  // namespace holdfast::base::test
