#include "run/spinning_mutex.h"

#include <gtest/gtest.h>

#include <mutex>
#include <thread>

namespace holdfast::run::test {
namespace {

TEST(SpinningMutex, lets_one_in_at_a_time) {
  constexpr int kTimes = 200'000;
  SpinningMutex mutex;
  long counted = 0;  // by two threads, and not atomic
  const auto count = [&] {
    for (int i = 0; i < kTimes; ++i) {
      const std::lock_guard lock(mutex);
      ++counted;
    }
  };
  std::thread other(count);
  count();
  other.join();
  EXPECT_EQ(counted, 2L * kTimes);
}

}  // namespace
}  // namespace holdfast::run::test
