// A frame pool on a fake machine, proved consistent and without leak when the test ends.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <vector>

#include "page/page.h"
#include "support/fake_machine.h"

namespace holdfast::tests {

class CountingSink final : public page::PressureSink {
 public:
  void wake() noexcept override { ++wakes; }
  std::atomic<int> wakes{0};
};

class PoolTest : public testing::Test {
 protected:
  void make(std::uint32_t frames, page::Watermarks watermarks = {}, bool call_sites = false) {
    auto result = page::FramePool::create(
        machine, {.frames = frames, .watermarks = watermarks, .record_call_sites = call_sites});
    ASSERT_TRUE(result) << result.error().message();
    pool = std::move(*result);
  }
  // A page with a caller's reference, put at the end of the test unless it is taken out of `pages`.
  page::Page* take_one(page::Priority priority) {
    page::Reservation reservation = pool->reserve(1, priority);
    if (reservation.size() == 0) return nullptr;
    pages.push_back(&reservation.take());
    return pages.back();
  }
  void TearDown() override {
    FakeMachine::this_cpu = -1;
    if (pool == nullptr) return;
    for (page::Page* page : pages) pool->put(*page, page::Holder::caller);
    pool->drain();
    EXPECT_TRUE(pool->check());
    pool.reset();
    EXPECT_EQ(machine.reserved_ranges(), 0u);
  }

  FakeMachine machine;
  std::unique_ptr<page::FramePool> pool;
  std::vector<page::Page*> pages;
};

}  // namespace holdfast::tests
