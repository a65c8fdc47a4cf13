#include "run/helper_link.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace holdfast::run {
HelperLink::~HelperLink() { disconnect(); }

void HelperLink::connect(int connection, const Area& area) noexcept {
  disconnect();
  connection_ = connection;
  area_ = area;
  // Its first word is that it runs; until then nothing may be asked of it.
  command_.kind = CommandKind::none;
  under_way_ = true;
}

void HelperLink::disconnect() noexcept {
  if (connection_ >= 0) ::close(connection_);
  connection_ = -1;
  under_way_ = false;
}

bool HelperLink::send(const Command& command) noexcept {
  command_ = command;
  const ssize_t sent = ::send(connection_, &command_, sizeof command_, MSG_NOSIGNAL);
  under_way_ = sent == static_cast<ssize_t>(sizeof command_);
  return under_way_;
}

HelperLink::Outcome HelperLink::await(Answer& answer, int timeout_ms) noexcept {
  pollfd waiting{.fd = connection_, .events = POLLIN, .revents = 0};
  if (::poll(&waiting, 1, timeout_ms) <= 0) return Outcome::late;
  const ssize_t got = ::recv(connection_, &answer, sizeof answer, MSG_DONTWAIT);
  under_way_ = false;
  if (command_.kind == CommandKind::none) thread_ = answer.thread;
  return got == static_cast<ssize_t>(sizeof answer) ? Outcome::answered : Outcome::gone;
}

}  // namespace holdfast::run
