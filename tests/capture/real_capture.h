// What tests of the capture on the real machine share: an engine, a ring, a source that tells what
// it sent, and frames whose content says which they are.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "aio/real_aio.h"
#include "capture/capture.h"
#include "holdfast/holdfast.h"

namespace holdfast::capture::test {

using namespace aio::test;  // NOLINT: the helpers of engine and aio, in tests

inline constexpr std::uint64_t kFrame = 5 * kPageSize + 1000;  // no multiple of anything
inline constexpr std::uint64_t kSlot = 6 * kPageSize;

// Byte `i` of frame `number`.
inline std::byte byte_of(std::uint64_t number, std::uint64_t i) {
  return static_cast<std::byte>((number * 131 + i * 7 + (i >> 8) * 13) % 251);
}

inline std::vector<std::byte> make_frame(std::uint64_t number) {
  std::vector<std::byte> frame(kFrame);
  for (std::uint64_t i = 0; i < kFrame; ++i) frame[i] = byte_of(number, i);
  return frame;
}

// Bytes [from, end) of a frame.
inline std::vector<std::byte> part_of_frame(std::uint64_t number, std::uint64_t from,
                                            std::uint64_t end = kFrame) {
  const std::vector<std::byte> frame = make_frame(number);
  return {frame.begin() + static_cast<std::ptrdiff_t>(from),
          frame.begin() + static_cast<std::ptrdiff_t>(end)};
}

inline bool is_frame(std::span<const std::byte> data, std::uint64_t number) {
  const std::vector<std::byte> frame = make_frame(number);
  return data.size() == kFrame && std::memcmp(data.data(), frame.data(), kFrame) == 0;
}

// Writes all of it; false: the other end has gone.
inline bool send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::write(fd, bytes.data(), bytes.size());
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

// Sends frames 0, 1, ... from a thread of its own, until `frames` are sent or the reader has gone.
class Sender {
 public:
  Sender(Descriptor to, std::uint64_t frames) : to_(std::move(to)) {
    thread_ = std::thread([this, frames] {
      for (std::uint64_t i = 0; i < frames; ++i) {
        if (!send_all(to_, make_frame(i))) break;
      }
      to_.close();
    });
  }
  ~Sender() { thread_.join(); }
  Sender(const Sender&) = delete;
  Sender& operator=(const Sender&) = delete;

 private:
  Descriptor to_;
  std::thread thread_;
};

class CaptureTest : public testing::Test {
 protected:
  void SetUp() override {
    std::signal(SIGPIPE, SIG_IGN);
    engine = make_engine(small_options());
    ASSERT_NE(engine, nullptr);
    ring = map(*engine, 2 * kBudget);
  }
  void TearDown() override {
    capture.reset();
    EXPECT_EQ(engine->stats().pins, 0u) << "every buffer was let go of";
    EXPECT_TRUE(all_is_well(*engine));
  }

  static CaptureOptions raw_options(WhenFull when_full = WhenFull::wait) {
    CaptureOptions options;
    options.frame_bytes = kFrame;
    options.when_full = when_full;
    options.close_grace_ns = 1'000'000;
    return options;
  }
  // A capture from the reading end.
  void open(Descriptor from, const CaptureOptions& options,
            sys::StreamKind kind = sys::StreamKind::live) {
    const int fd = ::dup(from);
    auto made = create_on(sys::real_machine(), *engine, sys::Stream(fd, kind), options);
    ASSERT_TRUE(made) << made.error().message();
    capture = std::move(*made);
  }
  [[nodiscard]] std::span<std::byte> slot(std::uint64_t i) const {
    return {ring.data() + i * kSlot, kSlot};
  }
  void queue(std::uint64_t i) {
    const auto queued = capture->queue(slot(i), i);
    ASSERT_TRUE(queued) << queued.error().message();
  }
  void stream_on() { ASSERT_TRUE(capture->stream_on()); }

  std::unique_ptr<Engine> engine;
  Region ring;
  std::unique_ptr<Capture> capture;
};

}  // namespace holdfast::capture::test
