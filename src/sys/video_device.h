// A Video4Linux capture device, as its driver sees its callers: ioctls on a descriptor. The
// structures of <linux/videodev2.h> are those of whoever speaks them (capture/); a test gives a
// driver of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/base.h"

namespace holdfast::sys {

class VideoDevice {
 public:
  enum class Ready : std::uint8_t {
    look,         // a buffer is done, or the device has something to say: ask it
    interrupted,  // by interrupt()
    timed_out,
  };

  virtual ~VideoDevice() = default;

  // ioctl(2); 0, or an errno. Task context. The device is open without waiting: only what ends
  // transfers (VIDIOC_STREAMOFF) may wait for them.
  virtual int control(unsigned long request, void* argument) noexcept = 0;
  // Waits until a buffer is done, at most timeout_ns (0: without limit). Task context, may wait.
  [[nodiscard]] virtual Ready wait(std::uint64_t timeout_ns) noexcept = 0;
  // Ends the waiting of all, now and until resume().
  virtual void interrupt() noexcept = 0;
  virtual void resume() noexcept = 0;
  // Closes it: the driver ends whatever transfer there still is. Nobody is in a call any more.
  virtual void close() noexcept = 0;
};

// True if the path is that of a Video4Linux device.
[[nodiscard]] bool is_video_device(const std::string& path) noexcept;

// Opens one. Errors: not_found, permission, busy, system.
[[nodiscard]] Expected<std::unique_ptr<VideoDevice>> open_video_device(const std::string& path);

}  // namespace holdfast::sys
