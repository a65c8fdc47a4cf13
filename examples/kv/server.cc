#include "server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "bounds.h"

namespace kv {
namespace {

constexpr int kBacklog = 511;
constexpr int kEventsAtOnce = 128;
constexpr int kAcceptAtOnce = 64;

// Descriptors that are no clients: the engine's, standard streams, the listener.
constexpr std::size_t kOtherDescriptors = 64;

// How many clients there are descriptors for, after asking for as many as may be needed. A client
// that could not be accepted would be announced by epoll again and again.
std::size_t clients_most() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return kClientsMost;
  const rlim_t wanted = kClientsMost + kOtherDescriptors;
  if (limit.rlim_cur < wanted) {
    limit.rlim_cur = std::min(wanted, limit.rlim_max);
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    (void)getrlimit(RLIMIT_NOFILE, &limit);
  }
  const std::size_t most = limit.rlim_cur;
  return std::clamp<std::size_t>(most, kOtherDescriptors + 1, wanted) - kOtherDescriptors;
}

std::string trouble(const std::string& doing) { return doing + ": " + std::strerror(errno); }

}  // namespace

Server::~Server() {
  connections_.clear();
  for (const int descriptor : {listener_, epoll_, signals_}) {
    if (descriptor >= 0) close(descriptor);
  }
  if (!service_.settings.unix_socket.empty() && listener_ >= 0) unlink(where_.c_str());
}

std::string Server::listen() {
  clients_most_ = clients_most();
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (epoll_ < 0) return trouble("epoll_create1");
  const bool on_path = !service_.settings.unix_socket.empty();
  if (std::string error = on_path ? listen_on_path() : listen_on_port(); !error.empty()) {
    return error;
  }
  if (::listen(listener_, kBacklog) != 0) return trouble("listen on " + where_);
  if (!watch(listener_, EPOLLIN, true) ||
      !watch(service_.persistence.ended_event(), EPOLLIN, true)) {
    return trouble("epoll_ctl");
  }
  return watch_signals();
}

std::string Server::listen_on_port() {
  const Settings& settings = service_.settings;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(settings.port);
  if (inet_pton(AF_INET, settings.address.c_str(), &address.sin_addr) != 1) {
    return settings.address + " is not an IPv4 address";
  }
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener_ < 0) return trouble("socket");
  const int yes = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  socklen_t length = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), length) != 0) {
    return trouble("listen on " + settings.address + ":" + std::to_string(settings.port));
  }
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &length);
  where_ = settings.address + ":" + std::to_string(ntohs(address.sin_port));
  return {};
}

std::string Server::listen_on_path() {
  const std::string& path = service_.settings.unix_socket;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return path + " is longer than a socket's path may be, " +
           std::to_string(sizeof address.sun_path - 1) + " bytes";
  }
  path.copy(address.sun_path, path.size());
  const int made = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (made < 0) return trouble("socket");
  // A socket that nobody listens on is left over from a server that was killed.
  if (connect(made, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 &&
      errno == ECONNREFUSED) {
    unlink(path.c_str());
  }
  if (bind(made, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    const std::string error = trouble("listen on " + path);
    close(made);
    return error;
  }
  listener_ = made;
  where_ = path;
  return {};
}

std::string Server::watch_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  signals_ = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
  if (signals_ < 0) return trouble("signalfd");
  if (!watch(signals_, EPOLLIN, true)) return trouble("epoll_ctl");
  return {};
}

bool Server::watch(int descriptor, std::uint32_t events, bool is_new) {
  epoll_event event = {};
  event.events = events;
  event.data.fd = descriptor;
  return epoll_ctl(epoll_, is_new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, descriptor, &event) == 0;
}

std::string Server::run() {
  std::array<epoll_event, kEventsAtOnce> events;
  for (;;) {
    const int ready = epoll_wait(epoll_, events.data(), kEventsAtOnce, -1);
    if (ready < 0 && errno != EINTR) return trouble("epoll_wait");
    for (int i = 0; i < ready; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      if (event.data.fd == signals_) return end_by_signal();
      if (event.data.fd == listener_) {
        accept_clients();
      } else if (event.data.fd == service_.persistence.ended_event()) {
        end_of_save();
      } else if (!serve(event.data.fd, event.events)) {
        return {};
      }
    }
  }
}

std::string Server::end_by_signal() {
  if (!service_.persistence.is_enabled()) return {};
  const auto saved = service_.persistence.save(service_.database.region());
  return saved ? std::string() : "the data could not be saved: " + saved.error().message();
}

void Server::end_of_save() {
  if (const auto saved = service_.persistence.finish(); !saved) {
    std::fprintf(stderr, "kv: BGSAVE failed: %s\n", saved.error().message().c_str());
  }
}

void Server::accept_clients() {
  for (int i = 0; i < kAcceptAtOnce; ++i) {
    const int socket = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (socket < 0) return;
    ++service_.counters.connections;
    if (connections_.size() >= clients_most_) {
      ++service_.counters.rejected;
      constexpr std::string_view kFull = "-ERR max number of clients reached\r\n";
      (void)send(socket, kFull.data(), kFull.size(), MSG_NOSIGNAL);
      close(socket);
      continue;
    }
    const int yes = 1;  // refused for unix sockets, which need it not
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    auto connection = std::make_unique<Connection>(socket, interpreter_);
    connection->watched_events = EPOLLIN;
    if (!watch(socket, EPOLLIN, true)) continue;
    connections_.emplace(socket, std::move(connection));
    service_.counters.clients = connections_.size();
  }
}

bool Server::serve(int socket, std::uint32_t events) {
  const auto found = connections_.find(socket);
  if (found == connections_.end()) return true;  // dropped earlier in the same batch of events
  Connection& connection = *found->second;
  const After after = connection.turn((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0);
  if (after == After::shut_down) return false;
  const std::uint32_t wanted = connection.wanted_events();
  bool alive = after != After::close;
  if (alive && wanted != connection.watched_events) {
    alive = watch(socket, wanted, false);
    connection.watched_events = wanted;
  }
  if (!alive) drop(socket);
  return true;
}

void Server::drop(int socket) {
  connections_.erase(socket);
  service_.counters.clients = connections_.size();
}

}  // namespace kv
