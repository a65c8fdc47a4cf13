#include "run/registrar.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "run/process_files.h"

namespace holdfast::run {
namespace {

constexpr int kReplyMs = 2000;  // a shim answers at once; one that is stopped must not hold us up

bool wait_readable(int descriptor) {
  pollfd waiting{.fd = descriptor, .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, kReplyMs) > 0;
}

template <class T>
bool send_with(int connection, const T& value, int descriptor) {
  iovec vector{.iov_base = const_cast<T*>(&value), .iov_len = sizeof value};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (descriptor >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  }
  return ::sendmsg(connection, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof value);
}

template <class T>
bool receive_with(int connection, T& value, int& descriptor) {
  descriptor = -1;
  if (!wait_readable(connection)) return false;
  iovec vector{.iov_base = &value, .iov_len = sizeof value};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t got = ::recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS) {
    std::memcpy(&descriptor, CMSG_DATA(header), sizeof descriptor);
  }
  if (got == static_cast<ssize_t>(sizeof value)) return true;
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
  return false;
}

Error system_error(const char* doing) {
  return {.code = Errc::system, .os_errno = errno, .doing = doing};
}

}  // namespace

std::string Registrar::environment() const { return std::string(kSocketVariable) + "=" + name_; }

Expected<void> Registrar::start() {
  name_ = "holdfast-run-" + std::to_string(::getpid()) + "-" +
          std::to_string(parts_.machine.random_u64());
  device_ = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  stop_fd_ = ::eventfd(0, EFD_CLOEXEC);
  listener_ = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (listener_ < 0 || stop_fd_ < 0) return fail(system_error("open the pager's socket"));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path + 1, name_.data(), name_.size());
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name_.size());
  if (::bind(listener_, reinterpret_cast<const sockaddr*>(&address), bytes) != 0 ||
      ::listen(listener_, SOMAXCONN) != 0) {
    return fail(system_error("open the pager's socket"));
  }
  thread_ = TRY(parts_.machine.start_thread("holdfast-greet", &Registrar::main, this));
  return {};
}

void Registrar::stop() {
  if (thread_) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(stop_fd_, &one, sizeof one);
    thread_->join();
    thread_.reset();
  }
  for (int* const descriptor : {&listener_, &device_, &stop_fd_}) {
    if (*descriptor >= 0) ::close(*descriptor);
    *descriptor = -1;
  }
}

void Registrar::main(void* self) { static_cast<Registrar*>(self)->run(); }

void Registrar::run() {
  for (;;) {
    std::array<pollfd, 2> waiting{pollfd{.fd = listener_, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = stop_fd_, .events = POLLIN, .revents = 0}};
    ::poll(waiting.data(), waiting.size(), -1);
    if (waiting[1].revents != 0) return;
    if (waiting[0].revents == 0) continue;
    const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection >= 0) greet(connection);
  }
}

void Registrar::refused(int pid, int error) {
  const std::string line = "holdfast: " + program_of(pid) + " (" + std::to_string(pid) +
                           ") runs unmanaged: " + std::strerror(error);
  parts_.machine.print_line(line.c_str());
}

void Registrar::greet(int connection) {
  ucred peer{};
  socklen_t bytes = sizeof peer;
  Hello hello{};
  int unexpected = -1;
  int error = EPERM;
  if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == 0 &&
      descends_from(peer.pid, ::getpid()) && receive_with(connection, hello, unexpected)) {
    error = hello.kind == HelloKind::start ? greet_start(connection, peer.pid)
                                           : greet_forked(connection, peer.pid);
  }
  if (unexpected >= 0) ::close(unexpected);
  if (error == 0) return;  // the connection is the client's now
  send_with(connection, Welcome{.error = error}, -1);
  ::close(connection);
}

int Registrar::greet_start(int connection, int pid) {
  if (!send_with(connection, Welcome{.error = 0}, device_)) return EPIPE;
  Area area{};
  int userfault = -1;
  if (!receive_with(connection, area, userfault) || userfault < 0) return EPROTO;
  auto client = std::make_unique<Client>(parts_, userfault);
  int error = client->memory().agree();
  if (error == 0) error = client->adopt(pid, connection, area);
  if (parts_.working_sets != nullptr) client->runs(program_of(pid));
  if (error == 0 && !client->start()) error = EAGAIN;
  send_with(connection, Ready{.error = error}, -1);
  if (error == 0) registry_.add(std::move(client));
  if (error != 0) refused(pid, error);
  return 0;
}

int Registrar::greet_forked(int connection, int pid) {
  const Registry::Use client = registry_.forked(pid);
  if (!client) return ESRCH;
  if (!send_with(connection, Welcome{.error = 0}, client->memory().userfault())) return EPIPE;
  Area area{};
  int unexpected = -1;
  if (!receive_with(connection, area, unexpected)) return EPROTO;
  if (unexpected >= 0) ::close(unexpected);
  const int error = client->adopt(pid, connection, area);
  send_with(connection, Ready{.error = error}, -1);
  return 0;
}

}  // namespace holdfast::run
