// One connection to a server that speaks the protocol of Redis, for everything but the load.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "trouble.h"

namespace holdfast::bench {

// A blocking connection to a unix socket; its descriptor, which the caller closes.
[[nodiscard]] Result<int> connect_to(const std::string& path);

class ControlClient {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ControlClient>> connect(const std::string& path);
  ~ControlClient();
  ControlClient(const ControlClient&) = delete;
  ControlClient& operator=(const ControlClient&) = delete;

  // An inline request and its reply: the text of a line or of a bulk. Failed: an error reply, or
  // the server is gone.
  [[nodiscard]] Result<std::string> ask(std::string_view request);
  // Writes requests that are in the protocol's form already; nothing is read.
  [[nodiscard]] Result<void> write(std::string_view requests);
  // One reply to what was written.
  [[nodiscard]] Result<std::string> reply();

  // A line of INFO's section `persistence`.
  [[nodiscard]] Result<std::string> persistence(std::string_view name);

 private:
  explicit ControlClient(int socket) : socket_(socket) {}
  [[nodiscard]] Result<void> fill();

  int socket_;
  std::string buffer_;
};

}  // namespace holdfast::bench
