#include "capture/capture.h"

#include <utility>

#include "capture/video_grabber.h"
#include "sync/sync.h"

namespace holdfast {

Expected<std::unique_ptr<Capture>> Capture::open(Engine& engine, const std::string& source,
                                                 const CaptureOptions& options) {
  TRY_VOID(sync::check_task_context("open a capture"));
  if (sys::is_video_device(source)) {
    std::unique_ptr<sys::VideoDevice> device = TRY(sys::open_video_device(source));
    return TRY(
        capture::VideoGrabber::create(sys::real_machine(), engine, std::move(device), options));
  }
  sys::Stream stream = TRY(sys::open_stream(source, options.open_timeout_ns));
  return capture::create_on(sys::real_machine(), engine, std::move(stream), options);
}

}  // namespace holdfast
