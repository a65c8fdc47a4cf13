#include "sys/real/data_file.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <new>

#include "sys/real/cpus.h"
#include "sys/real/file_error.h"
#include "sys/real/plain_io.h"
#include "sys/real/ring_io.h"

namespace holdfast::sys::real {
namespace {

constexpr mode_t kMode = 0600;
constexpr const char* kOpening = "open file";
constexpr std::uint32_t kSpareRings = 2;

// The rings of all data files: a process may have many files, and few of them busy at once.
RingPool* shared_rings() {
  struct Rings {
    RingPool pool;
    bool good = false;
    Rings() { good = pool.open(usable_cpus() + kSpareRings) == 0; }
  };
  static Rings rings;
  return rings.good ? &rings.pool : nullptr;
}

std::string link_of(int fd) {
  char link[32];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  return link;
}

// The name that leads to the open file; empty: none does.
std::string path_of(int fd) {
  std::array<char, PATH_MAX> target;
  const ssize_t length = ::readlink(link_of(fd).c_str(), target.data(), target.size());
  if (length <= 0 || target[0] != '/') return {};
  std::string path(target.data(), static_cast<std::size_t>(length));
  struct stat by_name{};
  struct stat by_fd{};
  if (::stat(path.c_str(), &by_name) != 0 || ::fstat(fd, &by_fd) != 0) return {};
  return by_name.st_ino == by_fd.st_ino && by_name.st_dev == by_fd.st_dev ? path : std::string();
}

// Asked by the raw call: glibc's own structure is older than the fields that we want.
struct Traits {
  FileIdentity identity;
  std::uint32_t direct_memory = 0;  // alignments of O_DIRECT; 0: not told
  std::uint32_t direct_offset = 0;
  bool regular = false;
};

int traits_of(int fd, Traits& traits) noexcept {
  struct statx answer{};
  constexpr unsigned kMask = STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN;
  if (::syscall(SYS_statx, fd, "", AT_EMPTY_PATH, kMask, &answer) != 0) return errno;
  traits.regular = S_ISREG(answer.stx_mode);
  traits.identity.device = std::uint64_t{answer.stx_dev_major} << 32 | answer.stx_dev_minor;
  traits.identity.inode = answer.stx_ino;
  if ((answer.stx_mask & STATX_BTIME) != 0) {
    traits.identity.born_ns = static_cast<std::uint64_t>(answer.stx_btime.tv_sec) * 1'000'000'000 +
                              answer.stx_btime.tv_nsec;
  }
  if ((answer.stx_mask & STATX_DIOALIGN) != 0) {
    traits.direct_memory = answer.stx_dio_mem_align;
    traits.direct_offset = answer.stx_dio_offset_align;
  }
  return 0;
}

// Makes a name's coming or going durable. errno.
int sync_directory_of(const std::string& path) noexcept {
  const std::size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  return error;
}

class RealDataFile final : public DataFile {
 public:
  RealDataFile(int fd, int direct, const Traits& traits) noexcept
      : fd_(fd), direct_(direct), identity_(traits.identity), path_(path_of(fd)) {
    // Where the file system does not say, a page is always right.
    const bool told = traits.direct_memory != 0 && traits.direct_offset != 0;
    memory_mask_ = told ? traits.direct_memory - 1 : kPageSize - 1;
    offset_mask_ = told ? traits.direct_offset - 1 : kPageSize - 1;
  }
  ~RealDataFile() override {
    if (direct_ >= 0) ::close(direct_);
    ::close(fd_);
  }
  RealDataFile(const RealDataFile&) = delete;
  RealDataFile& operator=(const RealDataFile&) = delete;

  void read(std::span<IoRequest> requests) noexcept override { run(requests, IoDirection::read); }
  void write(std::span<IoRequest> requests) noexcept override { run(requests, IoDirection::write); }

  int sync() noexcept override { return ::fdatasync(fd_) == 0 ? 0 : errno; }
  int resize(std::uint64_t bytes) noexcept override {
    return ::ftruncate(fd_, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  }
  int size(std::uint64_t& bytes) const noexcept override {
    struct stat status{};
    if (::fstat(fd_, &status) != 0) return errno;
    bytes = static_cast<std::uint64_t>(status.st_size);
    return 0;
  }
  const FileIdentity& identity() const noexcept override { return identity_; }
  const std::string& path() const noexcept override { return path_; }
  int try_claim() noexcept override { return ::flock(fd_, LOCK_EX | LOCK_NB) == 0 ? 0 : errno; }

 private:
  [[nodiscard]] bool is_direct(const IoRequest& request, std::uint64_t size) const noexcept {
    const auto memory = reinterpret_cast<std::uintptr_t>(request.data);
    return direct_ >= 0 && (memory & memory_mask_) == 0 &&
           ((request.offset | request.bytes) & offset_mask_) == 0 &&
           request.offset + request.bytes <= size;
  }

  // A fault handler may be interrupted code's guest: errno stays its own.
  void run(std::span<IoRequest> requests, IoDirection direction) noexcept {
    const int saved = errno;
    std::uint64_t bytes = 0;
    if (size(bytes) != 0) bytes = 0;
    bool all_direct = true;
    for (const IoRequest& request : requests) {
      all_direct = all_direct && is_direct(request, bytes);
    }
    RingPool* const rings = requests.size() > 1 && all_direct ? shared_rings() : nullptr;
    if (rings == nullptr || !rings->run(direct_, requests, direction)) {
      for (IoRequest& request : requests) {
        const int fd = is_direct(request, bytes) ? direct_ : fd_;
        request.error = transfer_plainly(fd, request, 0, direction);
      }
    }
    errno = saved;
  }

  const int fd_;
  const int direct_;  // the same file with O_DIRECT; -1: the file system has none
  const FileIdentity identity_;
  const std::string path_;
  std::uint64_t memory_mask_ = kPageSize - 1;
  std::uint64_t offset_mask_ = kPageSize - 1;
};

// Opens by name, or a descriptor's file once more. fd, or minus the errno.
int open_fd(const DataFileOptions& options, bool& made) {
  const int flags = (options.use == FileUse::write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK;
  if (options.path.empty()) {
    const int given = ::fcntl(options.fd, F_GETFL);
    if (given < 0) return -errno;
    const int mode = given & O_ACCMODE;
    if (mode == O_WRONLY || (options.use == FileUse::write && mode != O_RDWR)) return -EBADF;
    // Of its own, so that its claim is; else, where the name is gone or rights were, a duplicate.
    int fd = ::open(link_of(options.fd).c_str(), flags);
    if (fd < 0) fd = ::fcntl(options.fd, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
  }
  if (options.create) {
    const int fd = ::open(options.path.c_str(), flags | O_CREAT | O_EXCL, kMode);
    made = fd >= 0;
    if (made || errno != EEXIST) return made ? fd : -errno;
  }
  const int fd = ::open(options.path.c_str(), flags);
  return fd < 0 ? -errno : fd;
}

}  // namespace

Expected<std::unique_ptr<DataFile>> open_real_data_file(const DataFileOptions& options) {
  bool made = false;
  const int fd = open_fd(options, made);
  if (fd < 0) return fail(file_error(-fd, kOpening, ""));
  Traits traits;
  int error = traits_of(fd, traits);
  if (error == 0 && !traits.regular) error = EISDIR;
  if (error == 0 && made) error = sync_directory_of(options.path);
  if (error != 0) {
    ::close(fd);
    return fail(file_error(error, kOpening, "kind of file"));
  }
  const int flags = (options.use == FileUse::write ? O_RDWR : O_RDONLY) | O_CLOEXEC;
  if (options.cached && options.use == FileUse::write) {
    // The kernel looks at all blocks of a large folio at each write to it: hints, no more.
    (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
  }
  const int direct = options.cached ? -1 : ::open(link_of(fd).c_str(), flags | O_DIRECT);
  (void)shared_rings();  // set up here: a fault handler must not be the first to ask
  auto* const file = new (std::nothrow) RealDataFile(fd, direct, traits);
  if (file == nullptr) {
    if (direct >= 0) ::close(direct);
    ::close(fd);
    return fail({.code = Errc::out_of_memory, .doing = kOpening});
  }
  return std::unique_ptr<DataFile>(file);
}

int remove_real_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0) return errno;
  return sync_directory_of(path);
}

}  // namespace holdfast::sys::real
