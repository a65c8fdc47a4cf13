// Linux. Everything here is a system call and its errno; what takes more thought has a file of its
// own beside this one.
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/uio.h>
#include <unistd.h>

#include <fcntl.h>
#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <ctime>

#include "sys/machine.h"
#include "sys/real/async_io.h"
#include "sys/real/cpus.h"
#include "sys/real/data_file.h"
#include "sys/real/fault_source.h"
#include "sys/real/fork_guard.h"
#include "sys/real/memory_limit.h"
#include "sys/real/rados_store.h"
#include "sys/real/real_parking.h"
#include "sys/real/real_thread.h"
#include "sys/real/swap_file.h"

namespace holdfast::sys {
namespace {

void* pointer(Address address) noexcept { return reinterpret_cast<void*>(address); }

// A system call's result as an errno, with the caller's errno left as it was.
template <class Call>
int errno_of(Call call) noexcept {
  const int saved = errno;
  const int error = call() ? 0 : errno;
  errno = saved;
  return error;
}

// The kernel's own choice of backing: no huge pages (a page is the unit of everything, and MOVE
// splits a huge one at 0.4 ms), and, but for tables, nothing for a fork to inherit: pages shared
// with a child cannot be moved (EBUSY) until each has been written to again.
// A table that asks for it by its alignment is read at random by every pin: in a virtual machine
// each miss of the TLB costs two walks, so it may have huge pages.
int advise(Address address, std::uint64_t bytes, std::uint64_t align, Purpose purpose) noexcept {
  const bool huge = purpose == Purpose::table && align >= kHugeSize && bytes >= kHugeSize;
  // EINVAL: a kernel without huge pages. There is nothing to turn on or off then.
  ::madvise(pointer(address), bytes, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
  if (purpose == Purpose::table) return 0;
  return ::madvise(pointer(address), bytes, MADV_DONTFORK) == 0 ? 0 : errno;
}

Error reserve_error(int os_errno, std::uint64_t bytes) noexcept {
  return {.code = os_errno == ENOMEM ? Errc::out_of_memory : Errc::system,
          .os_errno = os_errno,
          .doing = "reserve address space",
          .value = bytes,
          .remedy = "raise RLIMIT_AS (ulimit -v), vm.max_map_count, or set vm.overcommit_memory=1"};
}

class RealMachine final : public Machine {
 public:
  constexpr RealMachine() noexcept = default;

  Expected<Address> reserve(std::uint64_t bytes, std::uint64_t align,
                            Purpose purpose) noexcept override {
    HF_CHECK2(std::has_single_bit(align) && align >= kPageSize, align, kPageSize);
    HF_CHECK2(is_page_aligned(bytes) && bytes != 0, bytes, kPageSize);
    // mmap aligns to pages: reserve more, and give back what stands around the aligned part.
    const std::uint64_t slack = align - kPageSize;
    if (bytes + slack < bytes) return fail(reserve_error(ENOMEM, bytes));
    void* const map = ::mmap(nullptr, bytes + slack, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED) return fail(reserve_error(errno, bytes));
    const auto first = reinterpret_cast<Address>(map);
    const Address address = round_up(first, align);
    const std::uint64_t before = address - first;
    if (before != 0) ::munmap(map, before);
    if (slack != before) ::munmap(pointer(address + bytes), slack - before);
    if (const int error = advise(address, bytes, align, purpose); error != 0) {
      ::munmap(pointer(address), bytes);
      return fail(reserve_error(error, bytes));
    }
    return address;
  }

  int release(Address address, std::uint64_t bytes) noexcept override {
    HF_DCHECK2(is_page_aligned(address) && is_page_aligned(bytes), address, bytes);
    real::unguard_range(address, bytes);
    return errno_of([&]() noexcept { return ::munmap(pointer(address), bytes) == 0; });
  }

  void populate(Address address, std::uint64_t bytes) noexcept override {
    (void)errno_of([&]() noexcept {  // before Linux 5.14: EINVAL
      return ::madvise(pointer(address), bytes, MADV_POPULATE_WRITE) == 0;
    });
  }
  int discard(Address address, std::uint64_t bytes) noexcept override {
    HF_DCHECK2(is_page_aligned(address) && is_page_aligned(bytes), address, bytes);
    return errno_of(
        [&]() noexcept { return ::madvise(pointer(address), bytes, MADV_DONTNEED) == 0; });
  }

  int remap_out(Address to, Address from, std::uint64_t bytes) noexcept override {
    HF_DCHECK2(is_page_aligned(to) && is_page_aligned(from) && is_page_aligned(bytes), to, from);
    return errno_of([&]() noexcept {
      return ::mremap(pointer(from), bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP,
                      pointer(to)) != MAP_FAILED;
    });
  }

  std::byte* view(Address address) noexcept override {
    return reinterpret_cast<std::byte*>(address);
  }

  Expected<std::unique_ptr<FaultSource>> open_faults(const FaultSourceOptions& options,
                                                     FaultSink& sink) override {
    return real::open_fault_source(options, sink);
  }

  Expected<std::unique_ptr<SwapFile>> create_swap_file(const SwapFileOptions& options) override {
    return real::create_real_swap_file(options);
  }

  Expected<std::unique_ptr<DataFile>> open_data_file(const DataFileOptions& options) override {
    return real::open_real_data_file(options);
  }
  int remove_file(const std::string& path) override { return real::remove_real_file(path); }

  Expected<std::unique_ptr<AsyncIo>> open_async_io(const AsyncIoOptions& options) override {
    return real::open_real_async_io(options);
  }

  Expected<std::unique_ptr<ObjectStore>> open_object_store(
      const ObjectStoreOptions& options) override {
    return real::open_rados_store(options);
  }
  Expected<OpenedFarImage> open_far_image(const ObjectStoreOptions& options) override {
    return real::open_rados_image(options);
  }
  Expected<std::vector<FarImage>> list_far_images(const ObjectStoreOptions& options) override {
    return real::list_rados_images(options);
  }
  Expected<FarImage> remove_far_image(const ObjectStoreOptions& options) override {
    return real::remove_rados_image(options);
  }

  Expected<std::unique_ptr<Thread>> start_thread(const char* name, void (*function)(void*),
                                                 void* argument) override {
    return real::start_real_thread(name, function, argument);
  }

  std::uint64_t now_ns() noexcept override {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000U +
           static_cast<std::uint64_t>(now.tv_nsec);
  }

  std::uint32_t current_cpu() noexcept override {
    const int cpu = ::sched_getcpu();
    return cpu < 0 ? 0 : static_cast<std::uint32_t>(cpu) % real::configured_cpus();
  }

  std::uint32_t cpu_count() const noexcept override { return real::configured_cpus(); }

  std::uint64_t random_u64() noexcept override {
    const int saved = errno;
    std::uint64_t value = 0;
    // Eight bytes come whole or not at all; EINTR while the pool is not ready at boot.
    while (::getrandom(&value, sizeof(value), 0) != sizeof(value)) {
      HF_CHECK2(errno == EINTR, errno, 0);
    }
    errno = saved;
    return value;
  }

  std::uint64_t memory_bytes() const noexcept override {
    static const std::uint64_t limit = real::cgroup_memory_limit();
    return std::min(real::physical_memory_bytes(), limit);
  }

  std::uint64_t resident_bytes() noexcept override;
  void print_line(const char* line) noexcept override;
};

// "size resident shared ..." in pages.
std::uint64_t RealMachine::resident_bytes() noexcept {
  const int saved = errno;
  // Opened each time: a descriptor that is kept would go on telling of the parent after a fork.
  const int fd = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  char text[128] = "";
  const ssize_t length = fd < 0 ? -1 : ::read(fd, text, sizeof(text) - 1);
  if (fd >= 0) ::close(fd);
  errno = saved;
  if (length <= 0) return 0;
  const char* at = std::strchr(text, ' ');
  std::uint64_t pages = 0;
  if (at != nullptr) {
    for (++at; *at >= '0' && *at <= '9'; ++at)
      pages = pages * 10 + static_cast<std::uint64_t>(*at - '0');
  }
  return pages << kPageShift;
}

void RealMachine::print_line(const char* line) noexcept {
  const int saved = errno;
  char newline = '\n';
  // One call, so that lines of several threads do not mix. An error has nowhere to go.
  const iovec parts[] = {{const_cast<char*>(line), std::strlen(line)}, {&newline, 1}};
  [[maybe_unused]] const ssize_t written = ::writev(STDERR_FILENO, parts, 2);
  errno = saved;
}

constinit RealMachine g_machine;

}  // namespace

Machine& real_machine() noexcept {
  // Links the futex parking, which installs itself before main.
  [[maybe_unused]] sync::Parking& parking = real::real_parking();
  return g_machine;
}

}  // namespace holdfast::sys
