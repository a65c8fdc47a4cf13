// Threads of the engine's own: pthreads that take no asynchronous signal.
#pragma once

#include <memory>

#include "sys/machine.h"

namespace holdfast::sys::real {

// Blocks, in the calling thread, every signal but those that the thread's own instructions raise
// (SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT) while it lives. A thread started meanwhile
// inherits the mask.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept;
  ~SignalsBlocked();
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  unsigned char saved_[128];  // a sigset_t, so that this header needs no <csignal>
};

// See Machine::start_thread. Task context.
[[nodiscard]] Expected<std::unique_ptr<Thread>> start_real_thread(const char* name,
                                                                  void (*function)(void*),
                                                                  void* argument);

}  // namespace holdfast::sys::real
