// Y4M (YUV4MPEG2): a line that tells the format, then for each frame a line and its planes.
//
//     YUV4MPEG2 W1920 H1080 F25:1 Ip A1:1 C420jpeg XYSCSS=420JPEG\n
//     FRAME\n <planes> FRAME\n <planes> ...
//
// Parsing only: pure functions over text.
#pragma once

#include <string_view>

#include "base/base.h"
#include "holdfast/capture.h"

namespace holdfast::capture {

inline constexpr std::string_view kY4mMagic = "YUV4MPEG2";
inline constexpr std::string_view kY4mFrame = "FRAME";
inline constexpr std::size_t kY4mLineMax = 512;  // longer ones are refused; ffmpeg's have 60

// The format that a header line (without its end) tells. Errors: corrupted (no Y4M, or a line that
// is not understood), unsupported (a layout of planes that is not known).
[[nodiscard]] Expected<CaptureFormat> parse_y4m_header(std::string_view line);

// True if the line (without its end) begins a frame.
[[nodiscard]] bool is_y4m_frame(std::string_view line) noexcept;

// Same geometry: frames of both fit the same buffers and mean the same.
[[nodiscard]] bool same_geometry(const CaptureFormat& one, const CaptureFormat& other) noexcept;

}  // namespace holdfast::capture
