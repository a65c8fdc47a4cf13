#include "sys/real/real_thread.h"

#include <pthread.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <new>

namespace holdfast::sys::real {
namespace {

class RealThread final : public Thread {
 public:
  RealThread(void (*function)(void*), void* argument) noexcept
      : function_(function), argument_(argument) {}
  ~RealThread() override { HF_CHECK(!joinable_); }

  int start(const char* name) noexcept {
    const SignalsBlocked blocked;
    const int error = ::pthread_create(&handle_, nullptr, &RealThread::main, this);
    if (error != 0) return error;
    joinable_ = true;
    ::pthread_setname_np(handle_, name);
    return 0;
  }

  void join() noexcept override {
    HF_CHECK(joinable_);
    const int error = ::pthread_join(handle_, nullptr);
    HF_CHECK2(error == 0, error, 0);
    joinable_ = false;
  }

 private:
  static void* main(void* self) {
    auto* thread = static_cast<RealThread*>(self);
    thread->function_(thread->argument_);
    return nullptr;
  }

  void (*function_)(void*);
  void* argument_;
  pthread_t handle_{};
  bool joinable_ = false;  // started and not yet joined
};

}  // namespace

SignalsBlocked::SignalsBlocked() noexcept {
  static_assert(sizeof(saved_) >= sizeof(sigset_t));
  sigset_t mask;
  sigfillset(&mask);
  for (const int synchronous : {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGABRT}) {
    sigdelset(&mask, synchronous);
  }
  sigset_t old;
  ::pthread_sigmask(SIG_SETMASK, &mask, &old);
  std::memcpy(saved_, &old, sizeof(old));
}

SignalsBlocked::~SignalsBlocked() {
  sigset_t old;
  std::memcpy(&old, saved_, sizeof(old));
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
}

Expected<std::unique_ptr<Thread>> start_real_thread(const char* name, void (*function)(void*),
                                                    void* argument) {
  HF_CHECK2(std::strlen(name) <= 15, std::strlen(name), 15);
  std::unique_ptr<RealThread> thread(new (std::nothrow) RealThread(function, argument));
  if (!thread) return fail({.code = Errc::out_of_memory, .doing = "start thread"});
  const int error = thread->start(name);
  if (error != 0) {
    return fail({.code = Errc::system,
                 .os_errno = error,
                 .doing = "start thread",
                 .remedy = "raise the limit of threads (ulimit -u, pids.max of the container)"});
  }
  return std::unique_ptr<Thread>(std::move(thread));
}

}  // namespace holdfast::sys::real
