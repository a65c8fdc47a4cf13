#include "capture/frame_reader.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "support/seed.h"

namespace holdfast::capture {
namespace {

constexpr std::uint64_t kFrameBytes = 24;  // W4 H4
using Progress = FrameReader::Progress;

CaptureFormat y4m() { return *parse_y4m_header("YUV4MPEG2 W4 H4 F25:1"); }
CaptureFormat raw() { return {.frame_bytes = kFrameBytes, .layout = "", .y4m_header = ""}; }

std::string frame_of(int number) {
  return std::string(kFrameBytes, static_cast<char>('a' + number % 26));
}

// What a stream gave: the frames, and what was wrong.
struct Taken {
  std::vector<std::string> frames;
  int damaged = 0;
  Expected<void> outcome = {};
};

// Gives the reader at most `most(rest)` bytes at a time.
template <class Most>
Taken feed(FrameReader& reader, std::string_view stream, Most&& most) {
  static std::string target(kFrameBytes, '\0');  // a frame may go on in the next call
  Taken taken;
  while (!stream.empty()) {
    if (reader.needs_target()) reader.set_target(reinterpret_cast<std::byte*>(target.data()));
    std::uint64_t given = 0;
    std::uint64_t left = std::min<std::uint64_t>(most(stream.size()), stream.size());
    for (const Buffer& part : reader.parts()) {
      const std::uint64_t here = std::min<std::uint64_t>(left, part.bytes);
      std::memcpy(part.data, stream.data() + given, here);
      given += here;
      left -= here;
    }
    const auto progress = reader.took(given);
    if (!progress) {
      taken.outcome = std::unexpected(progress.error());
      return taken;
    }
    if (*progress == Progress::frame) taken.frames.push_back(target);
    if (*progress == Progress::damaged) ++taken.damaged;
    stream.remove_prefix(given);
  }
  return taken;
}

TEST(FrameReader, finds_the_frames_however_the_bytes_come) {
  const std::uint64_t seed = tests::test_seed();
  HF_SEED_TRACE(seed);
  std::mt19937_64 random(seed);
  std::string y4m_stream, raw_stream;
  std::vector<std::string> frames;
  for (int i = 0; i < 200; ++i) {
    frames.push_back(frame_of(i));
    y4m_stream += (random() % 4 == 0 ? "FRAME Ip XA=1\n" : "FRAME\n") + frames.back();
    raw_stream += frames.back();
  }
  FrameReader y4m_reader(y4m(), sys::StreamKind::live);
  const auto few = [&](std::uint64_t) { return 1 + random() % 40; };
  Taken taken = feed(y4m_reader, y4m_stream, few);
  ASSERT_TRUE(taken.outcome) << taken.outcome.error().message();
  EXPECT_EQ(taken.frames, frames);
  EXPECT_FALSE(y4m_reader.is_within_frame());
  FrameReader raw_reader(raw(), sys::StreamKind::live);
  taken = feed(raw_reader, raw_stream, few);
  EXPECT_EQ(taken.frames, frames);
  EXPECT_FALSE(raw_reader.is_within_frame());
}

TEST(FrameReader, knows_that_a_stream_ended_within_a_frame) {
  const auto all = [](std::uint64_t rest) { return rest; };
  FrameReader reader(y4m(), sys::StreamKind::live);
  (void)feed(reader, "FRAME\n" + frame_of(0) + "FRA", all);
  EXPECT_TRUE(reader.is_within_frame());
  FrameReader payload(y4m(), sys::StreamKind::live);
  (void)feed(payload, "FRAME\n", all);
  EXPECT_TRUE(payload.is_within_frame());
}

TEST(FrameReader, joined_streams_of_one_geometry_go_on_and_others_do_not) {
  const auto all = [](std::uint64_t rest) { return rest; };
  FrameReader same(y4m(), sys::StreamKind::live);
  Taken taken =
      feed(same, "FRAME\n" + frame_of(0) + "YUV4MPEG2 W4 H4 F30:1\nFRAME\n" + frame_of(1), all);
  EXPECT_TRUE(taken.outcome);
  EXPECT_EQ(taken.frames.size(), 2u);
  FrameReader other(y4m(), sys::StreamKind::live);
  taken = feed(other, "FRAME\n" + frame_of(0) + "YUV4MPEG2 W8 H4 F30:1\nFRAME\n", all);
  ASSERT_FALSE(taken.outcome);
  EXPECT_EQ(taken.outcome.error().code, Errc::corrupted);
  EXPECT_EQ(taken.frames.size(), 1u);
}

TEST(FrameReader, refuses_what_is_no_frame_and_a_line_without_an_end) {
  const auto all = [](std::uint64_t rest) { return rest; };
  FrameReader noise(y4m(), sys::StreamKind::live);
  EXPECT_EQ(feed(noise, "NOISE\n", all).outcome.error().code, Errc::corrupted);
  FrameReader endless(y4m(), sys::StreamKind::live);
  EXPECT_EQ(feed(endless, std::string(2 * kY4mLineMax, 'x'), all).outcome.error().code,
            Errc::corrupted);
}

// Each string is one datagram.
Taken feed_datagrams(FrameReader& reader, const std::vector<std::string>& datagrams) {
  Taken all;
  for (const std::string& one : datagrams) {
    Taken taken = feed(reader, one, [](std::uint64_t rest) { return rest; });
    all.frames.insert(all.frames.end(), taken.frames.begin(), taken.frames.end());
    all.damaged += taken.damaged;
  }
  return all;
}

TEST(FrameReader, a_lost_datagram_costs_its_frame_and_no_other) {
  // Frames of 24 bytes in datagrams of 10, 10 and 4.
  const auto parts = [](int number) {
    const std::string frame = frame_of(number);
    return std::vector{frame.substr(0, 10), frame.substr(10, 10), frame.substr(20)};
  };
  std::vector<std::string> datagrams;
  for (int i = 0; i < 6; ++i) {
    for (const std::string& part : parts(i)) datagrams.push_back(part);
  }
  FrameReader whole(raw(), sys::StreamKind::datagrams);
  EXPECT_EQ(feed_datagrams(whole, datagrams).frames.size(), 6u);
  for (std::size_t lost = 0; lost < 3; ++lost) {  // of frame 2: first, middle, last
    auto some = datagrams;
    some.erase(some.begin() + 6 + static_cast<std::ptrdiff_t>(lost));
    FrameReader reader(raw(), sys::StreamKind::datagrams);
    const Taken taken = feed_datagrams(reader, some);
    EXPECT_EQ(taken.damaged, 1) << lost;
    // The last datagram ends the frame: without it the next frame's beginning is taken for it.
    EXPECT_EQ(taken.frames.size(), lost == 2 ? 4u : 5u) << lost;
    EXPECT_EQ(taken.frames.front(), frame_of(0));
    EXPECT_EQ(taken.frames.back(), frame_of(5));
  }
}

}  // namespace
}  // namespace holdfast::capture
