#include "sys/woken_here.h"

namespace holdfast::sys {

WokenHere::WokenHere(int thread, int cpu) noexcept {
  if (thread <= 0 || cpu < 0) return;
  if (::sched_getaffinity(thread, sizeof before_, &before_) != 0) return;
  if (!CPU_ISSET(static_cast<unsigned>(cpu), &before_) || CPU_COUNT(&before_) == 1) return;
  cpu_set_t here;
  CPU_ZERO(&here);
  CPU_SET(static_cast<unsigned>(cpu), &here);
  if (::sched_setaffinity(thread, sizeof here, &here) == 0) thread_ = thread;
}

WokenHere::~WokenHere() {
  if (thread_ != 0) ::sched_setaffinity(thread_, sizeof before_, &before_);
}

}  // namespace holdfast::sys
