// Streams: descriptors that somebody else fills, opened by name. What is done with them is
// asynchronous I/O's (async_io.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "base/base.h"

namespace holdfast::sys {

enum class StreamKind : std::uint8_t {
  file,       // a regular file: it has all its bytes already
  live,       // pipe, FIFO, terminal, TCP connection: bytes come when they come
  datagrams,  // UDP: each read takes one, and what does not fit is lost
};

// An open descriptor. Move-only; closes it.
class Stream {
 public:
  Stream() noexcept = default;
  Stream(int fd, StreamKind kind) noexcept : fd_(fd), kind_(kind) {}
  Stream(Stream&& other) noexcept;
  Stream& operator=(Stream&& other) noexcept;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  ~Stream() { close(); }

  [[nodiscard]] int fd() const noexcept { return fd_; }
  [[nodiscard]] StreamKind kind() const noexcept { return kind_; }
  void close() noexcept;
  // The descriptor, which is the caller's to close from here on.
  [[nodiscard]] int release() noexcept { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
  StreamKind kind_ = StreamKind::live;
};

// Opens PATH, "-" (a duplicate of standard input), tcp://HOST:PORT[?listen] or udp://HOST:PORT for
// reading; waits for a connection at most timeout_ns. A pipe is made as large as the system allows
// without privileges. Errors: invalid_argument (a name that is none), not_found, permission,
// timed_out, system.
[[nodiscard]] Expected<Stream> open_stream(const std::string& name, std::uint64_t timeout_ns);

}  // namespace holdfast::sys
