#include "sys/real/real_parking.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

namespace holdfast::sys::real {
namespace {

constexpr std::uint64_t kNsPerSecond = 1'000'000'000;

// A lock-free std::atomic of 32 bits is its value: what the kernel compares.
static_assert(sizeof(std::atomic<std::uint32_t>) == 4 &&
              std::atomic<std::uint32_t>::is_always_lock_free);

class FutexParking final : public sync::Parking {
 public:
  constexpr FutexParking() noexcept = default;

  void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
            std::uint64_t timeout_ns) noexcept override {
    const int saved = errno;
    timespec timeout{.tv_sec = static_cast<time_t>(timeout_ns / kNsPerSecond),
                     .tv_nsec = static_cast<long>(timeout_ns % kNsPerSecond)};
    // EAGAIN (the word has changed), EINTR and ETIMEDOUT are all a return: the caller looks again.
    ::syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, expected, timeout_ns == 0 ? nullptr : &timeout,
              nullptr, 0);
    errno = saved;
  }

  void wake(const std::atomic<std::uint32_t>& word, std::uint32_t count) noexcept override {
    const int saved = errno;
    ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, count, nullptr, nullptr, 0);
    errno = saved;
  }

  // The one that spins waits for a thread that may need this very CPU, so the CPU is given away.
  void relax() noexcept override { ::sched_yield(); }
};

constinit FutexParking g_parking;

// Before every other constructor: a static object of the program may create an engine.
[[gnu::constructor(101)]] void install() noexcept { sync::install_parking(&g_parking); }

}  // namespace

sync::Parking& real_parking() noexcept { return g_parking; }

}  // namespace holdfast::sys::real
