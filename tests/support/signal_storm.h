// A storm of real-time signals at the thread that makes it, for as long as the object lives: from a
// timer, and in debug builds raised at the interleaving points of the lock-free
// protocols, so that the handler runs exactly between two of their steps.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "sync/sync.h"

namespace holdfast::tests {

class SignalStorm {
 public:
  explicit SignalStorm(void (*handler)(int)) : handler_(handler) {
    struct sigaction action{};
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    EXPECT_EQ(sigaction(number(), &action, &before_), 0);
    struct sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = number();
    event._sigev_un._tid = gettid();
    EXPECT_EQ(timer_create(CLOCK_MONOTONIC, &event, &timer_), 0);
    const struct itimerspec every = {.it_interval = {0, kEveryNs}, .it_value = {0, kEveryNs}};
    EXPECT_EQ(timer_settime(timer_, 0, &every, nullptr), 0);
    sync::set_interleave_hook(raise_now_and_then);
  }
  ~SignalStorm() {
    sync::set_interleave_hook(nullptr);
    timer_delete(timer_);
    // Ignoring the signal throws away one that is still queued; by default it would end us.
    EXPECT_EQ(::signal(number(), SIG_IGN), handler_);
    EXPECT_EQ(sigaction(number(), &before_, nullptr), 0);
  }
  SignalStorm(const SignalStorm&) = delete;
  SignalStorm& operator=(const SignalStorm&) = delete;

 private:
  // Well above what a handler takes, or the interrupted code would never get on: about 10 us, and
  // about 1 ms where the thread sanitizer takes part in every atomic operation.
#if defined(__SANITIZE_THREAD__)
  static constexpr long kEveryNs = 5'000'000;
#else
  static constexpr long kEveryNs = 100'000;
#endif

  static int number() { return SIGRTMIN + 1; }
  // The handler's own steps are left alone: it declares interrupt context.
  static void raise_now_and_then() noexcept {
    static thread_local unsigned steps = 0;
    if (sync::this_thread().interrupt_depth == 0 && ++steps % 17 == 0) (void)::raise(number());
  }

  void (*handler_)(int);
  struct sigaction before_{};
  timer_t timer_{};
};

}  // namespace holdfast::tests
