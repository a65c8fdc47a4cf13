#include "connection.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "bounds.h"

namespace kv {

Connection::~Connection() { close(socket_); }

bool Connection::has_room() const { return reply_.pending().size() < kOutputHigh; }

std::uint32_t Connection::wanted_events() const {
  std::uint32_t events = 0;
  if (after_ == After::go_on && has_room()) events |= EPOLLIN;
  if (!reply_.pending().empty()) events |= EPOLLOUT;
  return events;
}

After Connection::turn(bool readable) {
  if (readable && after_ == After::go_on && receive() == Io::ended) return After::close;
  for (;;) {
    const bool blocked_by_output = answer();
    const Io written = transmit();
    if (written == Io::ended) return After::close;
    if (written == Io::blocked) return After::go_on;
    if (!blocked_by_output) return after_;  // everything is written and answered
  }
}

Connection::Io Connection::receive() {
  char bytes[kReadAtOnce];
  const ssize_t got = recv(socket_, bytes, sizeof bytes, 0);
  if (got > 0) {
    reader_.append({bytes, static_cast<std::size_t>(got)});
    return Io::progress;
  }
  const bool later = got < 0 && (errno == EAGAIN || errno == EINTR);
  return later ? Io::blocked : Io::ended;
}

Connection::Io Connection::transmit() {
  while (!reply_.pending().empty()) {
    const std::string_view pending = reply_.pending();
    const ssize_t put = send(socket_, pending.data(), pending.size(), MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return errno == EAGAIN ? Io::blocked : Io::ended;
    reply_.sent(static_cast<std::size_t>(put));
  }
  return Io::progress;
}

bool Connection::answer() {
  while (after_ == After::go_on) {
    if (!has_room()) return true;
    switch (reader_.next()) {
      case RequestReader::Outcome::incomplete:
        return false;
      case RequestReader::Outcome::error:
        reply_.error("ERR " + reader_.error());
        after_ = After::close;
        return false;
      case RequestReader::Outcome::request:
        after_ = interpreter_.execute(reader_.arguments(), reply_);
    }
  }
  return false;
}

}  // namespace kv
