#include "kv/control_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>

namespace holdfast::bench {

Result<int> connect_to(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return failure(path + " is too long for a socket");
  path.copy(address.sun_path, path.size());
  const int made = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (made < 0) return system_trouble("socket");
  if (connect(made, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return made;
  const auto trouble = system_trouble("connect to " + path);
  close(made);
  return trouble;
}

Result<std::unique_ptr<ControlClient>> ControlClient::connect(const std::string& path) {
  const auto made = connect_to(path);
  if (!made) return std::unexpected(made.error());
  return std::unique_ptr<ControlClient>(new ControlClient(*made));
}

ControlClient::~ControlClient() { close(socket_); }

Result<std::string> ControlClient::ask(std::string_view request) {
  if (auto sent = write(std::string(request) + "\r\n"); !sent) {
    return std::unexpected(sent.error());
  }
  return reply();
}

Result<void> ControlClient::write(std::string_view requests) {
  while (!requests.empty()) {
    const ssize_t put = send(socket_, requests.data(), requests.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return system_trouble("send to the server");
    requests.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<void> ControlClient::fill() {
  char bytes[65536];
  const ssize_t got = recv(socket_, bytes, sizeof bytes, 0);
  if (got == 0) return failure("the server has closed the connection");
  if (got < 0 && errno != EINTR) return system_trouble("receive from the server");
  if (got > 0) buffer_.append(bytes, static_cast<std::size_t>(got));
  return {};
}

Result<std::string> ControlClient::reply() {
  std::size_t end = 0;
  while ((end = buffer_.find("\r\n")) == std::string::npos) {
    if (auto more = fill(); !more) return std::unexpected(more.error());
  }
  std::string line = buffer_.substr(0, end);
  buffer_.erase(0, end + 2);
  if (line.starts_with('-')) return failure("the server answers " + line);
  if (!line.starts_with('$') || line == "$-1") return line.substr(1);
  const std::size_t bytes = std::stoull(line.substr(1));
  while (buffer_.size() < bytes + 2) {
    if (auto more = fill(); !more) return std::unexpected(more.error());
  }
  line = buffer_.substr(0, bytes);
  buffer_.erase(0, bytes + 2);
  return line;
}

Result<std::string> ControlClient::persistence(std::string_view name) {
  auto info = ask("INFO persistence");
  if (!info) return info;
  const std::size_t begin = info->find(fmt::format("\n{}:", name));
  if (begin == std::string::npos) return failure(fmt::format("INFO does not tell {}", name));
  const std::size_t value = begin + name.size() + 2;
  return info->substr(value, info->find('\r', value) - value);
}

}  // namespace holdfast::bench
