#include "sys/real/userfault.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sync/sync.h"

namespace holdfast::sys::real {
namespace {

// As in linux/userfaultfd.h of Linux 6.8.
struct MoveArgument {
  std::uint64_t to;
  std::uint64_t from;
  std::uint64_t bytes;
  std::uint64_t mode;
  std::int64_t moved;  // bytes, or minus the errno
};
struct PoisonArgument {
  uffdio_range range;
  std::uint64_t mode;
  std::int64_t updated;
};
static_assert(sizeof(MoveArgument) == 40 && sizeof(PoisonArgument) == 32);

constexpr unsigned long kIoctlNew = _IO(0xAA, 0x00);
constexpr unsigned long kIoctlMove = _IOWR(0xAA, 0x05, MoveArgument);
constexpr unsigned long kIoctlPoison = _IOWR(0xAA, 0x08, PoisonArgument);
constexpr int kUserModeOnly = 1;

// EAGAIN without progress: the mapping is changing under another thread. That passes within a
// system call of its; so many turns are several milliseconds.
constexpr int kRetriesMax = 1000;

// What one ioctl did.
struct Step {
  std::uint64_t done;
  int error;  // 0, or why it stopped (EAGAIN with done > 0: not yet known)
};

Step step_of(int result, std::int64_t field, int os_errno) noexcept {
  if (result == 0) return {static_cast<std::uint64_t>(field), 0};
  if (field > 0) return {static_cast<std::uint64_t>(field), EAGAIN};
  return {0, field < 0 ? static_cast<int>(-field) : os_errno};
}

// Runs `step(offset, bytes)` to the end of the range or to what really stops it. `splits` is the
// errno by which the kernel refuses a range as a whole because it spans two mappings (or ends
// outside of one): halving it finds the page that is at fault, so that everything before it is
// done.
template <class StepFunction>
Transfer run(std::uint64_t bytes, int splits, StepFunction step) noexcept {
  HF_DCHECK2(is_page_aligned(bytes) && bytes != 0, bytes, 0);
  Transfer transfer;
  std::uint64_t chunk = bytes;
  int retries = 0;
  while (transfer.done < bytes) {
    chunk = std::min(chunk, bytes - transfer.done);
    const Step did = step(transfer.done, chunk);
    transfer.done += did.done;
    if (did.done > 0) {
      HF_DCHECK2(is_page_aligned(did.done) && transfer.done <= bytes, did.done, transfer.done);
      retries = 0;
      if (did.error == 0) chunk = bytes - transfer.done;
    } else if (did.error == EAGAIN && ++retries < kRetriesMax) {
      sync::parking().relax();
    } else if (did.error == splits && chunk > kPageSize) {
      chunk = std::max<std::uint64_t>(chunk / 2 & ~(kPageSize - 1), kPageSize);
    } else {
      HF_CHECK2(did.error != 0, transfer.done, bytes);
      transfer.error = did.error;
      break;
    }
  }
  return transfer;
}

// System calls in fault handlers must leave the interrupted code's errno alone.
class ErrnoKeeper {
 public:
  ErrnoKeeper() noexcept : saved_(errno) {}
  ~ErrnoKeeper() { errno = saved_; }
  ErrnoKeeper(const ErrnoKeeper&) = delete;
  ErrnoKeeper& operator=(const ErrnoKeeper&) = delete;

 private:
  int saved_;
};

// After a MOVE that was refused with EEXIST: true if the page that stood at `from` is gone, so that
// what stands at the destination is that page.
//
// Linux 6.18 moves in batches, and when the first try of one ended with EAGAIN (a page is being
// migrated, or its entry changes under the call), it moves the batch at the second, takes it for
// another failure, tries a third time, and then says EEXIST for pages that it has just moved.
// Whoever believed that would go on with two pages, and lose all that is stored to the one that is
// there. Seen under compaction, and wherever bits of the entries change meanwhile (MADV_COLD).
//
// Who still reads at `from`, as a write-out may, has the kernel's page of zeros there by now. A
// source that is there and holds something is the other case: the destination was mapped behind us.
bool was_carried(Address from) noexcept {
  unsigned char resident = 0;
  auto* const page = reinterpret_cast<std::byte*>(from);
  if (::mincore(page, kPageSize, &resident) != 0) return false;
  if ((resident & 1) == 0) return true;
  const auto word = base::repeated_word(page);
  return word && *word == 0;
}

int range_ioctl(int fd, unsigned long request, void* argument) noexcept {
  const ErrnoKeeper keep;
  return ::ioctl(fd, request, argument) == 0 ? 0 : errno;
}

}  // namespace

int open_userfault_device() noexcept {
  const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device < 0) return -errno;
  const int fd = ::ioctl(device, kIoctlNew, O_CLOEXEC | O_NONBLOCK);
  const int error = errno;
  ::close(device);
  return fd < 0 ? -error : fd;
}

int open_userfault_system_call(int extra_flags) noexcept {
  const long fd = ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | extra_flags);
  return fd < 0 ? -errno : static_cast<int>(fd);
}

RawUserfault open_raw_userfault(bool kernel_faults) noexcept {
  RawUserfault raw;
  raw.fd = open_userfault_device();
  if (raw.fd >= 0) return raw;
  raw.device_errno = -raw.fd;
  raw.door = UserfaultDoor::system_call;
  raw.fd = open_userfault_system_call(0);
  if (raw.fd < 0 && raw.fd == -EPERM && !kernel_faults) {
    raw.door = UserfaultDoor::system_call_user_mode;
    raw.fd = open_userfault_system_call(kUserModeOnly);
    // Before Linux 5.11 the flag is unknown; what was refused then is the call as such.
    if (raw.fd == -EINVAL) raw.fd = -EPERM;
  }
  if (raw.fd < 0) raw.system_call_errno = -raw.fd;
  return raw;
}

std::uint64_t features_of(int fd, int& error) noexcept {
  uffdio_api api{};
  api.api = UFFD_API;
  error = ::ioctl(fd, UFFDIO_API, &api) == 0 ? 0 : errno;
  return error == 0 ? api.features : 0;
}

Error userfault_refused(const RawUserfault& raw, Delivery delivery) noexcept {
  Error error{.code = Errc::system,
              .os_errno = raw.system_call_errno,
              .doing = "open userfaultfd",
              .what = delivery == Delivery::thread ? "delivery by thread" : "delivery by signal"};
  if (raw.system_call_errno == ENOSYS) {
    error.code = Errc::unsupported;
    error.remedy =
        "the kernel lacks CONFIG_USERFAULTFD, or the container's seccomp profile hides the call: "
        "allow userfaultfd there";
  } else if (raw.system_call_errno == EPERM || raw.system_call_errno == EACCES) {
    error.code = Errc::permission;
    error.remedy =
        delivery == Delivery::thread
            ? "one of: sysctl vm.unprivileged_userfaultfd=1, access to /dev/userfaultfd, "
              "CAP_SYS_PTRACE; or take delivery by signal"
            : "allow the userfaultfd system call in the container's seccomp profile, or give "
              "access to /dev/userfaultfd";
  } else if (raw.system_call_errno == EMFILE || raw.system_call_errno == ENFILE) {
    error.remedy = "raise the limit of open files (ulimit -n)";
  }
  return error;
}

Userfault::~Userfault() {
  if (fd_ >= 0) ::close(fd_);
}

Expected<void> Userfault::open(Delivery delivery) noexcept {
  HF_CHECK(fd_ < 0);
  const bool kernel_faults = delivery == Delivery::thread;
  // A failing UFFDIO_API zeroes its argument, and a descriptor accepts features once: ask with one
  // that is thrown away.
  const RawUserfault probe = open_raw_userfault(kernel_faults);
  if (probe.fd < 0) return fail(userfault_refused(probe, delivery));
  int error = 0;
  features_ = features_of(probe.fd, error);
  ::close(probe.fd);
  const std::uint64_t wanted = kernel_faults ? kFeatureThreadId : kFeatureSigbus;
  if (error != 0 || (features_ & wanted) == 0) {
    return fail({.code = Errc::unsupported,
                 .os_errno = error,
                 .doing = "agree on userfaultfd features",
                 .what = kernel_faults ? "UFFD_FEATURE_THREAD_ID" : "UFFD_FEATURE_SIGBUS",
                 .value = features_,
                 .remedy = "Linux 4.14 or newer has them"});
  }
  const RawUserfault raw = open_raw_userfault(kernel_faults);
  if (raw.fd < 0) return fail(userfault_refused(raw, delivery));
  uffdio_api api{};
  api.api = UFFD_API;
  api.features = wanted | (features_ & kFeatureWriteProtect);
  if (::ioctl(raw.fd, UFFDIO_API, &api) != 0) {
    error = errno;
    ::close(raw.fd);
    return fail(
        {.code = Errc::system, .os_errno = error, .doing = "agree on userfaultfd features"});
  }
  fd_ = raw.fd;
  door_ = raw.door;
  return {};
}

int Userfault::register_range(Address address, std::uint64_t bytes) const noexcept {
  uffdio_register argument{};
  argument.range = {.start = address, .len = bytes};
  argument.mode = UFFDIO_REGISTER_MODE_MISSING;
  if (has(kFeatureWriteProtect)) argument.mode |= UFFDIO_REGISTER_MODE_WP;
  return range_ioctl(fd_, UFFDIO_REGISTER, &argument);
}

int Userfault::unregister(Address address, std::uint64_t bytes) const noexcept {
  uffdio_range range{.start = address, .len = bytes};
  return range_ioctl(fd_, UFFDIO_UNREGISTER, &range);
}

int Userfault::protect(Address address, std::uint64_t bytes, Protection protection) const noexcept {
  if (!has(kFeatureWriteProtect)) return EOPNOTSUPP;
  uffdio_writeprotect argument{};
  argument.range = {.start = address, .len = bytes};
  argument.mode = protection == Protection::read_only ? UFFDIO_WRITEPROTECT_MODE_WP : 0;
  int error = EAGAIN;
  for (int tries = 0; error == EAGAIN && tries < kRetriesMax; ++tries) {
    if (tries > 0) sync::parking().relax();
    error = range_ioctl(fd_, UFFDIO_WRITEPROTECT, &argument);
  }
  return error;
}

int Userfault::poison(Address address, std::uint64_t bytes) const noexcept {
  if (!has(kFeaturePoison)) return EOPNOTSUPP;
  PoisonArgument argument{.range = {.start = address, .len = bytes}, .mode = 0, .updated = 0};
  return range_ioctl(fd_, kIoctlPoison, &argument);
}

void Userfault::wake(Address address, std::uint64_t bytes) const noexcept {
  uffdio_range range{.start = address, .len = bytes};
  range_ioctl(fd_, UFFDIO_WAKE, &range);
}

Transfer Userfault::copy(Address to, const std::byte* from, std::uint64_t bytes,
                         Protection protection) const noexcept {
  // A range that leaves its mapping is refused as a whole with ENOENT.
  const ErrnoKeeper keep;
  return run(bytes, ENOENT, [&](std::uint64_t offset, std::uint64_t chunk) noexcept {
    uffdio_copy argument{};
    argument.dst = to + offset;
    argument.src = reinterpret_cast<std::uintptr_t>(from) + offset;
    argument.len = chunk;
    if (protection == Protection::read_only) argument.mode = UFFDIO_COPY_MODE_WP;
    const int result = ::ioctl(fd_, UFFDIO_COPY, &argument);
    return step_of(result, argument.copy, errno);
  });
}

Transfer Userfault::move(Address to, Address from, std::uint64_t bytes) const noexcept {
  // A range that spans two mappings is refused as a whole with EINVAL. The pool is made of many:
  // each window that left a region stands in a mapping of its own.
  const ErrnoKeeper keep;
  return run(bytes, EINVAL, [&](std::uint64_t offset, std::uint64_t chunk) noexcept {
    MoveArgument argument{
        .to = to + offset, .from = from + offset, .bytes = chunk, .mode = 0, .moved = 0};
    const int result = ::ioctl(fd_, kIoctlMove, &argument);
    const Step did = step_of(result, argument.moved, errno);
    if (did.done != 0 || did.error != EEXIST || !was_carried(from + offset)) return did;
    wake(to + offset, kPageSize);  // which the call has not done for what it does not tell
    return Step{kPageSize, 0};
  });
}

}  // namespace holdfast::sys::real
