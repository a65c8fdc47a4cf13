#include "sys/real/fork_guard.h"

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "sync/sync.h"
#include "sys/real/signal_action.h"

namespace holdfast::sys::real {
namespace {

// A guarded range. first == 0: free; first == kBusy: being filled.
struct GuardedRange {
  std::atomic<Address> first{0};
  std::atomic<Address> end{0};
};
constexpr Address kBusy = 1;

constinit std::array<GuardedRange, kGuardedRangesMax> g_ranges;
constinit std::atomic<std::uint32_t> g_used{0};  // places [0, g_used) may be taken
constinit PreviousAction g_previous;             // in the child: SIGSEGV's action before ours

constinit sync::Mutex<sync::Rank::device> g_mutex;
constinit bool g_installed HF_GUARDED_BY(g_mutex) = false;

bool is_guarded(Address address) noexcept {
  const std::uint32_t used = g_used.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < used; ++i) {
    const Address first = g_ranges[i].first.load(std::memory_order_acquire);
    if (first > kBusy && address >= first && address < g_ranges[i].end.load()) return true;
  }
  return false;
}

// One line with system calls only: the child of a threaded process may not use stdio.
void say_not_inherited(Address address) noexcept {
  char line[] =
      "holdfast: address 0x0000000000000000 belongs to a region of the parent process; regions are "
      "not inherited by fork\n";
  char* digit = std::strchr(line, 'x') + 16;
  for (int i = 0; i < 16; ++i, address >>= 4) *digit-- = "0123456789abcdef"[address & 15];
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, line, sizeof(line) - 1);
}

void on_child_sigsegv(int signal, siginfo_t* info, void* context) {
  const auto address = reinterpret_cast<Address>(info->si_addr);
  if (info->si_code > 0 && is_guarded(address)) {
    say_not_inherited(address);
    set_default_action(signal);
    return;  // the instruction faults again, and the default action ends the child there
  }
  g_previous.forward(signal, info, context);
}

// Keeps the addresses of regions empty: otherwise the child's next mapping (a thread's stack, a
// large malloc) may take the hole, and the touch of a region would find foreign bytes.
void close_holes() noexcept {
  const std::uint32_t used = g_used.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < used; ++i) {
    const Address first = g_ranges[i].first.load(std::memory_order_acquire);
    if (first <= kBusy) continue;
    ::mmap(reinterpret_cast<void*>(first), g_ranges[i].end.load() - first, PROT_NONE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  }
}

void in_child() noexcept {
  if (g_used.load(std::memory_order_acquire) == 0) return;
  close_holes();
  struct sigaction current{};
  if (::sigaction(SIGSEGV, nullptr, &current) != 0) return;
  if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == &on_child_sigsegv) return;
  if (!g_previous.set(current)) return;
  struct sigaction ours{};
  ours.sa_sigaction = &on_child_sigsegv;
  // On the alternate stack if there is one: an overflow of the stack, which whoever was before us
  // may handle, comes here first.
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&ours.sa_mask);
  ::sigaction(SIGSEGV, &ours, nullptr);
}

}  // namespace

int install_fork_guard() noexcept {
  const sync::MutexGuard guard(g_mutex);
  if (g_installed) return 0;
  const int error = ::pthread_atfork(nullptr, nullptr, &in_child);
  g_installed = error == 0;
  return error;
}

void guard_range(Address address, std::uint64_t bytes) noexcept {
  for (std::uint32_t i = 0; i < kGuardedRangesMax; ++i) {
    GuardedRange& range = g_ranges[i];
    Address none = 0;
    if (!range.first.compare_exchange_strong(none, kBusy)) continue;
    range.end.store(address + bytes);
    range.first.store(address, std::memory_order_release);
    std::uint32_t used = g_used.load();
    while (used < i + 1 && !g_used.compare_exchange_weak(used, i + 1)) {
    }
    return;
  }
}

void unguard_range(Address address, std::uint64_t bytes) noexcept {
  const Address end = address + bytes;
  const std::uint32_t used = g_used.load(std::memory_order_acquire);
  for (std::uint32_t i = 0; i < used; ++i) {
    GuardedRange& range = g_ranges[i];
    Address first = range.first.load(std::memory_order_acquire);
    if (first <= kBusy) continue;
    const Address last = range.end.load();
    if (first >= address && last <= end) {
      range.first.compare_exchange_strong(first, 0);
    } else if (first < address && last > address && last <= end) {
      range.end.store(address);  // the tail goes, as by a shrinking resize
    }
  }
}

}  // namespace holdfast::sys::real
