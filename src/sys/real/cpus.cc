#include "sys/real/cpus.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>

namespace holdfast::sys::real {

std::uint32_t configured_cpus() noexcept {
  // Asked once: glibc reads /sys for it. Not a static local, whose guard a signal handler that
  // interrupts its making would wait for.
  static std::atomic<std::uint32_t> known{0};
  std::uint32_t count = known.load(std::memory_order_relaxed);
  if (count == 0) {
    count = static_cast<std::uint32_t>(std::clamp(::sysconf(_SC_NPROCESSORS_CONF), 1L, 1L << 16));
    known.store(count, std::memory_order_relaxed);
  }
  return count;
}

std::uint32_t usable_cpus() noexcept {
  cpu_set_t set;
  CPU_ZERO(&set);
  // EINVAL: more CPUs than cpu_set_t holds.
  if (::sched_getaffinity(0, sizeof(set), &set) != 0) return configured_cpus();
  return std::max(1U, static_cast<std::uint32_t>(CPU_COUNT(&set)));
}

}  // namespace holdfast::sys::real
