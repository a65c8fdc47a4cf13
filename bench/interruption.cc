#include "interruption.h"

#include <poll.h>

#include <cerrno>
#include <csignal>
#include <string>

namespace holdfast::bench {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};

volatile std::sig_atomic_t caught_signal = 0;

void remember(int number) { caught_signal = number; }

sigset_t handled_set() {
  sigset_t set;
  sigemptyset(&set);
  for (int number : kSignals) sigaddset(&set, number);
  return set;
}

}  // namespace

void install_interruption() {
  struct sigaction action = {};
  action.sa_handler = remember;
  for (int number : kSignals) {
    struct sigaction before = {};
    sigaction(number, &action, &before);
    const bool nohup = number == SIGHUP && before.sa_handler == SIG_IGN;
    if (nohup) sigaction(number, &before, nullptr);
  }
  const sigset_t set = handled_set();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);  // a child's death is seen as an error of read and write
}

void restore_default_signals() {
  for (int number : kSignals) std::signal(number, SIG_DFL);
  std::signal(SIGPIPE, SIG_DFL);
  const sigset_t set = handled_set();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
}

Result<void> check_interruption() {
  // Lets in what is pending, without waiting.
  const sigset_t set = handled_set();
  sigprocmask(SIG_UNBLOCK, &set, nullptr);
  sigprocmask(SIG_BLOCK, &set, nullptr);
  if (caught_signal == 0) return {};
  return std::unexpected(
      Trouble{TroubleKind::interrupted, "signal " + std::to_string(caught_signal)});
}

Result<void> wait_readable(int fd) {
  sigset_t waiting;
  sigprocmask(SIG_BLOCK, nullptr, &waiting);
  for (int number : kSignals) sigdelset(&waiting, number);
  for (;;) {
    if (auto fine = check_interruption(); !fine) return fine;
    struct pollfd entry = {fd, POLLIN, 0};
    const int ready = ppoll(&entry, 1, nullptr, &waiting);
    if (ready > 0) return check_interruption();
    if (ready < 0 && errno != EINTR) return system_trouble("waiting for a child process");
  }
}

}  // namespace holdfast::bench
