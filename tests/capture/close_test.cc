// Close against DMA: the capture is closed at random points of streaming, under memory pressure and
// while the ring is being cloned and snapshots of it are taken. What has landed in the ring is what
// was sent, nothing lands afterwards, and no page is held.
#include <gtest/gtest.h>

#include <random>

#include "capture/real_capture.h"
#include "support/seed.h"

namespace holdfast::capture::test {
namespace {

constexpr std::uint64_t kBuffers = 12;
constexpr std::byte kUntouched{0xee};

class Close : public CaptureTest {
 protected:
  void SetUp() override {
    CaptureTest::SetUp();
    pressure = map(*engine, 2 * kBudget);
  }

  // Touches some pages of a region that does not fit: others have to leave for them.
  void press() {
    const std::uint64_t pages = pressure.size() / kPageSize;
    for (int i = 0; i < 64; ++i) {
      page_at(pressure, random() % pages)[0] = static_cast<std::byte>(i);
    }
  }
  // Whoever copies the ring gets what is there now; what is in flight goes on to the ring.
  void copy_the_ring() {
    if (random() % 2 == 0) {
      auto made = engine->clone(ring);
      ASSERT_TRUE(made) << made.error().message();
      clone = std::move(*made);
      page_at(clone, random() % (clone.size() / kPageSize))[0] = std::byte{0x77};
    } else {
      auto made = engine->snapshot(ring);
      ASSERT_TRUE(made) << made.error().message();
      snapshot = std::move(*made);
    }
  }
  void take_some_frames(std::uint64_t count) {
    for (; count > 0; --count) {
      const auto frame = capture->dequeue(10'000'000'000);
      ASSERT_TRUE(frame) << frame.error().message();
      ASSERT_TRUE(*frame);
      EXPECT_EQ((*frame)->sequence, taken);
      ASSERT_TRUE(is_frame((*frame)->data, taken++));
      std::ranges::fill((*frame)->data, kUntouched);
      order.push_back((*frame)->cookie);
      queue((*frame)->cookie);
      if (random() % 4 == 0) press();
      if (random() % 8 == 0) copy_the_ring();
    }
  }
  // The buffers that were at the capture when it was closed, in the order in which they were to be
  // filled: frames, then part of one, then nothing.
  void check_landed() const {
    bool ended = false;
    for (std::uint64_t i = taken; i < order.size(); ++i) {
      const std::span<std::byte> buffer = slot(order[i]).first(kFrame);
      const std::vector<std::byte> frame = make_frame(i);
      std::uint64_t landed = 0;
      while (landed < kFrame && buffer[landed] == frame[landed]) ++landed;
      if (ended) {
        ASSERT_EQ(landed, 0u) << "frame " << i << " though one before is not whole";
      }
      ended = landed < kFrame;
      for (std::uint64_t b = landed; b < kFrame; ++b) ASSERT_EQ(buffer[b], kUntouched) << i;
    }
  }
  void run_once() {
    TwoEnds pipe = make_pipe();
    CaptureOptions options = raw_options();
    options.close_grace_ns = random() % 2 == 0 ? 1 : 100'000;
    open(std::move(pipe.read), options);
    taken = 0;
    order.clear();
    const Sender sender(std::move(pipe.write), 1'000'000);
    for (std::uint64_t i = 0; i < kBuffers; ++i) {
      std::ranges::fill(slot(i), kUntouched);
      order.push_back(i);
      queue(i);
    }
    stream_on();
    take_some_frames(random() % 16);
    for (std::uint64_t spin = random() % 20'000; spin > 0; --spin) __builtin_ia32_pause();
    if (random() % 8 == 0) (void)engine->reclaim(512);
    ASSERT_TRUE(capture->close());
    EXPECT_EQ(engine->stats().pins, 0u);
    check_landed();
    capture.reset();
  }

  std::mt19937_64 random;
  Region pressure;
  Region clone;
  Snapshot snapshot;
  std::uint64_t taken = 0;
  std::vector<std::uint64_t> order;  // of the buffers, as they were queued
};

TEST_F(Close, at_any_moment_leaves_what_was_sent_and_holds_no_page) {
  const std::uint64_t rounds = tests::seed_count(1000);
  for (std::uint64_t round = 0; round < rounds && !HasFatalFailure(); ++round) {
    const std::uint64_t seed = tests::test_seed();
    HF_SEED_TRACE(seed);
    random.seed(seed);
    run_once();
    if (round % 100 == 0) {
      EXPECT_TRUE(all_is_well(*engine));
    }
  }
}

}  // namespace
}  // namespace holdfast::capture::test
