#include "sys/real/sigbus_router.h"

#include <pthread.h>
#include <ucontext.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <new>

#include "sync/sync.h"
#include "sys/real/signal_action.h"

namespace holdfast::sys::real {
namespace {

// One engine's place. A handler counts itself in before it looks at the sink, and remove_sink takes
// the sink out before it looks at the count (both sequentially consistent): either the handler sees
// no sink or the remover sees the handler.
struct SinkPlace {
  std::atomic<FaultSink*> sink{nullptr};
  std::atomic<std::uint32_t> inside{0};  // handlers that may be using the sink
};

constinit std::array<SinkPlace, kSinksMax> g_places;

// Guards the installing and the adding, never held by a handler.
constinit sync::Mutex<sync::Rank::device> g_mutex;
constinit std::size_t g_sinks HF_GUARDED_BY(g_mutex) = 0;
constinit bool g_installed HF_GUARDED_BY(g_mutex) = false;
constinit PreviousAction g_previous;

constexpr std::uint64_t kRemovalPollNs = 1'000'000;  // handlers do not wake the remover: they poll

enum class Verdict : std::uint8_t { served, not_ours, fatal };

Verdict ask(SinkPlace& place, Address address, Access access) noexcept {
  if (place.sink.load(std::memory_order_relaxed) == nullptr) return Verdict::not_ours;
  Verdict verdict = Verdict::not_ours;
  place.inside.fetch_add(1);
  FaultSink* const sink = place.sink.load();
  if (sink != nullptr && sink->owns(address)) {
    switch (sink->on_fault(address, access)) {
      case FaultOutcome::served:
        verdict = Verdict::served;
        break;
      case FaultOutcome::fatal:
        verdict = Verdict::fatal;
        break;
      case FaultOutcome::not_ours:
      case FaultOutcome::far:  // not from on_fault()
        break;
    }
  }
  place.inside.fetch_sub(1);
  return verdict;
}

Verdict ask_all(Address address, Access access) noexcept {
  for (SinkPlace& place : g_places) {
    const Verdict verdict = ask(place, address, access);
    if (verdict != Verdict::not_ours) return verdict;
  }
  return Verdict::not_ours;
}

// Bit 1 of the x86 page-fault error code: it was a write.
Access access_of(const void* context) noexcept {
  const auto* user = static_cast<const ucontext_t*>(context);
  return (user->uc_mcontext.gregs[REG_ERR] & 2) != 0 ? Access::write : Access::read;
}

void on_sigbus(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  Verdict verdict = Verdict::not_ours;
  if (info->si_code == BUS_ADRERR) {
    verdict = ask_all(reinterpret_cast<Address>(info->si_addr), access_of(context));
  }
  // Fatal: the sink has said why. The instruction faults again, and the default action ends the
  // program there, so that a core dump shows the place.
  if (verdict == Verdict::fatal) set_default_action(signal);
  errno = saved_errno;
  if (verdict == Verdict::not_ours) g_previous.forward(signal, info, context);
}

int install() noexcept HF_REQUIRES(g_mutex) {
  struct sigaction current{};
  if (::sigaction(SIGBUS, nullptr, &current) != 0) return errno;
  if ((current.sa_flags & SA_SIGINFO) != 0 && current.sa_sigaction == &on_sigbus) return 0;
  // Before the handler: it may run as soon as it is installed.
  if (!g_previous.set(current)) return ENOMEM;
  struct sigaction ours{};
  ours.sa_sigaction = &on_sigbus;
  ours.sa_flags = SA_SIGINFO | SA_RESTART;
  sigfillset(&ours.sa_mask);
  return ::sigaction(SIGBUS, &ours, nullptr) == 0 ? 0 : errno;
}

void uninstall() noexcept HF_REQUIRES(g_mutex) {
  struct sigaction current{};
  if (::sigaction(SIGBUS, nullptr, &current) != 0) return;
  // Somebody is above us and will call us: stay, and pass on.
  if ((current.sa_flags & SA_SIGINFO) == 0 || current.sa_sigaction != &on_sigbus) return;
  const struct sigaction previous = g_previous.get();
  ::sigaction(SIGBUS, &previous, nullptr);
  g_installed = false;
}

}  // namespace

int add_sink(FaultSink& sink) noexcept {
  const sync::MutexGuard guard(g_mutex);
  if (g_sinks == kSinksMax) return EMFILE;
  if (!g_installed) {
    if (const int error = install(); error != 0) return error;
    g_installed = true;
  }
  for (SinkPlace& place : g_places) {
    if (place.sink.load() != nullptr) continue;
    place.sink.store(&sink);
    ++g_sinks;
    return 0;
  }
  return EMFILE;
}

void remove_sink(FaultSink& sink) noexcept {
  SinkPlace* mine = nullptr;
  {
    const sync::MutexGuard guard(g_mutex);
    for (SinkPlace& place : g_places) {
      if (place.sink.load() == &sink) mine = &place;
    }
    HF_CHECK(mine != nullptr);
    mine->sink.store(nullptr);
    --g_sinks;
    if (g_sinks == 0) uninstall();
  }
  // Outside of the lock: a handler may be busy with a swap-in for a while.
  for (std::uint32_t inside = mine->inside.load(); inside != 0; inside = mine->inside.load()) {
    sync::parking().wait(mine->inside, inside, kRemovalPollNs);
  }
}

}  // namespace holdfast::sys::real
