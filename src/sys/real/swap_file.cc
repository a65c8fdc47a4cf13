#include "sys/real/swap_file.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <new>

#include "sys/real/cpus.h"
#include "sys/real/plain_io.h"
#include "sys/real/ring_io.h"

namespace holdfast::sys::real {
namespace {

constexpr mode_t kMode = 0600;
constexpr int kNamesMax = 16;             // names tried where O_TMPFILE is unknown
constexpr std::uint32_t kBlockMin = 512;  // SwapFile::block_bytes promises this range
constexpr std::uint32_t kBlockMax = 4096;
constexpr std::uint32_t kSpareRings = 2;  // the reclaimer and a prefetcher beside a fault per CPU

Error directory_error(int os_errno) noexcept {
  Error error{.code = Errc::system,
              .os_errno = os_errno,
              .doing = "create swap file",
              .what = "swap directory"};
  switch (os_errno) {
    case ENOENT:
      error.code = Errc::not_found;
      error.remedy = "create the directory, or name one that exists";
      break;
    case ENOTDIR:
      error.code = Errc::invalid_argument;
      error.remedy = "name a directory, not a file";
      break;
    case ELOOP:
    case ENAMETOOLONG:
    case EINVAL:
      error.code = Errc::invalid_argument;
      error.remedy = "name a directory of an ordinary file system";
      break;
    case EACCES:
    case EPERM:
      error.code = Errc::permission;
      error.remedy = "give this user write access to the directory, or name another";
      break;
    case EROFS:
      error.code = Errc::permission;
      error.remedy = "the file system is read-only: name a directory on another";
      break;
    case ENOSPC:
    case EDQUOT:
      error.remedy = "free space or quota on the file system, or name another directory";
      break;
    case EMFILE:
    case ENFILE:
      error.remedy = "raise the limit of open files (ulimit -n)";
      break;
    default:
      break;
  }
  return error;
}

// True if the file system cannot make a file without a name. EISDIR and ENOENT are what kernels and
// file systems that do not know O_TMPFILE answer (the directory itself has been checked).
bool lacks_tmpfile(int os_errno) noexcept {
  return os_errno == EOPNOTSUPP || os_errno == EISDIR || os_errno == ENOENT || os_errno == EINVAL;
}

// A file of a name that nobody else has, its name taken away at once. fd, or minus the errno.
int open_unlinked(const std::string& directory, int flags) {
  for (int i = 0; i < kNamesMax; ++i) {
    char name[64];
    std::snprintf(name, sizeof(name), "/.holdfast-%016llx",
                  static_cast<unsigned long long>(real_machine().random_u64()));
    const std::string path = directory + name;
    const int fd = ::open(path.c_str(), flags | O_CREAT | O_EXCL | O_NOFOLLOW, kMode);
    if (fd >= 0 && ::unlink(path.c_str()) == 0) return fd;
    const int error = errno;
    if (fd >= 0) ::close(fd);
    if (error != EEXIST) {
      if (fd < 0)
        ::unlink(path.c_str());  // some file systems create it before they refuse O_DIRECT
      return -error;
    }
  }
  return -EEXIST;
}

int open_nameless(const std::string& directory, int flags) {
  const int fd = ::open(directory.c_str(), flags | O_TMPFILE | O_EXCL, kMode);
  if (fd >= 0) return fd;
  const int error = errno;
  if (!lacks_tmpfile(error)) return -error;
  return open_unlinked(directory, flags);
}

struct OpenFile {
  int fd = -1;
  bool direct = false;
};

Expected<OpenFile> open_file(const std::string& directory) {
  struct stat status{};
  if (::stat(directory.c_str(), &status) != 0) return fail(directory_error(errno));
  if (!S_ISDIR(status.st_mode)) return fail(directory_error(ENOTDIR));
  constexpr int kFlags = O_RDWR | O_CLOEXEC;
  int fd = open_nameless(directory, kFlags | O_DIRECT);
  if (fd >= 0) return OpenFile{.fd = fd, .direct = true};
  if (fd == -EINVAL || fd == -EOPNOTSUPP) fd = open_nameless(directory, kFlags);
  if (fd < 0) return fail(directory_error(-fd));
  return OpenFile{.fd = fd, .direct = false};
}

// As in linux/stat.h since Linux 6.1; asked by the raw call, as glibc 2.36 knows no such field.
std::uint32_t direct_alignment(int fd) noexcept {
  struct statx answer{};
  if (::syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &answer) != 0) return 0;
  if ((answer.stx_mask & STATX_DIOALIGN) == 0) return 0;
  return std::max(answer.stx_dio_mem_align, answer.stx_dio_offset_align);
}

// The unit of I/O. Where the file system does not say, a page is always right.
std::uint32_t block_size_of(const OpenFile& file) noexcept {
  if (!file.direct) return kBlockMin;
  const std::uint32_t alignment = direct_alignment(file.fd);
  if (alignment == 0 || !std::has_single_bit(alignment) || alignment > kBlockMax) return kBlockMax;
  return std::max(alignment, kBlockMin);
}

class RealSwapFile final : public SwapFile {
 public:
  explicit RealSwapFile(const OpenFile& file) noexcept
      : fd_(file.fd), direct_(file.direct), block_bytes_(block_size_of(file)) {}
  ~RealSwapFile() override { ::close(fd_); }

  Expected<void> open_backend(IoBackend backend) {
    if (backend != IoBackend::plain) {
      const int error = rings_.open(usable_cpus() + kSpareRings);
      ring_ = error == 0;
      if (!ring_ && backend == IoBackend::ring) return fail(ring_error(error));
    }
    std::snprintf(description_, sizeof(description_), "%s, %s", direct_ ? "O_DIRECT" : "buffered",
                  ring_ ? "io_uring" : "pread");
    return {};
  }

  void read(std::span<IoRequest> requests) noexcept override { run(requests, IoDirection::read); }
  void write(std::span<IoRequest> requests) noexcept override { run(requests, IoDirection::write); }

  int punch(std::uint64_t offset, std::uint64_t bytes) noexcept override {
    const int saved = errno;
    const int result = ::fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   static_cast<off_t>(offset), static_cast<off_t>(bytes));
    const int error = result == 0 ? 0 : errno;
    errno = saved;
    return error;
  }

  std::uint32_t block_bytes() const noexcept override { return block_bytes_; }
  const char* description() const noexcept override { return description_; }

 private:
  static Error ring_error(int os_errno) noexcept {
    const bool refused = os_errno == EPERM || os_errno == EACCES;
    return {.code = refused ? Errc::permission
                            : (os_errno == ENOSYS ? Errc::unsupported : Errc::system),
            .os_errno = os_errno,
            .doing = "set up io_uring",
            .remedy =
                "sysctl kernel.io_uring_disabled=0 and a seccomp profile that allows "
                "io_uring; or choose the plain backend"};
  }

  void run(std::span<IoRequest> requests, IoDirection direction) noexcept {
    for ([[maybe_unused]] const IoRequest& request : requests) {
      HF_DCHECK2(request.bytes != 0 && request.bytes % block_bytes_ == 0, request.bytes,
                 block_bytes_);
      HF_DCHECK2(request.offset % block_bytes_ == 0, request.offset, block_bytes_);
      HF_DCHECK2(!direct_ || reinterpret_cast<std::uintptr_t>(request.data) % block_bytes_ == 0,
                 reinterpret_cast<std::uintptr_t>(request.data), block_bytes_);
    }
    // One extent alone gains nothing from a ring: the same wait, with more bookkeeping.
    const bool by_ring = ring_ && requests.size() > 1;
    if (!by_ring || !rings_.run(fd_, requests, direction)) run_plainly(fd_, requests, direction);
  }

  const int fd_;
  const bool direct_;
  const std::uint32_t block_bytes_;
  RingPool rings_;
  bool ring_ = false;
  char description_[32] = "";
};

}  // namespace

Expected<std::unique_ptr<SwapFile>> create_real_swap_file(const SwapFileOptions& options) {
  const OpenFile opened = TRY(open_file(options.directory));
  std::unique_ptr<RealSwapFile> file(new (std::nothrow) RealSwapFile(opened));
  if (!file) {
    ::close(opened.fd);
    return fail({.code = Errc::out_of_memory, .doing = "create swap file"});
  }
  TRY_VOID(file->open_backend(options.backend));
  return std::unique_ptr<SwapFile>(std::move(file));
}

}  // namespace holdfast::sys::real
