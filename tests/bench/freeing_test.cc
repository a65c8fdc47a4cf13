// The three protocols that holdfast-bench free measures are real: interrupts free their pages while
// they add, age and scan, and not a page is lost.
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <ctime>
#include <memory>
#include <type_traits>
#include <vector>

#include "freeing/one_reference.h"
#include "freeing/two_references.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kFreesByInterrupt = 20'000;
constexpr std::uint32_t kFrames = 4096;

// A page that a transfer holds: the interrupt takes it from here and drops its reference.
std::atomic<page::Page*> in_flight{nullptr};
std::atomic<void (*)(page::Page&)> put_in_interrupt{nullptr};
std::uint64_t freed_by_interrupt = 0;  // touched by the handler and the thread that it interrupts

void on_signal(int) {
  page::Page* const page = in_flight.exchange(nullptr);
  if (page == nullptr) return;
  put_in_interrupt.load()(*page);
  ++freed_by_interrupt;
}

// Interrupts this process every few microseconds until it goes out of scope.
class Storm {
 public:
  Storm() {
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR1, &action, &before_);
    struct sigevent event = {};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer_), 0);
    const struct itimerspec often = {.it_interval = {0, kEvery}, .it_value = {0, kEvery}};
    EXPECT_EQ(timer_settime(timer_, 0, &often, nullptr), 0);
  }
  ~Storm() {
    timer_delete(timer_);
    sigaction(SIGUSR1, &before_, nullptr);
  }
  Storm(const Storm&) = delete;
  Storm& operator=(const Storm&) = delete;

 private:
  static constexpr long kEvery = 20'000;  // nanoseconds
  struct sigaction before_ = {};
  timer_t timer_ = {};
};

template <class Protocol>
class Freeing : public testing::Test {
 protected:
  void SetUp() override {
    auto pool = page::FramePool::create(sys::real_machine(), {.frames = kFrames});
    ASSERT_TRUE(pool) << pool.error().message();
    pool_ = std::move(*pool);
    protocol_ = std::make_unique<Protocol>(*pool_);
    current = protocol_.get();
    freed_by_interrupt = 0;
    put_in_interrupt = [](page::Page& page) { current->put(page); };
  }
  // One page on its way: allocated, on the LRU, in the hands of a transfer.
  void start_transfer() {
    page::Page* const page = protocol_->allocate();
    if (page != nullptr) {
      protocol_->add(*page);
      young_.push_back(pool_->index_of(*page));
      page::Page* const left = in_flight.exchange(page);
      if (left != nullptr) protocol_->put(*left);  // no interrupt came for it
    }
    if (page == nullptr || young_.size() == 64) settle();
  }
  void settle() {
    protocol_->age(young_);
    young_.clear();
    protocol_->scan(static_cast<std::uint32_t>(protocol_->listed()));
  }

  static inline Protocol* current = nullptr;
  std::unique_ptr<page::FramePool> pool_;
  std::unique_ptr<Protocol> protocol_;
  std::vector<FrameIndex> young_;
};

using Protocols = testing::Types<Linux24Lru, IrqSafeLru, TwoReferences>;
TYPED_TEST_SUITE(Freeing, Protocols);

TYPED_TEST(Freeing, loses_no_page_when_interrupts_free_at_any_moment) {
  {
    Storm storm;
    while (std::atomic_ref(freed_by_interrupt).load() < kFreesByInterrupt) this->start_transfer();
  }
  if (page::Page* const left = in_flight.exchange(nullptr)) this->protocol_->put(*left);
  this->settle();
  if constexpr (std::is_same_v<TypeParam, Linux24Lru>) {
    EXPECT_GT(this->protocol_->put_off(), 0u) << "no interrupt met the special case";
  }
  EXPECT_EQ(this->protocol_->listed(), 0u);
  const page::FrameCounts counts = this->pool_->counts();
  EXPECT_EQ(counts.free, counts.total);
  EXPECT_TRUE(this->pool_->check());
}

TYPED_TEST(Freeing, scan_spares_a_page_that_somebody_holds) {
  page::Page* const kept = this->protocol_->allocate();
  ASSERT_NE(kept, nullptr);
  this->protocol_->add(*kept);
  this->young_.push_back(this->pool_->index_of(*kept));
  this->settle();
  this->settle();
  EXPECT_EQ(this->protocol_->listed(), 1u);
  EXPECT_EQ(this->pool_->counts().used, 1u);
  this->protocol_->put(*kept);
  this->settle();
  EXPECT_EQ(this->protocol_->listed(), 0u);
  EXPECT_EQ(this->pool_->counts().used, 0u);
}

}  // namespace
}  // namespace holdfast::bench
