#include "capture/video_format.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <string_view>

#include "capture/y4m.h"

namespace holdfast::capture {
namespace {

// Pixel formats whose frames are those of Y4M, if their lines have no padding.
struct Planar {
  std::uint32_t pixels;
  std::string_view layout;
};
constexpr std::array kPlanar{Planar{V4L2_PIX_FMT_YUV420, "420jpeg"},
                             Planar{V4L2_PIX_FMT_YUV422P, "422"},
                             Planar{V4L2_PIX_FMT_GREY, "mono"}};

std::unexpected<Error> unsupported(const char* what, const char* remedy) {
  return fail(
      {.code = Errc::unsupported, .doing = "open video device", .what = what, .remedy = remedy});
}

Expected<void> check_capabilities(sys::VideoDevice& device) {
  v4l2_capability can{};
  if (const int error = device.control(VIDIOC_QUERYCAP, &can); error != 0) {
    return device_refused("ask what the video device can do", error);
  }
  const std::uint32_t does =
      (can.capabilities & V4L2_CAP_DEVICE_CAPS) != 0 ? can.device_caps : can.capabilities;
  if ((does & V4L2_CAP_VIDEO_CAPTURE) == 0) {
    return unsupported((does & V4L2_CAP_VIDEO_CAPTURE_MPLANE) != 0
                           ? "the device gives frames in several planes only"
                           : "the device does not capture",
                       "name another; or pipe it: ffmpeg -f v4l2 ... - | holdfast grab -");
  }
  if ((does & V4L2_CAP_STREAMING) == 0) {
    return unsupported("the device does not stream",
                       "pipe it: ffmpeg -f v4l2 ... - | holdfast grab -");
  }
  return {};
}

void read_rate(sys::VideoDevice& device, CaptureFormat& format) {
  v4l2_streamparm parameters{};
  parameters.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  if (device.control(VIDIOC_G_PARM, &parameters) != 0) return;  // not every device knows
  const v4l2_fract& each = parameters.parm.capture.timeperframe;
  if (each.numerator == 0 || each.denominator == 0) return;
  format.rate_numerator = each.denominator;
  format.rate_denominator = each.numerator;
}

// The line that a recording of these frames begins with, where Y4M has a name for them.
void name_layout(const v4l2_pix_format& pixels, CaptureFormat& format) {
  for (unsigned shift = 0; shift < 32; shift += 8) {
    format.layout += static_cast<char>(pixels.pixelformat >> shift & 0x7f);
  }
  const auto* const planar = std::ranges::find(kPlanar, pixels.pixelformat, &Planar::pixels);
  if (planar == kPlanar.end() || pixels.bytesperline > pixels.width) return;
  std::string header(kY4mMagic);
  header += " W" + std::to_string(pixels.width) + " H" + std::to_string(pixels.height);
  if (format.rate_numerator != 0) {
    header += " F" + std::to_string(format.rate_numerator) + ":" +
              std::to_string(format.rate_denominator);
  }
  header += " Ip A0:0 C" + std::string(planar->layout);
  const auto parsed = parse_y4m_header(header);
  if (!parsed || parsed->frame_bytes != format.frame_bytes) return;
  format.layout = parsed->layout;
  format.y4m_header = header;
}

}  // namespace

Expected<CaptureFormat> read_video_format(sys::VideoDevice& device) {
  TRY_VOID(check_capabilities(device));
  v4l2_format now{};
  now.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  if (const int error = device.control(VIDIOC_G_FMT, &now); error != 0) {
    return device_refused("ask the video device for its format", error);
  }
  const v4l2_pix_format& pixels = now.fmt.pix;
  if (pixels.bytesperline == 0) {
    return unsupported("the frames are compressed, each of another size",
                       "set a raw format: v4l2-ctl --set-fmt-video=pixelformat=YUYV");
  }
  if (pixels.sizeimage == 0 || pixels.sizeimage > Capture::kFrameBytesMax) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "open video device",
                 .what = "bytes of its frames",
                 .value = pixels.sizeimage,
                 .limit = Capture::kFrameBytesMax,
                 .remedy = "set another format: v4l2-ctl --set-fmt-video"});
  }
  CaptureFormat format{.frame_bytes = pixels.sizeimage,
                       .width = pixels.width,
                       .height = pixels.height,
                       .layout = {},
                       .y4m_header = {}};
  read_rate(device, format);
  name_layout(pixels, format);
  return format;
}

Expected<std::uint32_t> request_user_buffers(sys::VideoDevice& device, std::uint32_t wanted) {
  v4l2_requestbuffers request{};
  request.count = wanted;
  request.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  request.memory = V4L2_MEMORY_USERPTR;
  const int error = device.control(VIDIOC_REQBUFS, &request);
  if (error == EINVAL) {
    return unsupported("the device takes no memory of its user's (V4L2_MEMORY_USERPTR)",
                       "pipe it: ffmpeg -f v4l2 ... - | holdfast grab -");
  }
  if (error != 0) return device_refused("request buffers of the video device", error);
  if (request.count == 0 && wanted != 0) {
    return device_refused("request buffers of the video device", ENOBUFS);
  }
  return request.count;
}

v4l2_buffer user_buffer(std::uint32_t index) noexcept {
  v4l2_buffer buffer{};
  buffer.index = index;
  buffer.type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  buffer.memory = V4L2_MEMORY_USERPTR;
  return buffer;
}

std::unexpected<Error> device_refused(const char* doing, int error) {
  return fail({.code = error == EBUSY ? Errc::busy : Errc::system,
               .os_errno = error,
               .doing = doing,
               .remedy = error == EBUSY    ? "end the program that streams from it"
                         : error == ENODEV ? "the device is gone: open it again"
                                           : ""});
}

}  // namespace holdfast::capture
