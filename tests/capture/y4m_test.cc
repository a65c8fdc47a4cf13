#include "capture/y4m.h"

#include <gtest/gtest.h>

#include <string>

namespace holdfast::capture {
namespace {

TEST(Y4m, a_header_of_ffmpeg_tells_the_format) {
  const std::string line = "YUV4MPEG2 W1920 H1080 F30000:1001 Ip A1:1 C420jpeg XYSCSS=420JPEG";
  const auto format = parse_y4m_header(line);
  ASSERT_TRUE(format) << format.error().message();
  EXPECT_EQ(format->width, 1920u);
  EXPECT_EQ(format->height, 1080u);
  EXPECT_EQ(format->rate_numerator, 30000u);
  EXPECT_EQ(format->rate_denominator, 1001u);
  EXPECT_EQ(format->layout, "420jpeg");
  EXPECT_EQ(format->frame_bytes, 1920u * 1080 * 3 / 2);
  EXPECT_EQ(format->y4m_header, line);
}

struct Sized {
  const char* words;
  std::uint64_t bytes;
};

TEST(Y4m, each_layout_has_its_planes) {
  for (const Sized& one :
       {Sized{"W4 H4", 24}, Sized{"W5 H3 C420", 15 + 2 * 6}, Sized{"W4 H4 C422", 32},
        Sized{"W4 H4 C444", 48}, Sized{"W4 H4 C444alpha", 64}, Sized{"W8 H4 C411", 48},
        Sized{"W4 H4 C440", 32}, Sized{"W4 H4 Cmono", 16}, Sized{"W4 H4 Cmono16", 32},
        Sized{"W4 H4 C420p10", 48}, Sized{"W4 H4 C422p12", 64}, Sized{"W4 H4 C420paldv", 24},
        Sized{"W4 H4 C420mpeg2", 24}}) {
    const auto format = parse_y4m_header(std::string("YUV4MPEG2 ") + one.words);
    ASSERT_TRUE(format) << one.words << ": " << format.error().message();
    EXPECT_EQ(format->frame_bytes, one.bytes) << one.words;
  }
}

TEST(Y4m, what_is_no_header_is_refused) {
  for (const char* line : {"", "YUV4MPEG", "RIFF", "YUV4MPEG2", "YUV4MPEG2 W4", "YUV4MPEG2 W0 H4",
                           "YUV4MPEG2 W4 H-4", "YUV4MPEG2 W4x H4", "YUV4MPEG2 W99999 H4",
                           "YUV4MPEG2 W4 H4 F25", "YUV4MPEG2 W4 H99999999999999"}) {
    const auto format = parse_y4m_header(line);
    ASSERT_FALSE(format) << line;
    EXPECT_EQ(format.error().code, Errc::corrupted) << line;
  }
  const auto unknown = parse_y4m_header("YUV4MPEG2 W4 H4 C999");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, Errc::unsupported);
}

TEST(Y4m, a_frame_begins_with_its_word) {
  EXPECT_TRUE(is_y4m_frame("FRAME"));
  EXPECT_TRUE(is_y4m_frame("FRAME Ip"));
  EXPECT_FALSE(is_y4m_frame("FRAMES"));
  EXPECT_FALSE(is_y4m_frame("FRAM"));
  EXPECT_FALSE(is_y4m_frame(""));
}

}  // namespace
}  // namespace holdfast::capture
