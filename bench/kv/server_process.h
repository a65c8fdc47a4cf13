// A server with its data in memory: examples/kv, or redis-server.
//
// What it is for: the two sides of cow/kv and cow/save are the same work on two servers, and only
// this file knows which is which.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "kv/control_client.h"
#include "trouble.h"

namespace holdfast::bench {

enum class ServerKind : std::uint8_t { kv, redis };

struct ServerSettings {
  ServerKind kind = ServerKind::kv;
  std::string directory;              // where its socket and its image are
  std::uint64_t memory = 2ull << 30;  // kv: its budget; redis-server has no bound
};

class ServerProcess {
 public:
  // Starts it and waits until it answers. Skipped: the program is not installed.
  [[nodiscard]] static Result<std::unique_ptr<ServerProcess>> start(const ServerSettings& settings);
  // Ends it (it dies with this process, too).
  ~ServerProcess();
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;

  [[nodiscard]] const std::string& socket_path() const { return socket_path_; }
  [[nodiscard]] ControlClient& control() { return *control_; }
  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  ServerProcess(std::string socket_path, pid_t pid)
      : socket_path_(std::move(socket_path)), pid_(pid) {}
  [[nodiscard]] Result<void> wait_until_ready();

  std::string socket_path_;
  pid_t pid_;
  std::unique_ptr<ControlClient> control_;
};

}  // namespace holdfast::bench
