#include "sys/real/plain_io.h"

#include <unistd.h>

#include <cerrno>

namespace holdfast::sys::real {

int transfer_plainly(int fd, const IoRequest& request, std::uint64_t done,
                     IoDirection direction) noexcept {
  const int saved = errno;
  int error = 0;
  while (done < request.bytes && error == 0) {
    std::byte* const data = request.data + done;
    const auto offset = static_cast<off_t>(request.offset + done);
    const ssize_t moved = direction == IoDirection::read
                              ? ::pread(fd, data, request.bytes - done, offset)
                              : ::pwrite(fd, data, request.bytes - done, offset);
    if (moved > 0) {
      done += static_cast<std::uint64_t>(moved);
    } else if (moved == 0) {
      error = EIO;
    } else if (errno != EINTR) {
      error = errno;
    }
  }
  errno = saved;
  return error;
}

void run_plainly(int fd, std::span<IoRequest> requests, IoDirection direction) noexcept {
  for (IoRequest& request : requests) request.error = transfer_plainly(fd, request, 0, direction);
}

}  // namespace holdfast::sys::real
