// Signal actions that are not ours: kept while ours is installed, and called for signals that are
// not ours. Shared by the SIGBUS router and the fork guard.
#pragma once

#include <atomic>
#include <csignal>

namespace holdfast::sys::real {

// The default action for the signal, from now on. Async-signal-safe.
void set_default_action(int signal) noexcept;

// The action that was there before ours.
class PreviousAction {
 public:
  constexpr PreviousAction() noexcept = default;

  // Keeps the action. False: no memory. Task context; callers exclude one another.
  [[nodiscard]] bool set(const struct sigaction& action) noexcept;
  [[nodiscard]] struct sigaction get() const noexcept;

  // Does with a signal that is not ours what would have happened without us. Called at the end of
  // our handler, with the handler's arguments; may not return (a handler may jump out).
  // Async-signal-safe as far as the previous handler is.
  void forward(int signal, siginfo_t* info, void* context) const noexcept;

 private:
  // Records are never freed or changed, so that a handler may read one at any time; they chain so
  // that they stay reachable. There is one per change of the action between two installs: few.
  struct Record {
    struct sigaction action;
    const Record* older;
  };
  std::atomic<const Record*> record_{nullptr};
};

}  // namespace holdfast::sys::real
