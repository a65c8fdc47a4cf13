// What a Video4Linux device says of itself, as a CaptureFormat.
#pragma once

#include <linux/videodev2.h>

#include "holdfast/capture.h"
#include "sys/sys.h"

namespace holdfast::capture {

// Asks the device for its frames as they are set now (v4l2-ctl sets them). Errors: unsupported (it
// does not capture, or not by streaming, or only by several planes), invalid_argument (frames
// larger than a Capture takes), system.
[[nodiscard]] Expected<CaptureFormat> read_video_format(sys::VideoDevice& device);

// Asks for `wanted` buffers in the caller's memory; how many the driver takes. Errors: unsupported
// (it takes no user pointers), busy, system.
[[nodiscard]] Expected<std::uint32_t> request_user_buffers(sys::VideoDevice& device,
                                                           std::uint32_t wanted);

// Buffer number `index`, in the user's memory.
[[nodiscard]] v4l2_buffer user_buffer(std::uint32_t index) noexcept;
// What the device has refused.
[[nodiscard]] std::unexpected<Error> device_refused(const char* doing, int error);

}  // namespace holdfast::capture
