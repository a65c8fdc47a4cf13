#include "kv/load_generator.h"

#include <fmt/format.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <string_view>

#include "kv/control_client.h"

namespace holdfast::bench {
namespace {

constexpr std::string_view kGoodReply = "+OK\r\n";

std::uint64_t now_ns() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}

}  // namespace

Result<std::unique_ptr<LoadGenerator>> LoadGenerator::connect(const std::string& path,
                                                              const Dataset& dataset) {
  std::unique_ptr<LoadGenerator> made(new LoadGenerator(dataset));
  made->epoll_ = epoll_create1(EPOLL_CLOEXEC);
  if (made->epoll_ < 0) return system_trouble("epoll_create1");
  for (unsigned i = 0; i < kClients; ++i) {
    const auto socket = connect_to(path);
    if (!socket) return std::unexpected(socket.error());
    made->clients_.push_back({.socket = *socket});
    epoll_event event = {};
    event.events = EPOLLIN;
    event.data.u32 = i;
    if (epoll_ctl(made->epoll_, EPOLL_CTL_ADD, *socket, &event) != 0) {
      return system_trouble("epoll_ctl");
    }
  }
  return made;
}

LoadGenerator::~LoadGenerator() {
  for (const Client& client : clients_) close(client.socket);
  if (epoll_ >= 0) close(epoll_);
}

Result<std::vector<std::uint32_t>> LoadGenerator::run(Steering& steering) {
  std::vector<std::uint32_t> latencies;
  std::array<epoll_event, kClients> events;
  for (Client& client : clients_) {
    if (auto sent = send_next(client, steering); !sent) return std::unexpected(sent.error());
  }
  for (unsigned busy = kClients; busy > 0;) {
    const int ready = epoll_wait(epoll_, events.data(), kClients, -1);
    if (ready < 0 && errno != EINTR) return system_trouble("epoll_wait");
    for (int i = 0; i < ready; ++i) {
      Client& client = clients_[events[static_cast<std::size_t>(i)].data.u32];
      const auto whole = receive(client);
      if (!whole) return std::unexpected(whole.error());
      if (!*whole) continue;
      const std::uint64_t took = std::min<std::uint64_t>(now_ns() - client.sent_at, UINT32_MAX);
      if (client.counts) latencies.push_back(static_cast<std::uint32_t>(took));
      if (steering.stop) {
        --busy;
        continue;
      }
      if (auto sent = send_next(client, steering); !sent) return std::unexpected(sent.error());
    }
  }
  return latencies;
}

Result<void> LoadGenerator::send_next(Client& client, const Steering& steering) {
  request_.clear();
  dataset_.append_set(request_, random_.below(dataset_.keys()), ++version_);
  client.got = 0;
  client.counts = steering.record;
  client.sent_at = now_ns();
  // One request is far below what the socket's buffer takes.
  const ssize_t put = send(client.socket, request_.data(), request_.size(), MSG_NOSIGNAL);
  if (put == static_cast<ssize_t>(request_.size())) return {};
  return put < 0 ? system_trouble("send to the server") : failure("a request was sent in part");
}

Result<bool> LoadGenerator::receive(Client& client) {
  char reply[64];
  const ssize_t got = recv(client.socket, reply, sizeof reply, 0);
  if (got < 0) return system_trouble("receive from the server");
  const std::string_view text(reply, static_cast<std::size_t>(got));
  if (text.empty() || !kGoodReply.substr(client.got).starts_with(text)) {
    return failure(fmt::format("the server answers a SET with '{}'", text));
  }
  client.got += text.size();
  return client.got == kGoodReply.size();
}

double quantile_us(std::vector<std::uint32_t>& latencies, double p) {
  if (latencies.empty()) return 0;
  const double place = std::ceil(p * double(latencies.size())) - 1;
  const auto at = latencies.begin() + static_cast<std::ptrdiff_t>(std::max(0.0, place));
  std::nth_element(latencies.begin(), at, latencies.end());
  return double(*at) / 1e3;
}

}  // namespace holdfast::bench
