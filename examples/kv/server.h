// The event loop: one thread, epoll, any number of clients up to kClientsMost.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "commands.h"
#include "connection.h"
#include "service.h"

namespace kv {

class Server {
 public:
  explicit Server(Service& service) : service_(service), interpreter_(service) {}
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Listens where the settings say. Error: one line that says what failed.
  [[nodiscard]] std::string listen();
  // "127.0.0.1:6379" or the path of the socket; port 0 has become a real one.
  [[nodiscard]] const std::string& where() const { return where_; }
  // Serves until SHUTDOWN comes, or SIGTERM or SIGINT, which have to be blocked in all threads; at
  // a signal it saves, if there is a place for it. Error: one line.
  [[nodiscard]] std::string run();

 private:
  [[nodiscard]] std::string listen_on_port();
  [[nodiscard]] std::string listen_on_path();
  [[nodiscard]] std::string watch_signals();
  [[nodiscard]] std::string end_by_signal();
  void end_of_save();
  bool watch(int descriptor, std::uint32_t events, bool is_new);
  void accept_clients();
  // False: SHUTDOWN.
  [[nodiscard]] bool serve(int socket, std::uint32_t events);
  void drop(int socket);

  Service& service_;
  Interpreter interpreter_;
  std::unordered_map<int, std::unique_ptr<Connection>> connections_;  // by socket
  std::string where_;
  std::size_t clients_most_ = 0;
  int listener_ = -1;
  int epoll_ = -1;
  int signals_ = -1;
};

}  // namespace kv
