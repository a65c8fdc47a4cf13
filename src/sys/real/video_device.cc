#include "sys/video_device.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

namespace holdfast::sys {
namespace {

constexpr unsigned kVideoMajor = 81;  // Documentation/admin-guide/devices.txt
constexpr std::uint64_t kNsPerMs = 1'000'000;
constexpr std::uint64_t kWaitMaxMs = 1 << 30;

class RealVideoDevice final : public VideoDevice {
 public:
  RealVideoDevice(int device, int event) noexcept : device_(device), event_(event) {}
  ~RealVideoDevice() override { close(); }
  RealVideoDevice(const RealVideoDevice&) = delete;
  RealVideoDevice& operator=(const RealVideoDevice&) = delete;

  int control(unsigned long request, void* argument) noexcept override {
    while (::ioctl(device_, request, argument) != 0) {
      if (errno != EINTR) return errno;
    }
    return 0;
  }

  Ready wait(std::uint64_t timeout_ns) noexcept override {
    std::array<pollfd, 2> waiting{pollfd{.fd = device_, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = event_, .events = POLLIN, .revents = 0}};
    const std::uint64_t ms = std::min((timeout_ns + kNsPerMs - 1) / kNsPerMs, kWaitMaxMs);
    const int ready =
        ::poll(waiting.data(), waiting.size(), timeout_ns == 0 ? -1 : static_cast<int>(ms));
    if (waiting[1].revents != 0) return Ready::interrupted;
    return ready == 0 ? Ready::timed_out : Ready::look;
  }

  void interrupt() noexcept override {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(event_, &one, sizeof one);
  }

  void resume() noexcept override {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(event_, &count, sizeof count);
  }

  void close() noexcept override {
    for (int* const descriptor : {&device_, &event_}) {
      if (*descriptor >= 0) ::close(std::exchange(*descriptor, -1));
    }
  }

 private:
  int device_;
  int event_;
};

std::unexpected<Error> refused(int error) {
  const Errc code = error == ENOENT || error == ENODEV  ? Errc::not_found
                    : error == EACCES || error == EPERM ? Errc::permission
                    : error == EBUSY                    ? Errc::busy
                                                        : Errc::system;
  const char* const remedy = code == Errc::permission ? "join the group that owns it (video)"
                             : code == Errc::busy     ? "end the program that uses it"
                                                      : "check that the device is there";
  return fail({.code = code, .os_errno = error, .doing = "open video device", .remedy = remedy});
}

}  // namespace

bool is_video_device(const std::string& path) noexcept {
  struct stat status{};
  return ::stat(path.c_str(), &status) == 0 && S_ISCHR(status.st_mode) &&
         major(status.st_rdev) == kVideoMajor;
}

Expected<std::unique_ptr<VideoDevice>> open_video_device(const std::string& path) {
  const int device = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (device < 0) return refused(errno);
  const int event = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) {
    const int error = errno;
    ::close(device);
    return refused(error);
  }
  return std::make_unique<RealVideoDevice>(device, event);
}

}  // namespace holdfast::sys
