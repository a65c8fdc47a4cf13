// The shim: preloaded into every program of a `holdfast run`, it opens the userfaultfd, hands it to
// the pager and starts the helper thread. Then it is out of the way, until a fork.
//
// No C++ runtime, no malloc, no thread-local variable, no libc but __register_atfork: it runs
// before the program's own libraries are ready, and in the child of a fork. Its variables
// stand in initialised data, that is, in a mapping of the shim's file, which is never managed.
//
// If no pager answers, the program runs as if the shim were not there.
#include <asm/signal.h>
#include <linux/ioctl.h>
#include <linux/mman.h>
#include <linux/sched.h>
#include <linux/socket.h>
#include <linux/userfaultfd.h>

#include "run/shim/helper.h"
#include "run/shim/mappings.h"
#include "run/shim/protocol.h"
#include "run/shim/system_call.h"

extern "C" {
[[gnu::weak]] extern char** environ;
[[gnu::weak]] int __register_atfork(void (*prepare)(), void (*parent)(), void (*child)(),
                                    void* owner);
}

namespace holdfast::run::shim {
namespace {

constexpr std::uint64_t kStackBytes = 8 * kShimPage;
constexpr std::uint64_t kAreaBytes = 2 * kPoolBytes + 16 * kShimPage;
constexpr long kSeqPacket = 5;  // SOCK_SEQPACKET
constexpr long kCloseOnExec = 02000000;
constexpr long kNonBlocking = 04000;
constexpr long kNoSignal = 0x4000;
constexpr int kAfUnix = 1;
constexpr int kSolSocket = 1;
constexpr int kScmRights = 1;
constexpr unsigned long kUserfaultNew = _IO(0xAA, 0x00);  // USERFAULTFD_IOC_NEW, Linux 6.1
constexpr int kWipeOnFork = 18;                           // MADV_WIPEONFORK

struct UnixAddress {
  unsigned short family;
  char path[108];
};
struct Vector {
  void* base;
  unsigned long bytes;
};
struct Message {
  void* name;
  int name_bytes;
  Vector* vectors;
  unsigned long vector_count;
  void* control;
  unsigned long control_bytes;
  int flags;
};
struct Rights {  // a cmsghdr with one descriptor
  unsigned long bytes;
  int level;
  int type;
  int descriptor;
  int padding;
};

// Not zero, so that it stands in .data and not in .bss.
struct State {
  std::uint64_t beacon = 1;
  int managed = -1;  // 1: this address space has a pager
  int address_bytes = -1;
  UnixAddress address = {kAfUnix, {1}};
} g_state;

bool failed(long result) noexcept { return result < 0; }

void close_descriptor(int descriptor) noexcept {
  if (descriptor >= 0) system_call(__NR_close, descriptor);
}

// --- messages ---

template <class T>
bool send(int connection, T& value, int descriptor = -1) noexcept {
  Vector vector{&value, sizeof value};
  Rights rights{sizeof(unsigned long) + 2 * sizeof(int) + sizeof(int), kSolSocket, kScmRights,
                descriptor, 0};
  Message message{nullptr, 0, &vector, 1, nullptr, 0, 0};
  if (descriptor >= 0) {
    message.control = &rights;
    message.control_bytes = sizeof rights;
  }
  return system_call(__NR_sendmsg, connection, as_long(&message), kNoSignal) == sizeof value;
}

template <class T>
bool receive(int connection, T& value, int* descriptor = nullptr) noexcept {
  Vector vector{&value, sizeof value};
  Rights rights{0, 0, 0, -1, 0};
  Message message{nullptr, 0, &vector, 1, &rights, sizeof rights, 0};
  long got;
  do {
    constexpr long kCloseReceived = 0x40000000;  // MSG_CMSG_CLOEXEC
    got = system_call(__NR_recvmsg, connection, as_long(&message), kCloseReceived);
  } while (got == -4);
  const bool has = message.control_bytes >= sizeof rights - sizeof(int) &&
                   rights.type == kScmRights && rights.descriptor >= 0;
  if (has && descriptor != nullptr) {
    *descriptor = rights.descriptor;
  } else if (has) {
    close_descriptor(rights.descriptor);
  }
  return got == static_cast<long>(sizeof value);
}

int connect_to_pager() noexcept {
  const long connection = system_call(__NR_socket, kAfUnix, kSeqPacket | kCloseOnExec, 0);
  if (failed(connection)) return -1;
  if (failed(system_call(__NR_connect, connection, as_long(&g_state.address),
                         g_state.address_bytes))) {
    close_descriptor(static_cast<int>(connection));
    return -1;
  }
  return static_cast<int>(connection);
}

// --- the area ---

// guard | stack | guard ... | pool | guard; the beacon apart.
bool make_area(Area& area) noexcept {
  const long start = system_call(__NR_mmap, 0, kAreaBytes, PROT_NONE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (failed(start)) return false;
  area.start = static_cast<std::uint64_t>(start);
  area.bytes = kAreaBytes;
  const std::uint64_t stack = area.start + kShimPage;
  const std::uint64_t after = stack + kStackBytes + kShimPage;
  area.pool = (after + kPoolBytes - 1) / kPoolBytes * kPoolBytes;
  const auto open_part = [](std::uint64_t at, std::uint64_t bytes) noexcept {
    const long first = static_cast<long>(at);
    const long length = static_cast<long>(bytes);
    return system_call(__NR_mprotect, first, length, PROT_READ | PROT_WRITE) == 0 &&
           system_call(__NR_madvise, first, length, MADV_DONTFORK) == 0;
  };
  return open_part(stack, kStackBytes) && open_part(area.pool, kPoolBytes);
}

bool make_beacon() noexcept {
  const long page = system_call(__NR_mmap, 0, kShimPage, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (failed(page) || failed(system_call(__NR_madvise, page, kShimPage, kWipeOnFork))) return false;
  g_state.beacon = static_cast<std::uint64_t>(page);
  return true;
}

// --- the helper ---

[[noreturn]] void helper_main(HelperTask* task) noexcept {
  const HelperTask mine = *task;
  serve(mine);
}

// Starts a thread on the area's stack with a descriptor table and a working directory of its own.
// Its thread pointer stays that of the caller, which the helper never uses.
long start_helper(const Area& area, const HelperTask& task) noexcept {
  const std::uint64_t top = area.start + kShimPage + kStackBytes;
  auto* const placed = reinterpret_cast<HelperTask*>(top - sizeof(HelperTask) - 16);
  *placed = task;
  auto* stack = reinterpret_cast<std::uint64_t*>((top - 256) & ~std::uint64_t{15});
  *--stack = reinterpret_cast<std::uint64_t>(placed);
  *--stack = reinterpret_cast<std::uint64_t>(&helper_main);
  constexpr long kFlags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
  long result;
  register long r10 asm("r10") = 0;
  register long r8 asm("r8") = 0;
  asm volatile(
      "syscall\n\t"
      "test %%rax, %%rax\n\t"
      "jnz 1f\n\t"
      "xor %%ebp, %%ebp\n\t"
      "pop %%rax\n\t"
      "pop %%rdi\n\t"
      "call *%%rax\n\t"
      "hlt\n\t"
      "1:"
      : "=a"(result)
      : "a"(__NR_clone), "D"(kFlags), "S"(stack), "d"(0), "r"(r10), "r"(r8)
      : "rcx", "r11", "memory");
  return result;
}

// All signals blocked, so that the helper is born with them blocked and no handler of the program
// sees the work half done.
class SignalsBlocked {
 public:
  SignalsBlocked() noexcept {
    constexpr std::uint64_t kAll = ~std::uint64_t{0};
    system_call(__NR_rt_sigprocmask, SIG_SETMASK, as_long(&kAll), as_long(&old_), sizeof old_);
  }
  ~SignalsBlocked() {
    system_call(__NR_rt_sigprocmask, SIG_SETMASK, as_long(&old_), 0, sizeof old_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  std::uint64_t old_ = 0;
};

// --- the two conversations ---

// device: of /dev/userfaultfd, which the pager was allowed to open; or none.
int open_userfault(int device) noexcept {
  constexpr long kFlags = kCloseOnExec | kNonBlocking;
  const long made = device >= 0 ? system_call(__NR_ioctl, device, kUserfaultNew, kFlags)
                                : system_call(__NR_userfaultfd, kFlags);
  return static_cast<int>(made);
}

bool finish(int connection, int userfault, Area& area, bool send_userfault) noexcept {
  Ready ready{};
  if (!make_area(area) || !send(connection, area, send_userfault ? userfault : -1) ||
      !receive(connection, ready) || ready.error != 0) {
    return false;
  }
  return start_helper(area, {connection, userfault, area.pool}) > 0;
}

void converse(HelloKind kind) noexcept {
  const SignalsBlocked blocked;
  const int connection = connect_to_pager();
  if (connection < 0) return;
  Hello hello{kind};
  Welcome welcome{};
  int given = -1;
  int userfault = -1;
  Area area{};
  area.beacon = g_state.beacon;
  if (send(connection, hello) && receive(connection, welcome, &given) && welcome.error == 0) {
    if (kind == HelloKind::start) {
      userfault = open_userfault(given);
      close_descriptor(given);
    } else {
      userfault = given;
    }
    if (userfault >= 0 && finish(connection, userfault, area, kind == HelloKind::start)) {
      g_state.managed = 1;
    }
  }
  close_descriptor(userfault);
  close_descriptor(connection);
}

void in_child() noexcept {
  if (g_state.managed != 1) return;
  // A fault that the pager sees before anything else: whose child this is.
  static_cast<void>(*reinterpret_cast<volatile char*>(g_state.beacon));
  converse(HelloKind::forked);
}

// The pager's address, if the program is run by one.
bool find_address() noexcept {
  if (&environ == nullptr || environ == nullptr) return false;
  for (char** each = environ; *each != nullptr; ++each) {
    unsigned i = 0;
    while (kSocketVariable[i] != '\0' && (*each)[i] == kSocketVariable[i]) ++i;
    if (kSocketVariable[i] != '\0' || (*each)[i] != '=') continue;
    const char* name = *each + i + 1;
    g_state.address.path[0] = '\0';  // abstract
    unsigned length = 1;
    while (name[length - 1] != '\0' && length < sizeof g_state.address.path) {
      g_state.address.path[length] = name[length - 1];
      ++length;
    }
    g_state.address_bytes = static_cast<int>(sizeof(unsigned short) + length);
    return length > 1;
  }
  return false;
}

[[gnu::constructor]] void start() noexcept {
  if (!find_address() || !make_beacon()) return;
  converse(HelloKind::start);
  if (g_state.managed == 1 && &__register_atfork != nullptr) {
    __register_atfork(nullptr, nullptr, &in_child, &g_state);
  }
}

}  // namespace

bool have_mappings_looked_at() noexcept {
  if (g_state.managed != 1) return false;
  // The fault is not served before the pager has looked.
  system_call(__NR_madvise, static_cast<long>(g_state.beacon), kShimPage, MADV_DONTNEED);
  static_cast<void>(*reinterpret_cast<volatile char*>(g_state.beacon));
  return true;
}

}  // namespace holdfast::run::shim
