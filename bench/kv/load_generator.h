// What redis-benchmark does, with every latency kept: clients that each send a SET of a random key,
// wait for its reply and send the next.
//
// Why not redis-benchmark itself: it prints the 99.9th percentile only by a histogram whose steps
// it chooses, over a number of requests that has to be known beforehand, whereas a save takes as
// long as it takes.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "kv/dataset.h"
#include "trouble.h"
#include "workload.h"

namespace holdfast::bench {

class LoadGenerator {
 public:
  static constexpr unsigned kClients = 50;  // redis-benchmark's own number

  [[nodiscard]] static Result<std::unique_ptr<LoadGenerator>> connect(const std::string& path,
                                                                      const Dataset& dataset);
  ~LoadGenerator();
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  // What another thread tells it meanwhile.
  struct Steering {
    std::atomic<bool> record = false;  // requests that are sent from now on count
    std::atomic<bool> stop = false;
  };
  // Loads the server until it is told to stop. Latencies in nanoseconds, in no order.
  [[nodiscard]] Result<std::vector<std::uint32_t>> run(Steering& steering);

 private:
  struct Client {
    int socket = -1;
    std::uint64_t sent_at = 0;
    bool counts = false;
    std::size_t got = 0;  // bytes of the reply
  };
  explicit LoadGenerator(const Dataset& dataset) : dataset_(dataset), random_(1) {}
  [[nodiscard]] Result<void> send_next(Client& client, const Steering& steering);
  // True: the reply is whole.
  [[nodiscard]] Result<bool> receive(Client& client);

  const Dataset& dataset_;
  Random random_;
  std::vector<Client> clients_;
  int epoll_ = -1;
  std::uint64_t version_ = 0;
  std::string request_;
};

// The p-th quantile (0.999) of latencies, in microseconds.
[[nodiscard]] double quantile_us(std::vector<std::uint32_t>& latencies, double p);

}  // namespace holdfast::bench
