// One client: what it has sent, what it is owed, and when to stop listening to it.
#pragma once

#include <cstdint>

#include "commands.h"
#include "reply.h"
#include "request_reader.h"

namespace kv {

class Connection {
 public:
  // Takes the socket, which does not block; closes it in the end.
  Connection(int socket, Interpreter& interpreter) : socket_(socket), interpreter_(interpreter) {}
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Reads what is there, up to kReadAtOnce; answers what can be answered; writes what the socket
  // takes. Called when the socket can be read or written.
  [[nodiscard]] After turn(bool readable);

  [[nodiscard]] int socket() const { return socket_; }
  // The events of epoll that it waits for now. Not EPOLLIN while too much output waits.
  [[nodiscard]] std::uint32_t wanted_events() const;
  std::uint32_t watched_events = 0;  // what epoll was told last; the server's

 private:
  enum class Io : unsigned char { progress, blocked, ended };
  Io receive();
  Io transmit();
  // Executes requests while the output has room. False: none is left.
  bool answer();
  [[nodiscard]] bool has_room() const;

  int socket_;
  Interpreter& interpreter_;
  RequestReader reader_;
  Reply reply_;
  After after_ = After::go_on;  // what happens once all output is written
};

}  // namespace kv
