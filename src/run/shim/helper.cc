#include "run/shim/helper.h"

#include <linux/ioctl.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/userfaultfd.h>

#include "run/shim/system_call.h"

namespace holdfast::run::shim {
namespace {

constexpr int kEnoent = 2;
constexpr int kEintr = 4;
constexpr int kEbusy = 16;
constexpr int kEexist = 17;
constexpr int kEinval = 22;
constexpr int kSigkill = 9;

// UFFDIO_MOVE, Linux 6.8; older headers lack it.
struct Move {
  std::uint64_t to, from, bytes, mode;
  std::int64_t moved;
};
constexpr std::uint64_t kAllowHoles = 2;  // UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES
constexpr unsigned long kIoctlMove = _IOWR(0xAA, 0x05, Move);

// Whether the page, which is there, lies in a mapping that is registered: then it cannot be made
// anew (EEXIST). Until the pager reads the next event this stays so, or else nothing can be moved.
// Otherwise errno.
int check_registered(const HelperTask& task, std::uint64_t page) noexcept {
  uffdio_zeropage zero{};
  zero.range = {.start = page, .len = kShimPage};
  zero.mode = UFFDIO_ZEROPAGE_MODE_DONTWAKE;
  const long result =
      system_call(__NR_ioctl, task.userfault, static_cast<long>(UFFDIO_ZEROPAGE), as_long(&zero));
  const long error = zero.zeropage < 0 ? -zero.zeropage : -result;
  return error == kEexist ? 0 : static_cast<int>(error);
}

void mark(std::uint64_t (&mask)[kMaskWords], unsigned page) noexcept {
  mask[page / 64] |= std::uint64_t{1} << (page % 64);
}

// One stretch of the window, holes and all. Pages that cannot leave are passed over; returns what
// ends the command.
int move_run(const HelperTask& task, const Command& command, Run run, Answer& answer) noexcept {
  unsigned page = run.first;
  const unsigned end = run.first + run.count;
  unsigned length = run.count;
  unsigned checked = end;  // the page that was seen to be registered, and its mapping with it
  while (page < end) {
    // With holes the whole stretch is one mapping, or is refused; without, every page is there.
    if (page != checked && (page == run.first || command.holes == 0)) {
      const int error = check_registered(task, command.window + page * kShimPage);
      if (error == kEnoent && command.holes != 0) return kEinval;
      if (error == kEnoent) {
        mark(answer.strange, page);
        length = end - ++page;
        continue;
      }
      if (error != 0) return error;
      checked = page;
    }
    Move move{.to = task.pool + page * kShimPage,
              .from = command.window + page * kShimPage,
              .bytes = length * kShimPage,
              .mode = command.holes != 0 ? kAllowHoles : 0,
              .moved = 0};
    const long result =
        system_call(__NR_ioctl, task.userfault, static_cast<long>(kIoctlMove), as_long(&move));
    if (result == 0 || move.moved > 0) {
      page += static_cast<unsigned>(static_cast<std::uint64_t>(move.moved) / kShimPage);
      length = end - page;
      continue;
    }
    const int error = static_cast<int>(move.moved < 0 ? -move.moved : -result);
    // It spans two mappings, or one that cannot be moved. What lies in holes is not known to be
    // managed: then nothing of it is tried.
    if (error == kEinval && command.holes != 0) return error;
    if (error == kEinval && length > 1) {
      length /= 2;
      continue;
    }
    if (error == kEbusy || error == kEinval) {
      mark(answer.busy, page);
    } else if (error != kEnoent) {
      return error;
    }
    ++page;
    length = end - page;
  }
  return 0;
}

void move_out(const HelperTask& task, const Command& command, Answer& answer) noexcept {
  for (unsigned i = 0; i < command.runs && i < kRunsMax && answer.error == 0; ++i) {
    answer.error = move_run(task, command, command.run[i], answer);
  }
}

// Unregistered meanwhile, so that giving the memory back is no event that somebody must read.
int drop_pool(const HelperTask& task) noexcept {
  uffdio_range range{.start = task.pool, .len = kPoolBytes};
  long result = system_call(__NR_ioctl, task.userfault, UFFDIO_UNREGISTER, as_long(&range));
  if (result < 0) return static_cast<int>(-result);
  const long dropped = system_call(__NR_madvise, static_cast<long>(task.pool),
                                   static_cast<long>(kPoolBytes), MADV_DONTNEED);
  uffdio_register again{};
  again.range = range;
  again.mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP;
  result = system_call(__NR_ioctl, task.userfault, UFFDIO_REGISTER, as_long(&again));
  return static_cast<int>(result < 0 ? -result : -dropped);
}

// A write fault in the kernel: the page is copied if somebody else still has it.
void unshare(const Command& command) noexcept {
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE, Linux 5.14
  for (unsigned i = 0; i < command.runs && i < kRunsMax; ++i) {
    const Run run = command.run[i];
    system_call(__NR_madvise, static_cast<long>(command.window + run.first * kShimPage),
                static_cast<long>(run.count * kShimPage), kPopulateWrite);
  }
}

[[noreturn]] void kill_program() noexcept {
  for (;;) {
    system_call(__NR_kill, system_call(__NR_getpid), kSigkill);
    system_call(__NR_exit_group, 128 + kSigkill);
  }
}

bool send_answer(const HelperTask& task, const Answer& answer) noexcept {
  constexpr long kNoSignal = 0x4000;  // MSG_NOSIGNAL
  long sent;
  do {
    sent = system_call(__NR_sendto, task.connection, as_long(&answer), sizeof answer, kNoSignal);
  } while (sent == -kEintr);
  return sent == sizeof answer;
}

bool receive_command(const HelperTask& task, Command& command) noexcept {
  long got;
  do {
    got = system_call(__NR_recvfrom, task.connection, as_long(&command), sizeof command);
  } while (got == -kEintr);
  return got == sizeof command;
}

void close_others(int a, int b) noexcept {
  const int low = a < b ? a : b;
  const int high = a < b ? b : a;
  constexpr long kLast = 0xffffffffL;
  if (low > 0) system_call(__NR_close_range, 0, low - 1, 0);
  if (high > low + 1) system_call(__NR_close_range, low + 1, high - 1, 0);
  system_call(__NR_close_range, high + 1, kLast, 0);
}

}  // namespace

[[noreturn]] void serve(const HelperTask& task) noexcept {
  close_others(task.connection, task.userfault);
  static const char kName[] = "holdfast-helper";
  system_call(__NR_prctl, PR_SET_NAME, as_long(kName));
  const auto thread = static_cast<int>(system_call(__NR_gettid));
  Command command;
  command.kind = CommandKind::none;
  for (;;) {
    Answer answer{};
    answer.thread = thread;
    switch (command.kind) {
      case CommandKind::none:
        break;
      case CommandKind::move_out:
        move_out(task, command, answer);
        break;
      case CommandKind::drop_pool:
        answer.error = drop_pool(task);
        break;
      case CommandKind::unshare:
        unshare(command);
        break;
    }
    if (!send_answer(task, answer) || !receive_command(task, command)) kill_program();
  }
}

}  // namespace holdfast::run::shim
