#include "sys/real/signal_action.h"

#include <pthread.h>
#include <ucontext.h>

#include <cstring>
#include <new>

namespace holdfast::sys::real {
namespace {

bool same_action(const struct sigaction& a, const struct sigaction& b) noexcept {
  // The handler is a union of two pointers of one size.
  return a.sa_sigaction == b.sa_sigaction && a.sa_flags == b.sa_flags &&
         std::memcmp(&a.sa_mask, &b.sa_mask, sizeof(a.sa_mask)) == 0;
}

// What raised it: an instruction of this thread, or somebody's kill().
bool is_synchronous(const siginfo_t& info) noexcept { return info.si_code > 0; }

// Ends the program as if nobody handled the signal. An instruction that raised it does so again
// when the handler returns; a sent one is sent again, and arrives when the handler's mask is
// lifted.
void default_action(int signal, const siginfo_t& info) noexcept {
  set_default_action(signal);
  if (!is_synchronous(info)) ::raise(signal);
}

// The mask that the previous handler would have run under.
void enter_mask_of(const struct sigaction& action, int signal, const void* context) noexcept {
  sigset_t mask = static_cast<const ucontext_t*>(context)->uc_sigmask;
  sigset_t all = action.sa_mask;
  for (int s = 1; s < NSIG; ++s) {
    if (sigismember(&all, s) == 1) sigaddset(&mask, s);
  }
  if ((action.sa_flags & SA_NODEFER) == 0) sigaddset(&mask, signal);
  ::pthread_sigmask(SIG_SETMASK, &mask, nullptr);
}

}  // namespace

void set_default_action(int signal) noexcept {
  struct sigaction action{};
  action.sa_handler = SIG_DFL;
  ::sigaction(signal, &action, nullptr);
}

bool PreviousAction::set(const struct sigaction& action) noexcept {
  const Record* const old = record_.load(std::memory_order_relaxed);
  if (old != nullptr && same_action(old->action, action)) return true;
  const auto* record = new (std::nothrow) Record{action, old};
  if (record == nullptr) return false;
  record_.store(record, std::memory_order_release);
  return true;
}

struct sigaction PreviousAction::get() const noexcept {
  const Record* const record = record_.load(std::memory_order_acquire);
  if (record != nullptr) return record->action;
  struct sigaction none{};
  none.sa_handler = SIG_DFL;
  return none;
}

void PreviousAction::forward(int signal, siginfo_t* info, void* context) const noexcept {
  const struct sigaction action = get();
  const bool with_info = (action.sa_flags & SA_SIGINFO) != 0;
  if (!with_info && action.sa_handler == SIG_IGN) {
    // The kernel does not let an instruction's signal be ignored: it ends the program.
    if (is_synchronous(*info)) default_action(signal, *info);
    return;
  }
  if (!with_info && action.sa_handler == SIG_DFL) return default_action(signal, *info);
  if ((action.sa_flags & static_cast<int>(SA_RESETHAND)) != 0) set_default_action(signal);
  enter_mask_of(action, signal, context);
  if (with_info) {
    action.sa_sigaction(signal, info, context);
  } else {
    action.sa_handler(signal);
  }
}

}  // namespace holdfast::sys::real
