// What a capture does for its users, on the real machine.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "capture/real_capture.h"
#include "sync/sync.h"

namespace holdfast::capture::test {
namespace {

constexpr std::uint64_t kSoon = 10'000'000'000;  // ns: longer than anything takes that comes

TEST_F(CaptureTest, frames_come_whole_and_in_order_through_a_ring_larger_than_the_budget) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options());
  const Sender sender(std::move(pipe.write), 2000);
  const std::uint64_t slots = ring.size() / kSlot;
  constexpr std::uint64_t kAtCapture = 8;
  for (std::uint64_t i = 0; i < kAtCapture; ++i) queue(i);
  stream_on();
  for (std::uint64_t i = 0; i < 2000; ++i) {
    const auto frame = capture->dequeue(kSoon);
    ASSERT_TRUE(frame) << frame.error().message();
    ASSERT_TRUE(*frame) << i;
    EXPECT_EQ((*frame)->sequence, i);
    EXPECT_EQ((*frame)->cookie, i % slots);
    ASSERT_TRUE(is_frame((*frame)->data, i)) << i;
    // The slot that comes next has been out of memory meanwhile.
    if (i + kAtCapture < 2000) queue((i + kAtCapture) % slots);
  }
  const auto end = capture->dequeue(kSoon);
  ASSERT_TRUE(end) << end.error().message();
  EXPECT_FALSE(*end);
  const CaptureStats stats = capture->stats();
  EXPECT_EQ(stats.frames, 2000u);
  EXPECT_EQ(stats.dropped + stats.damaged, 0u);
  EXPECT_EQ(stats.bytes, 2000 * kFrame);
  EXPECT_TRUE(stats.ended);
}

TEST_F(CaptureTest, without_io_uring_threads_do_the_same) {
  TwoEnds pipe = make_pipe();
  CaptureOptions options = raw_options();
  options.backend = AioBackend::threads;
  open(std::move(pipe.read), options);
  const Sender sender(std::move(pipe.write), 50);
  for (std::uint64_t i = 0; i < 50; ++i) queue(i);
  stream_on();
  for (std::uint64_t i = 0; i < 50; ++i) {
    const auto frame = capture->dequeue(kSoon);
    ASSERT_TRUE(frame && *frame);
    ASSERT_TRUE(is_frame((*frame)->data, i)) << i;
  }
}

TEST_F(CaptureTest, a_frame_without_a_buffer_is_dropped_and_counted) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options(WhenFull::drop));
  queue(0);
  queue(1);
  stream_on();
  {
    const Sender sender(std::move(pipe.write), 20);
  }
  for (std::uint64_t i = 0; i < 2; ++i) {
    const auto frame = capture->dequeue(kSoon);
    ASSERT_TRUE(frame && *frame);
    EXPECT_TRUE(is_frame((*frame)->data, i));
  }
  const auto end = capture->dequeue(kSoon);
  ASSERT_TRUE(end);
  EXPECT_FALSE(*end);
  EXPECT_EQ(capture->stats().dropped, 18u);
}

TEST_F(CaptureTest, sequence_numbers_count_what_was_dropped) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options(WhenFull::drop));
  stream_on();
  for (std::uint64_t i = 0; i < 3; ++i) ASSERT_TRUE(send_all(pipe.write, make_frame(i)));
  while (capture->stats().dropped < 3) sched_yield();
  queue(0);
  ASSERT_TRUE(send_all(pipe.write, make_frame(3)));
  auto frame = capture->dequeue(kSoon);
  ASSERT_TRUE(frame && *frame);
  EXPECT_EQ((*frame)->sequence, 3u);
  EXPECT_TRUE(is_frame((*frame)->data, 3));
}

TEST_F(CaptureTest, a_source_waits_where_it_is_told_to_until_there_is_a_buffer) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options(WhenFull::wait));
  stream_on();
  const Sender sender(std::move(pipe.write), 20);
  while (!capture->stats().waits_for_buffer) sched_yield();
  for (std::uint64_t i = 0; i < 20; ++i) {
    queue(i);
    const auto frame = capture->dequeue(kSoon);
    ASSERT_TRUE(frame && *frame);
    EXPECT_TRUE(is_frame((*frame)->data, i)) << i;
  }
}

TEST_F(CaptureTest, a_stream_that_ends_within_a_frame_gives_the_whole_ones_and_says_so) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options());
  for (std::uint64_t i = 0; i < 4; ++i) queue(i);
  stream_on();
  ASSERT_TRUE(send_all(pipe.write, make_frame(0)));
  ASSERT_TRUE(send_all(pipe.write, part_of_frame(1, 0, kFrame / 2)));
  pipe.write.close();
  auto frame = capture->dequeue(kSoon);
  ASSERT_TRUE(frame && *frame);
  frame = capture->dequeue(kSoon);
  ASSERT_TRUE(frame);
  EXPECT_FALSE(*frame);
  EXPECT_EQ(capture->stats().damaged, 1u);
  EXPECT_EQ(capture->stats().queued, 3u) << "the buffer of the broken frame waits again";
}

TEST_F(CaptureTest, a_silent_source_is_waited_for_no_longer_than_asked) {
  TwoEnds pipe = make_pipe();
  CaptureOptions options = raw_options();
  open(std::move(pipe.read), options);
  queue(0);
  stream_on();
  const auto frame = capture->dequeue(1'000'000);
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().code, Errc::timed_out);
  EXPECT_TRUE(capture->stats().in_flight);
  EXPECT_GT(capture->stats().silent_ns, 0u);
}

TEST_F(CaptureTest, a_source_that_stalls_for_too_long_ends) {
  TwoEnds pipe = make_pipe();
  CaptureOptions options = raw_options();
  options.stall_timeout_ns = 1'000'000;
  open(std::move(pipe.read), options);
  queue(0);
  stream_on();
  const auto frame = capture->dequeue(kSoon);
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().code, Errc::timed_out);
  EXPECT_STREQ(frame.error().what, "stall_timeout_ns");
  EXPECT_TRUE(capture->stats().ended);
}

// Listens on a port of the system's choice and connects to it.
TwoEnds make_tcp() {
  const Descriptor door(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  EXPECT_EQ(::bind(door, generic, size), 0);
  EXPECT_EQ(::listen(door, 1), 0);
  EXPECT_EQ(::getsockname(door, generic, &size), 0);
  Descriptor sender(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::connect(sender, generic, size), 0);
  return {Descriptor(::accept(door, nullptr, nullptr)), std::move(sender)};
}

TEST_F(CaptureTest, a_reset_connection_is_an_error_after_the_frames_that_came) {
  TwoEnds tcp = make_tcp();
  open(std::move(tcp.read), raw_options());
  for (std::uint64_t i = 0; i < 4; ++i) queue(i);
  stream_on();
  ASSERT_TRUE(send_all(tcp.write, make_frame(0)));
  auto frame = capture->dequeue(kSoon);
  ASSERT_TRUE(frame && *frame);
  const linger at_once = {.l_onoff = 1, .l_linger = 0};
  ASSERT_EQ(::setsockopt(tcp.write, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  tcp.write.close();
  frame = capture->dequeue(kSoon);
  ASSERT_FALSE(frame);
  EXPECT_EQ(frame.error().os_errno, ECONNRESET) << frame.error().message();
}

TEST_F(CaptureTest, datagrams_make_frames) {
  int fds[2] = {-1, -1};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_DGRAM, 0, fds), 0);
  const Descriptor to(fds[1]);
  open(Descriptor(fds[0]), raw_options(), sys::StreamKind::datagrams);
  for (std::uint64_t i = 0; i < 4; ++i) queue(i);
  stream_on();
  for (std::uint64_t i = 0; i < 4; ++i) {
    const std::vector<std::byte> frame = make_frame(i);
    for (std::uint64_t at = 0; at < kFrame; at += 1472) {
      const std::uint64_t bytes = std::min<std::uint64_t>(1472, kFrame - at);
      ASSERT_EQ(::send(to, frame.data() + at, bytes, 0), static_cast<ssize_t>(bytes));
    }
  }
  for (std::uint64_t i = 0; i < 4; ++i) {
    const auto frame = capture->dequeue(kSoon);
    ASSERT_TRUE(frame && *frame);
    EXPECT_TRUE(is_frame((*frame)->data, i)) << i;
  }
}

TEST_F(CaptureTest, a_stream_that_is_switched_off_and_on_loses_no_byte) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options());
  for (std::uint64_t i = 0; i < 8; ++i) queue(i);
  const std::vector<std::byte> first = make_frame(0);
  stream_on();
  ASSERT_TRUE(send_all(pipe.write, std::span(first).first(1000)));
  while (capture->stats().bytes < 1000) sched_yield();
  ASSERT_TRUE(capture->stream_off());
  EXPECT_FALSE(capture->stats().in_flight);
  const auto none = capture->dequeue(kSoon);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Errc::busy) << "a stream that is off gives no frame";
  ASSERT_TRUE(send_all(pipe.write, std::span(first).subspan(1000)));
  EXPECT_EQ(capture->stats().bytes, 1000u);
  stream_on();
  const auto frame = capture->dequeue(kSoon);
  ASSERT_TRUE(frame && *frame);
  EXPECT_TRUE(is_frame((*frame)->data, 0));
}

TEST_F(CaptureTest, close_with_a_transfer_in_flight_waits_for_it_and_lets_go_of_everything) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options());
  for (std::uint64_t i = 0; i < 8; ++i) queue(i);
  stream_on();
  ASSERT_TRUE(send_all(pipe.write, part_of_frame(0, 0, 5000)));
  while (capture->stats().bytes < 5000) sched_yield();
  EXPECT_GT(engine->stats().pins, 0u);
  ASSERT_TRUE(capture->close());
  EXPECT_EQ(engine->stats().pins, 0u);
  EXPECT_FALSE(send_all(pipe.write, make_frame(1))) << "the source is closed";
  EXPECT_TRUE(capture->close()) << "twice is harmless";
  EXPECT_EQ(capture->queue(slot(0), 0).error().code, Errc::busy);
  EXPECT_EQ(capture->stream_on().error().code, Errc::busy);
  EXPECT_EQ(capture->dequeue(kSoon).error().code, Errc::busy);
}

TEST_F(CaptureTest, an_interrupt_may_not_close_and_changes_nothing) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options());
  for (std::uint64_t i = 0; i < 3; ++i) queue(i);
  stream_on();
  const std::uint64_t pins = engine->stats().pins;
  {
    const sync::InterruptScope interrupt;
    EXPECT_EQ(capture->close().error().code, Errc::interrupt_context);
    EXPECT_EQ(capture->stream_off().error().code, Errc::interrupt_context);
    EXPECT_EQ(capture->stream_on().error().code, Errc::interrupt_context);
    EXPECT_EQ(capture->queue(slot(3), 3).error().code, Errc::interrupt_context);
    EXPECT_EQ(capture->dequeue(kSoon).error().code, Errc::interrupt_context);
    EXPECT_EQ(Capture::open(*engine, "-").error().code, Errc::interrupt_context);
  }
  EXPECT_EQ(engine->stats().pins, pins);
  ASSERT_TRUE(send_all(pipe.write, make_frame(0)));
  const auto frame = capture->dequeue(kSoon);
  ASSERT_TRUE(frame && *frame);
  EXPECT_TRUE(is_frame((*frame)->data, 0));
}

TEST_F(CaptureTest, a_region_that_is_unmapped_while_streaming_takes_its_frames_with_it) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options(WhenFull::drop));
  for (std::uint64_t i = 0; i < 4; ++i) queue(i);
  stream_on();
  ASSERT_TRUE(send_all(pipe.write, part_of_frame(0, 0, 100)));
  while (capture->stats().bytes < 100) sched_yield();
  ASSERT_TRUE(ring.unmap());
  ASSERT_TRUE(send_all(pipe.write, part_of_frame(0, 100)));
  const Region other = map(*engine, kBudget);
  ASSERT_TRUE(capture->queue({other.data(), kSlot}, 99));
  for (std::uint64_t i = 1; i < 20; ++i) ASSERT_TRUE(send_all(pipe.write, make_frame(i)));
  pipe.write.close();
  for (;;) {  // what still came, came into memory that is still there
    const auto frame = capture->dequeue(kSoon);
    ASSERT_TRUE(frame) << frame.error().message();
    if (!*frame) break;
    if ((*frame)->cookie == 99) {
      EXPECT_TRUE(is_frame((*frame)->data, (*frame)->sequence));
    }
  }
  EXPECT_TRUE(capture->close());
  EXPECT_EQ(engine->stats().pins, 0u);
}

TEST_F(CaptureTest, bad_input_is_an_error_that_names_it) {
  TwoEnds pipe = make_pipe();
  open(std::move(pipe.read), raw_options());
  const auto small = capture->queue(slot(0).first(kFrame - 1), 0);
  ASSERT_FALSE(small);
  EXPECT_EQ(small.error().code, Errc::invalid_argument);
  EXPECT_EQ(small.error().limit, kFrame);
  CaptureOptions options = raw_options();
  options.buffers_max = 0;
  EXPECT_EQ(create_on(sys::real_machine(), *engine, {}, options).error().code,
            Errc::invalid_argument);
  options = raw_options();
  options.frame_bytes = Capture::kFrameBytesMax + 1;
  EXPECT_EQ(create_on(sys::real_machine(), *engine, {}, options).error().code,
            Errc::invalid_argument);
  options = raw_options();
  options.buffers_max = 1;
  TwoEnds second = make_pipe();
  open(std::move(second.read), options);
  queue(0);
  const auto full = capture->queue(slot(1), 1);
  ASSERT_FALSE(full);
  EXPECT_EQ(full.error().code, Errc::would_block);
  EXPECT_EQ(full.error().limit, 1u);
  for (const char* source : {"", "tcp://nohost", "tcp://x:", "udp://:port", "tcp://[::1]:7x"}) {
    const auto opened = Capture::open(*engine, source, raw_options());
    ASSERT_FALSE(opened) << source;
    EXPECT_EQ(opened.error().code, Errc::invalid_argument) << source;
  }
  EXPECT_EQ(Capture::open(*engine, "/no/such/file", raw_options()).error().code, Errc::not_found);
}

TEST_F(CaptureTest, y4m_is_known_by_its_first_line_and_anything_else_is_refused) {
  TwoEnds pipe = make_pipe();
  const std::string begin = "YUV4MPEG2 W64 H32 F25:1 C420\nFRAME\n";
  ASSERT_EQ(::write(pipe.write, begin.data(), begin.size()), static_cast<ssize_t>(begin.size()));
  CaptureOptions options;
  options.close_grace_ns = 1;
  open(std::move(pipe.read), options);
  EXPECT_EQ(capture->format().frame_bytes, 64u * 32 * 3 / 2);
  TwoEnds noise = make_pipe();
  ASSERT_EQ(::write(noise.write, "RIFF12345678", 12), 12);
  const auto refused = create_on(sys::real_machine(), *engine,
                                 sys::Stream(::dup(noise.read), sys::StreamKind::live), {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Errc::invalid_argument);
  EXPECT_STREQ(refused.error().what, "frame_bytes");
  noise.write.close();
}

}  // namespace
}  // namespace holdfast::capture::test
