// Where shims say hello: a socket with an abstract name, and the conversation of shim/protocol.h.
//
// Only descendants are listened to: whoever else knows the name is turned away.
#pragma once

#include <memory>
#include <string>

#include "run/client.h"
#include "run/registry.h"
#include "sys/sys.h"

namespace holdfast::run {

class Registrar {
 public:
  Registrar(Parts& parts, Registry& registry) noexcept : parts_(parts), registry_(registry) {}
  ~Registrar() { stop(); }
  Registrar(const Registrar&) = delete;
  Registrar& operator=(const Registrar&) = delete;

  // Opens the socket and starts listening.
  Expected<void> start();
  void stop();
  // What shims find in their environment, "NAME=value".
  [[nodiscard]] std::string environment() const;

 private:
  static void main(void* self);
  void run();
  void greet(int connection);
  void refused(int pid, int error);
  int greet_start(int connection, int pid);
  int greet_forked(int connection, int pid);

  Parts& parts_;
  Registry& registry_;
  std::string name_;
  int listener_ = -1;
  int device_ = -1;  // of /dev/userfaultfd, for shims that may not open it; -1: not to be had
  int stop_fd_ = -1;
  std::unique_ptr<sys::Thread> thread_;
};

}  // namespace holdfast::run
