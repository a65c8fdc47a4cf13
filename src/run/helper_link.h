// The pager's end of the connection to a helper: one command at a time.
//
// A helper that is stopped (SIGSTOP stops all threads of a process) does not answer: the command
// then stays under way, and until its answer has come nobody may read the userfaultfd. Guarded by
// its client's lock.
#pragma once

#include "run/shim/protocol.h"

namespace holdfast::run {

class HelperLink {
 public:
  HelperLink() noexcept = default;
  ~HelperLink();
  HelperLink(const HelperLink&) = delete;
  HelperLink& operator=(const HelperLink&) = delete;

  void connect(int connection, const Area& area) noexcept;
  void disconnect() noexcept;
  [[nodiscard]] bool connected() const noexcept { return connection_ >= 0; }
  [[nodiscard]] int connection() const noexcept { return connection_; }
  [[nodiscard]] const Area& area() const noexcept { return area_; }

  // False: the helper is gone.
  [[nodiscard]] bool send(const Command& command) noexcept;
  enum class Outcome : std::uint8_t { answered, late, gone };
  // Waits for the answer of what was sent; 0: only looks.
  [[nodiscard]] Outcome await(Answer& answer, int timeout_ms) noexcept;
  // A command has been sent and not answered.
  [[nodiscard]] bool under_way() const noexcept { return under_way_; }
  // ... of the kind during which nobody may read the userfaultfd: it changes what stands where.
  [[nodiscard]] bool holds_events() const noexcept {
    return under_way_ && command_.kind == CommandKind::move_out;
  }
  // Its thread id; 0: it does not run yet.
  [[nodiscard]] int thread() const noexcept { return thread_; }
  // What was sent last.
  [[nodiscard]] const Command& command() const noexcept { return command_; }

 private:
  int connection_ = -1;
  Area area_{};
  bool under_way_ = false;
  int thread_ = 0;
  Command command_{};
};

}  // namespace holdfast::run
