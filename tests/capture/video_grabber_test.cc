// A Video4Linux device by its user's memory: a driver of ours, and real transfers into real pages.
#include "capture/video_grabber.h"

#include <gtest/gtest.h>

#include <random>

#include "capture/video_driver.h"
#include "support/seed.h"

namespace holdfast::capture::test {
namespace {

class Video : public CaptureTest {
 protected:
  void SetUp() override {
    CaptureTest::SetUp();
    if (const int error = VideoDriver().ring_error(); error != 0) {
      GTEST_SKIP() << "io_uring, which stands for the device, is refused: errno " << -error;
    }
    pressure = map(*engine, 2 * kBudget);
  }

  Expected<void> open_device(const DriverSettings& settings = {},
                             const CaptureOptions& options = {}) {
    auto made = std::make_unique<VideoDriver>(settings);
    driver = made.get();
    auto grabber = VideoGrabber::create(sys::real_machine(), *engine, std::move(made), options);
    if (!grabber) return std::unexpected(grabber.error());
    capture = std::move(*grabber);
    return {};
  }
  // A device that streams into buffers 0, 1, ...
  void stream_into(std::uint64_t buffers) {
    const auto opened = open_device();
    ASSERT_TRUE(opened) << opened.error().message();
    for (std::uint64_t i = 0; i < buffers; ++i) queue(i);
    stream_on();
  }
  void expect_frame(std::uint64_t number, std::uint64_t sequence) {
    const auto frame = capture->dequeue();
    ASSERT_TRUE(frame) << frame.error().message();
    ASSERT_TRUE(*frame);
    EXPECT_EQ((*frame)->sequence, sequence);
    EXPECT_TRUE(is_frame((*frame)->data, number)) << "frame " << number;
    last_cookie = (*frame)->cookie;
  }
  void make_everything_leave() {
    for (std::uint64_t page = 0; page < pressure.size() / kPageSize; ++page) {
      page_at(pressure, page)[0] = std::byte{1};
    }
  }

  Region pressure;
  VideoDriver* driver = nullptr;
  std::uint64_t last_cookie = 0;
};

TEST_F(Video, frames_land_in_the_buffers_in_their_order) {
  stream_into(4);
  driver->give(4);
  for (std::uint64_t i = 0; i < 4; ++i) {
    expect_frame(i, i);
    EXPECT_EQ(last_cookie, i);
  }
  EXPECT_EQ(capture->stats().frames, 4u);
  EXPECT_EQ(capture->stats().dropped, 0u);
}

// The driver does not look again at a buffer of the same address.
TEST_F(Video, frames_land_where_their_owner_looks_though_all_else_leaves_in_between) {
  stream_into(2);
  for (std::uint64_t i = 0; i < 20; ++i) {
    driver->give(1);
    expect_frame(i, i);
    make_everything_leave();
    queue(last_cookie);
  }
}

// ... nor after it has refused another one.
TEST_F(Video, frames_land_where_their_owner_looks_though_another_buffer_was_refused) {
  CaptureOptions options;
  options.buffers_max = 1;
  ASSERT_TRUE(open_device({}, options));
  queue(0);
  stream_on();
  driver->give(1);
  expect_frame(0, 0);
  driver->refuse_next();
  const auto refused = capture->queue(slot(1), 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().os_errno, EIO);
  make_everything_leave();
  queue(0);
  driver->give(1);
  expect_frame(1, 1);
}

TEST_F(Video, more_buffers_than_the_driver_has_numbers_take_turns) {
  stream_into(8);
  for (std::uint64_t i = 0; i < 40; ++i) {
    driver->give(1);
    expect_frame(i, i);
    if (i % 8 == 0) make_everything_leave();
    queue((last_cookie + 8) % 24);
  }
  EXPECT_LE(engine->stats().pins, 8 * (kSlot / kPageSize + 1))
      << "no more than one for each number";
}

TEST_F(Video, a_frame_that_is_not_whole_is_counted_and_its_buffer_filled_anew) {
  stream_into(1);
  driver->spoil_next();
  driver->give(2);
  expect_frame(0, 1);
  EXPECT_EQ(capture->stats().damaged, 1u);
  EXPECT_EQ(capture->stats().frames, 1u);
}

TEST_F(Video, frames_that_the_driver_had_no_buffer_for_are_counted_as_dropped) {
  stream_into(2);
  driver->give(1);
  expect_frame(0, 0);
  driver->miss(3);
  driver->give(1);
  expect_frame(1, 4);
  EXPECT_EQ(capture->stats().dropped, 3u);
}

TEST_F(Video, off_keeps_done_frames_and_buffers_and_on_goes_on_with_them) {
  stream_into(3);
  driver->give(1);
  expect_frame(0, 0);
  ASSERT_TRUE(capture->stream_off());
  EXPECT_EQ(capture->dequeue().error().code, Errc::busy);
  EXPECT_EQ(capture->stats().queued, 2u);
  queue(0);  // while it is off
  stream_on();
  driver->give(3);
  for (std::uint64_t i = 1; i < 4; ++i) expect_frame(i, i);
  EXPECT_EQ(last_cookie, 0u) << "the one that was queued last";
}

TEST_F(Video, a_waiting_dequeue_ends_when_the_capture_is_closed) {
  stream_into(2);
  std::atomic<bool> waits{false};
  std::thread waiter([&] {
    waits.store(true);
    const auto frame = capture->dequeue();
    ASSERT_FALSE(frame);
    EXPECT_EQ(frame.error().code, Errc::busy);
  });
  while (!waits.load()) std::this_thread::yield();
  ASSERT_TRUE(capture->close());
  waiter.join();
  EXPECT_EQ(engine->stats().pins, 0u);
  EXPECT_TRUE(capture->close()) << "twice is harmless";
  EXPECT_EQ(capture->queue(slot(0), 0).error().code, Errc::busy);
}

TEST_F(Video, a_device_that_is_unplugged_ends_the_stream_after_its_frames) {
  stream_into(3);
  driver->give(1);
  expect_frame(0, 0);
  driver->unplug();
  const auto frame = capture->dequeue();
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().os_errno, ENODEV);
  EXPECT_TRUE(capture->stats().ended);
}

TEST_F(Video, a_device_that_is_silent_for_too_long_ends_the_stream) {
  CaptureOptions options;
  options.stall_timeout_ns = 1'000'000;
  ASSERT_TRUE(open_device({}, options));
  queue(0);
  stream_on();
  const auto frame = capture->dequeue();
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().code, Errc::timed_out);
  EXPECT_STREQ(frame.error().what, "stall_timeout_ns");
}

TEST_F(Video, what_cannot_be_queued_changes_nothing) {
  stream_into(8);
  EXPECT_EQ(capture->queue(slot(9), 9).error().code, Errc::would_block);
  EXPECT_EQ(capture->queue(slot(9), 9).error().limit, 8u);
  EXPECT_EQ(capture->queue(slot(9).first(100), 9).error().code, Errc::invalid_argument);
  EXPECT_EQ(capture->stats().queued, 8u);
}

TEST_F(Video, devices_that_cannot_do_it_are_refused_with_the_reason) {
  EXPECT_EQ(open_device({.capabilities = V4L2_CAP_VIDEO_OUTPUT}).error().code, Errc::unsupported);
  EXPECT_EQ(open_device({.capabilities = V4L2_CAP_VIDEO_CAPTURE}).error().code, Errc::unsupported);
  EXPECT_EQ(open_device({.bytes_per_line = 0}).error().code, Errc::unsupported);
  EXPECT_EQ(open_device({.takes_user_memory = false}).error().code, Errc::unsupported);
  EXPECT_EQ(open_device({.size_image = 1U << 30}).error().code, Errc::invalid_argument);
  CaptureOptions options;
  options.when_full = WhenFull::wait;
  EXPECT_EQ(open_device({}, options).error().code, Errc::unsupported);
}

TEST_F(Video, planar_frames_are_those_of_y4m) {
  ASSERT_TRUE(open_device(
      {.pixel_format = V4L2_PIX_FMT_YUV420, .bytes_per_line = 64, .size_image = 64 * 48 * 3 / 2}));
  EXPECT_EQ(capture->format().y4m_header, "YUV4MPEG2 W64 H48 F25:1 Ip A0:0 C420jpeg");
  ASSERT_TRUE(open_device());
  EXPECT_EQ(capture->format().y4m_header, "");
  EXPECT_EQ(capture->format().layout, "YUYV");
  EXPECT_EQ(capture->format().rate_numerator, 25u);
}

// Close against DMA, as for streams: close_test.cc.
TEST_F(Video, close_at_any_moment_waits_for_the_transfer_and_holds_no_page) {
  const std::uint64_t rounds = tests::seed_count(300);
  for (std::uint64_t round = 0; round < rounds && !HasFatalFailure(); ++round) {
    const std::uint64_t seed = tests::test_seed();
    HF_SEED_TRACE(seed);
    std::mt19937_64 random(seed);
    stream_into(1 + random() % 8);
    driver->give(1'000'000);
    for (std::uint64_t taken = 0, frames = random() % 8; taken < frames; ++taken) {
      expect_frame(taken, taken);
      if (random() % 4 == 0) (void)engine->reclaim(256);
      if (random() % 4 == 0) {
        const auto copy = engine->clone(ring);
        ASSERT_TRUE(copy) << copy.error().message();
      }
      queue(last_cookie);
    }
    for (std::uint64_t spin = random() % 20'000; spin > 0; --spin) __builtin_ia32_pause();
    ASSERT_TRUE(capture->close());
    EXPECT_EQ(engine->stats().pins, 0u);
    EXPECT_EQ(driver->transfers_after_close(), 0u);
    capture.reset();
  }
}

}  // namespace
}  // namespace holdfast::capture::test
