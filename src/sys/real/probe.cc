#include "sys/probe.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/base.h"
#include "sys/real/cpus.h"
#include "sys/real/memory_limit.h"
#include "sys/real/ring_io.h"
#include "sys/real/text_file.h"
#include "sys/real/userfault.h"

namespace holdfast::sys {
namespace {

constexpr int kUserModeOnly = 1;  // UFFD_USER_MODE_ONLY

Ability ability(int os_errno) noexcept { return {.works = os_errno == 0, .os_errno = os_errno}; }

// Tries a descriptor (an fd, or minus the errno) and notes the features that it can have.
Ability try_userfault(int fd, Capabilities& found) noexcept {
  if (fd < 0) return ability(-fd);
  int error = 0;
  const std::uint64_t features = real::features_of(fd, error);
  ::close(fd);
  found.features |= features;
  return ability(error);
}

// The errno of the way that was tried last and failed.
int last_refusal(const Capabilities& found) noexcept {
  return found.userfault_call.os_errno != 0 ? found.userfault_call.os_errno
                                            : found.userfault_device.os_errno;
}

void probe_userfault(Capabilities& found) noexcept {
  found.userfault_device = try_userfault(real::open_userfault_device(), found);
  found.userfault_call = try_userfault(real::open_userfault_system_call(0), found);
  found.userfault_user_mode = try_userfault(real::open_userfault_system_call(kUserModeOnly), found);
  const auto has = [&](std::uint64_t feature) { return (found.features & feature) != 0; };
  found.has_move = has(real::kFeatureMove);
  found.has_sigbus = has(real::kFeatureSigbus);
  found.has_write_protect = has(real::kFeatureWriteProtect);
  found.has_write_protect_async = has(real::kFeatureWriteProtectAsync);
  found.has_poison = has(real::kFeaturePoison);
  found.has_thread_id = has(real::kFeatureThreadId);
  found.has_rwp = has(real::kFeatureRwp);
  const bool kernel_faults = found.userfault_device.works || found.userfault_call.works;
  const bool any = kernel_faults || found.userfault_user_mode.works;
  const bool by_signal = any && found.has_sigbus;
  const bool by_thread = kernel_faults && found.has_thread_id;
  found.signal_delivery = {by_signal, by_signal ? 0 : found.userfault_user_mode.os_errno};
  found.thread_delivery = {by_thread, by_thread ? 0 : last_refusal(found)};
}

Reading read_number(const char* path) {
  const auto text = real::read_text(path);
  if (!text) return {.value = 0, .os_errno = errno};
  const auto number = real::parse_number(*text);
  return number ? Reading{.value = *number, .os_errno = 0}
                : Reading{.value = 0, .os_errno = EINVAL};
}

// A private anonymous mapping that is given back.
class Scratch {
 public:
  explicit Scratch(std::size_t bytes) noexcept
      : map_(::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)),
        bytes_(bytes) {}
  ~Scratch() {
    if (is_there()) ::munmap(map_, bytes_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] bool is_there() const noexcept { return map_ != MAP_FAILED; }
  [[nodiscard]] volatile char* at(std::size_t offset) const noexcept {
    return static_cast<volatile char*>(map_) + offset;
  }
  [[nodiscard]] void* start() const noexcept { return map_; }

 private:
  void* map_;
  std::size_t bytes_;
};

Ability try_vectored_discard() noexcept {
#if defined(SYS_process_madvise) && defined(SYS_pidfd_open)
  const Scratch scratch(4 * kPageSize);
  if (!scratch.is_there()) return ability(errno);
  *scratch.at(0) = 1;
  *scratch.at(2 * kPageSize) = 1;
  const long self = ::syscall(SYS_pidfd_open, ::getpid(), 0);
  if (self < 0) return ability(errno);
  std::array<iovec, 2> parts{iovec{scratch.start(), kPageSize},
                             iovec{static_cast<char*>(scratch.start()) + 2 * kPageSize, kPageSize}};
  const long done =
      ::syscall(SYS_process_madvise, self, parts.data(), parts.size(), MADV_DONTNEED, 0);
  const int error = done < 0 ? errno : 0;
  ::close(static_cast<int>(self));
  if (error != 0) return ability(error);
  const bool dropped = *scratch.at(0) == 0 && *scratch.at(2 * kPageSize) == 0;
  return ability(dropped ? 0 : EOPNOTSUPP);
#else
  return ability(ENOSYS);
#endif
}

Ability try_remap_out() noexcept {
  const Scratch from(kPageSize);
  const Scratch to(kPageSize);
  if (!from.is_there() || !to.is_there()) return ability(errno);
  *from.at(0) = 1;
  void* const moved = ::mremap(from.start(), kPageSize, kPageSize,
                               MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to.start());
  if (moved == MAP_FAILED) return ability(errno);
  return ability(*to.at(0) == 1 && *from.at(0) == 0 ? 0 : EOPNOTSUPP);
}

Reading memory_lock_limit() noexcept {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return {.value = 0, .os_errno = errno};
  return {.value = limit.rlim_cur == RLIM_INFINITY ? kUnlimited : limit.rlim_cur, .os_errno = 0};
}

// The word in brackets: "always [madvise] never".
std::string huge_page_setting() {
  const auto text = real::read_text("/sys/kernel/mm/transparent_hugepage/enabled");
  if (!text) return "";
  const std::size_t open = text->find('[');
  const std::size_t close = text->find(']');
  if (open == std::string::npos || close == std::string::npos || close < open) return "";
  return text->substr(open + 1, close - open - 1);
}

}  // namespace

Capabilities probe_capabilities() {
  Capabilities found;
  utsname system{};
  if (::uname(&system) == 0) found.kernel_release = system.release;
  found.huge_pages = huge_page_setting();
  probe_userfault(found);
  found.unprivileged_sysctl = read_number("/proc/sys/vm/unprivileged_userfaultfd");
  found.io_uring = ability(real::RingPool::probe());
  found.io_uring_disabled = read_number("/proc/sys/kernel/io_uring_disabled");
  found.vectored_discard = try_vectored_discard();
  found.remap_out = try_remap_out();
  found.memory_lock_limit = memory_lock_limit();
  static_assert(real::kNoLimit == kUnlimited);
  found.memory_limit = {.value = real::cgroup_memory_limit(), .os_errno = 0};
  found.memory = {.value = real::physical_memory_bytes(), .os_errno = 0};
  found.mappings_max = read_number("/proc/sys/vm/max_map_count");
  found.cpus_configured = real::configured_cpus();
  found.cpus_usable = real::usable_cpus();
  return found;
}

}  // namespace holdfast::sys
