#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <string_view>
#include <utility>

#include "sys/streams.h"

namespace holdfast::sys {
namespace {

constexpr int kPipeBytes = 1 << 20;     // as much as an unprivileged process may have
constexpr int kReceiveBytes = 8 << 20;  // of a datagram socket; the system cuts it to its limit

std::unexpected<Error> refused(const char* doing, int error, const char* remedy = "") {
  const Errc code = error == ENOENT                     ? Errc::not_found
                    : error == EACCES || error == EPERM ? Errc::permission
                    : error == ETIMEDOUT                ? Errc::timed_out
                    : error == EINTR                    ? Errc::cancelled
                                                        : Errc::system;
  return fail({.code = code, .os_errno = error, .doing = doing, .remedy = remedy});
}

std::unexpected<Error> bad_name(const char* what) {
  return fail({.code = Errc::invalid_argument,
               .doing = "open source",
               .what = what,
               .remedy = "name a file, -, tcp://HOST:PORT[?listen] or udp://HOST:PORT"});
}

// Waits until the descriptor is ready for `events`. 0, or an errno.
int wait_ready(int fd, short events, std::uint64_t timeout_ns) {
  struct pollfd entry = {fd, events, 0};
  const auto limit = static_cast<int>(std::min<std::uint64_t>(timeout_ns / 1'000'000, 1 << 30));
  const int ready = poll(&entry, 1, limit);
  if (ready < 0) return errno;
  return ready == 0 ? ETIMEDOUT : 0;
}

int set_blocking(int fd, bool blocking) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0) return errno;
  const int wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
  return fcntl(fd, F_SETFL, wanted) == 0 ? 0 : errno;
}

Expected<StreamKind> kind_of(int fd) {
  struct stat status = {};
  if (fstat(fd, &status) != 0) return refused("open source", errno);
  if (S_ISDIR(status.st_mode)) return refused("open source", EISDIR, "name a file");
  if (S_ISFIFO(status.st_mode)) (void)fcntl(fd, F_SETPIPE_SZ, kPipeBytes);  // only for speed
  return S_ISREG(status.st_mode) ? StreamKind::file : StreamKind::live;
}

// A FIFO that nobody writes to would hold up its open() for ever: it is opened without waiting, and
// waited for with a limit.
Expected<Stream> open_path(const std::string& path, std::uint64_t timeout_ns) {
  const int fd = path == "-" ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                             : open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return refused("open source", errno, "check the path");
  Stream stream(fd, StreamKind::live);
  const auto kind = kind_of(fd);
  if (!kind) return std::unexpected(kind.error());
  if (path != "-" && *kind == StreamKind::live) {
    if (const int error = wait_ready(fd, POLLIN, timeout_ns); error != 0) {
      return refused("wait for somebody to write to the source", error, "start its writer");
    }
  }
  if (path != "-") {
    if (const int error = set_blocking(fd, true); error != 0) return refused("open source", error);
  }
  return Stream(stream.release(), *kind);
}

struct Endpoint {
  std::string host, port;
  bool listen = false;
};

// "HOST:PORT", "[::1]:PORT", with "?listen".
Expected<Endpoint> parse_endpoint(std::string_view text) {
  Endpoint endpoint;
  if (text.ends_with("?listen")) {
    endpoint.listen = true;
    text.remove_suffix(7);
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size()) return bad_name("port");
  endpoint.port = text.substr(colon + 1);
  if (!std::ranges::all_of(endpoint.port, [](char c) { return c >= '0' && c <= '9'; })) {
    return bad_name("port");
  }
  std::string_view host = text.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  endpoint.host = host;
  return endpoint;
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Expected<Addresses> resolve(const Endpoint& endpoint, int type, bool passive) {
  struct addrinfo hints = {};
  hints.ai_socktype = type;
  hints.ai_flags = passive ? AI_PASSIVE : 0;
  struct addrinfo* found = nullptr;
  const char* const host = endpoint.host.empty() ? nullptr : endpoint.host.c_str();
  const int error = getaddrinfo(host, endpoint.port.c_str(), &hints, &found);
  if (error != 0) {
    return fail({.code = Errc::not_found,
                 .os_errno = error == EAI_SYSTEM ? errno : 0,
                 .doing = "find the source's host",
                 .what = "host",
                 .remedy = "check the name, or give an address"});
  }
  return Addresses(found, &freeaddrinfo);
}

Expected<Stream> connect_to(const addrinfo& address, std::uint64_t timeout_ns) {
  Stream stream(socket(address.ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0),
                StreamKind::live);
  if (stream.fd() < 0) return refused("connect to source", errno);
  if (connect(stream.fd(), address.ai_addr, address.ai_addrlen) != 0) {
    if (errno != EINPROGRESS) return refused("connect to source", errno, "start its sender");
    int error = wait_ready(stream.fd(), POLLOUT, timeout_ns);
    socklen_t size = sizeof error;
    if (error == 0 && getsockopt(stream.fd(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) {
      error = errno;
    }
    if (error != 0) return refused("connect to source", error, "start its sender");
  }
  if (const int error = set_blocking(stream.fd(), true); error != 0) {
    return refused("connect to source", error);
  }
  return stream;
}

Expected<Stream> bind_to(const addrinfo& address, int type, StreamKind kind) {
  Stream stream(socket(address.ai_family, type | SOCK_CLOEXEC, 0), kind);
  if (stream.fd() < 0) return refused("listen for source", errno);
  const int yes = 1;
  (void)setsockopt(stream.fd(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  if (bind(stream.fd(), address.ai_addr, address.ai_addrlen) != 0) {
    return refused("listen for source", errno, "choose another port, or one above 1023");
  }
  return stream;
}

Expected<Stream> accept_from(const addrinfo& address, std::uint64_t timeout_ns) {
  const Stream door = TRY(bind_to(address, SOCK_STREAM, StreamKind::live));
  if (listen(door.fd(), 1) != 0) return refused("listen for source", errno);
  if (const int error = wait_ready(door.fd(), POLLIN, timeout_ns); error != 0) {
    return refused("wait for the source to connect", error, "start its sender");
  }
  Stream stream(accept4(door.fd(), nullptr, nullptr, SOCK_CLOEXEC), StreamKind::live);
  if (stream.fd() < 0) return refused("listen for source", errno);
  return stream;
}

Expected<Stream> open_tcp(const Endpoint& endpoint, std::uint64_t timeout_ns) {
  const Addresses addresses = TRY(resolve(endpoint, SOCK_STREAM, endpoint.listen));
  Expected<Stream> outcome = refused("connect to source", EADDRNOTAVAIL);
  for (const addrinfo* one = addresses.get(); one != nullptr && !outcome; one = one->ai_next) {
    outcome = endpoint.listen ? accept_from(*one, timeout_ns) : connect_to(*one, timeout_ns);
  }
  return outcome;
}

Expected<Stream> open_udp(const Endpoint& endpoint) {
  const Addresses addresses = TRY(resolve(endpoint, SOCK_DGRAM, true));
  auto stream = bind_to(*addresses, SOCK_DGRAM, StreamKind::datagrams);
  if (stream) {
    (void)setsockopt(stream->fd(), SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof kReceiveBytes);
  }
  return stream;
}

}  // namespace

Stream::Stream(Stream&& other) noexcept : fd_(other.release()), kind_(other.kind_) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  if (this != &other) {
    close();
    kind_ = other.kind_;
    fd_ = other.release();
  }
  return *this;
}

void Stream::close() noexcept {
  if (const int fd = release(); fd >= 0) ::close(fd);
}

Expected<Stream> open_stream(const std::string& name, std::uint64_t timeout_ns) {
  constexpr std::string_view kTcp = "tcp://";
  constexpr std::string_view kUdp = "udp://";
  if (name.empty()) return bad_name("source");
  if (name.starts_with(kTcp)) {
    return open_tcp(TRY(parse_endpoint(std::string_view(name).substr(kTcp.size()))), timeout_ns);
  }
  if (name.starts_with(kUdp)) {
    return open_udp(TRY(parse_endpoint(std::string_view(name).substr(kUdp.size()))));
  }
  return open_path(name, timeout_ns);
}

}  // namespace holdfast::sys
