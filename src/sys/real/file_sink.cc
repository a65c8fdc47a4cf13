// Writing files from front to back, and putting them in the place of others at once.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "sys/byte_store.h"
#include "sys/machine.h"
#include "sys/real/file_error.h"

namespace holdfast::sys {
namespace {

constexpr const char* kDoing = "write file";
constexpr int kNamesMax = 16;  // names tried for one that nobody else has
constexpr mode_t kMode = 0600;
constexpr int kFlags = O_WRONLY | O_CLOEXEC;
// The kernel is told to begin writing this much at a time, so that commit() finds little to do.
constexpr std::uint64_t kWriteBehind = 8ull << 20;
constexpr std::uint64_t kChunk = 1ull << 20;  // of a direct write

class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor& operator=(Descriptor&&) = delete;
  [[nodiscard]] int get() const noexcept { return fd_; }

 private:
  int fd_;
};

// Memory as direct writes want it, not initialised.
struct AlignedDelete {
  void operator()(std::byte* memory) const noexcept {
    ::operator delete(memory, std::align_val_t{kPageSize});
  }
};
using AlignedBuffer = std::unique_ptr<std::byte, AlignedDelete>;

AlignedBuffer make_buffer(std::uint64_t bytes) noexcept {
  return AlignedBuffer(
      static_cast<std::byte*>(::operator new(bytes, std::align_val_t{kPageSize}, std::nothrow)));
}

enum class Caching : std::uint8_t { buffered, direct };

// Appends by write(2), so that pipes and files are one.
//
// Direct: the descriptor has O_DIRECT, and is our own. Three times as fast here as through the page
// cache, which keeps what it had. Whole chunks go out so; the rest, which need not be aligned, at
// the end and through the cache.
class Appender {
 public:
  Appender(int fd, Caching caching) noexcept
      : fd_(fd), buffer_(caching == Caching::direct ? make_buffer(kChunk) : nullptr) {
    if (caching == Caching::direct && buffer_ == nullptr) leave_direct();
  }

  int append(const std::byte* from, std::uint64_t bytes) noexcept {
    if (buffer_ == nullptr) return write_all(from, bytes);
    while (bytes > 0) {
      const std::uint64_t part = std::min(bytes, kChunk - held_);
      std::memcpy(buffer_.get() + held_, from, part);
      held_ += part;
      from += part;
      bytes -= part;
      if (held_ < kChunk) break;
      if (const int error = write_all(buffer_.get(), held_)) return error;
      held_ = 0;
    }
    return 0;
  }

  // errno. A pipe has nothing to make durable: EINVAL.
  int sync() noexcept {
    if (buffer_ != nullptr) leave_direct();
    if (const int error = write_all(buffer_.get(), held_)) return error;
    held_ = 0;
    if (::fsync(fd_) == 0) return 0;
    return errno == EINVAL || errno == ENOTSUP || errno == EROFS ? 0 : errno;
  }

 private:
  int write_all(const std::byte* from, std::uint64_t bytes) noexcept {
    while (bytes > 0) {
      const ssize_t wrote = ::write(fd_, from, bytes);
      if (wrote < 0) {
        if (errno == EINTR) continue;
        // A file system that takes O_DIRECT and then does not like the alignment.
        if (errno == EINVAL && leave_direct()) continue;
        return errno;
      }
      if (wrote == 0) return EIO;
      from += wrote;
      bytes -= static_cast<std::uint64_t>(wrote);
      end_ += static_cast<std::uint64_t>(wrote);
    }
    write_behind();
    return 0;
  }

  // False: it had no O_DIRECT.
  bool leave_direct() noexcept {
    const int flags = ::fcntl(fd_, F_GETFL);
    return flags >= 0 && (flags & O_DIRECT) != 0 && ::fcntl(fd_, F_SETFL, flags & ~O_DIRECT) == 0;
  }

  // A hint: what it cannot do is done by sync().
  void write_behind() noexcept {
    if (end_ - begun_ < kWriteBehind) return;
    if (buffer_ == nullptr) {
      ::sync_file_range(fd_, static_cast<off_t>(begun_), static_cast<off_t>(end_ - begun_),
                        SYNC_FILE_RANGE_WRITE);
    }
    begun_ = end_;
  }

  const int fd_;
  const AlignedBuffer buffer_;  // null: nothing is collected here
  std::uint64_t held_ = 0;      // bytes in it
  std::uint64_t end_ = 0;       // bytes written
  std::uint64_t begun_ = 0;     // below it the kernel has been told to write
};

class DescriptorSink final : public ByteSink {
 public:
  explicit DescriptorSink(Descriptor&& fd) noexcept
      : fd_(std::move(fd)), appender_(fd_.get(), Caching::buffered) {}
  int append(const std::byte* from, std::uint64_t bytes) noexcept override {
    return appender_.append(from, bytes);
  }
  Expected<void> commit() override {
    if (const int error = appender_.sync()) return fail(real::file_error(error, "sync file", ""));
    return {};
  }

 private:
  Descriptor fd_;
  Appender appender_;
};

// A file without a name (where the file system has such), which gets its name when it is whole.
class ReplacementSink final : public ByteSink {
 public:
  ReplacementSink(Descriptor&& directory, Descriptor&& file, Caching caching, std::string name,
                  std::string temporary) noexcept
      : directory_(std::move(directory)),
        file_(std::move(file)),
        appender_(file_.get(), caching),
        name_(std::move(name)),
        temporary_(std::move(temporary)) {}
  ~ReplacementSink() override {
    if (!temporary_.empty()) ::unlinkat(directory_.get(), temporary_.c_str(), 0);
  }
  ReplacementSink(const ReplacementSink&) = delete;
  ReplacementSink& operator=(const ReplacementSink&) = delete;

  int append(const std::byte* from, std::uint64_t bytes) noexcept override {
    return appender_.append(from, bytes);
  }
  Expected<void> commit() override {
    if (const int error = appender_.sync()) return fail(real::file_error(error, "sync file", ""));
    if (temporary_.empty()) TRY_VOID(give_name());
    if (::renameat(directory_.get(), temporary_.c_str(), directory_.get(), name_.c_str()) != 0) {
      return fail(real::file_error(errno, "put the new file in its place", ""));
    }
    temporary_.clear();
    if (::fsync(directory_.get()) != 0 && errno != EINVAL) {
      return fail(real::file_error(errno, "sync directory", ""));
    }
    return {};
  }

 private:
  // linkat() cannot replace a file; so a name of its own first, which rename() then carries over.
  Expected<void> give_name();

  Descriptor directory_, file_;
  Appender appender_;
  const std::string name_;
  std::string temporary_;  // its name for the time being; empty: it has none
};

std::string temporary_name(const std::string& name) {
  char number[32];
  std::snprintf(number, sizeof number, ".holdfast-%016llx",
                static_cast<unsigned long long>(real_machine().random_u64()));
  return "." + name.substr(0, 200) + number;  // names have 255 bytes at most
}

Expected<void> ReplacementSink::give_name() {
  char self[64];
  std::snprintf(self, sizeof self, "/proc/self/fd/%d", file_.get());
  for (int i = 0; i < kNamesMax; ++i) {
    const std::string name = temporary_name(name_);
    if (::linkat(AT_FDCWD, self, directory_.get(), name.c_str(), AT_SYMLINK_FOLLOW) == 0) {
      temporary_ = name;
      return {};
    }
    if (errno != EEXIST) break;
  }
  return fail(real::file_error(errno, "name the new file", ""));
}

// A file with a temporary name, where the file system makes none without. fd, or minus the errno.
int create_named(int directory, int flags, const std::string& name, std::string& temporary) {
  for (int i = 0; i < kNamesMax; ++i) {
    temporary = temporary_name(name);
    const int fd =
        ::openat(directory, temporary.c_str(), flags | O_CREAT | O_EXCL | O_NOFOLLOW, kMode);
    if (fd >= 0) return fd;
    const int error = errno;
    // Some file systems create it before they refuse O_DIRECT.
    if (error != EEXIST) ::unlinkat(directory, temporary.c_str(), 0);
    errno = error;
    if (error != EEXIST) break;
  }
  const int error = errno;
  temporary.clear();
  return -error;
}

// A file that no name leads to, or only a temporary one. fd, or minus the errno.
int create(int directory, int flags, const std::string& name, std::string& temporary) {
  const int fd = ::openat(directory, ".", O_TMPFILE | flags, kMode);
  if (fd >= 0) return fd;
  const int error = errno;
  // What kernels and file systems answer that do not know O_TMPFILE.
  if (error != EOPNOTSUPP && error != EISDIR && error != ENOENT && error != EINVAL) return -error;
  return create_named(directory, flags, name, temporary);
}

struct SplitPath {
  std::string directory, name;
};
SplitPath split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {".", path};
  return {slash == 0 ? "/" : path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

Expected<std::unique_ptr<ByteSink>> replace_file(const std::string& path) {
  struct stat status{};
  const bool exists = ::lstat(path.c_str(), &status) == 0;
  const SplitPath parts = split(path);
  if (parts.name.empty() || (exists && !S_ISREG(status.st_mode))) {
    return fail({.code = Errc::invalid_argument,
                 .os_errno = exists && S_ISDIR(status.st_mode) ? EISDIR : EINVAL,
                 .doing = kDoing,
                 .remedy = "name a regular file, or one that is not there yet; pipes and devices "
                           "are written by descriptor"});
  }
  Descriptor directory(::open(parts.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) return fail(real::file_error(errno, kDoing, ""));
  std::string temporary;
  Caching caching = Caching::direct;
  int fd = create(directory.get(), kFlags | O_DIRECT, parts.name, temporary);
  if (fd == -EINVAL || fd == -EOPNOTSUPP) {
    caching = Caching::buffered;
    fd = create(directory.get(), kFlags, parts.name, temporary);
  }
  if (fd < 0) return fail(real::file_error(-fd, kDoing, ""));
  return std::make_unique<ReplacementSink>(std::move(directory), Descriptor(fd), caching,
                                           parts.name, temporary);
}

Expected<std::unique_ptr<ByteSink>> byte_sink_of(int fd) {
  constexpr const char* kWhat = "descriptor";
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail(real::file_error(errno, kDoing, kWhat));
  Error refused{.code = Errc::invalid_argument,
                .os_errno = EBADF,
                .doing = kDoing,
                .what = kWhat,
                .value = static_cast<std::uint64_t>(fd),
                .remedy = "open it for writing"};
  if ((flags & O_ACCMODE) == O_RDONLY) return fail(refused);
  const off_t at = ::lseek(fd, 0, SEEK_CUR);
  if (at > 0) {
    refused.what = "offset of the descriptor, bytes";
    refused.value = static_cast<std::uint64_t>(at);
    refused.remedy = "an image stands at the beginning of its file: rewind the descriptor";
    refused.os_errno = 0;
    return fail(refused);
  }
  Descriptor own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (own.get() < 0) return fail(real::file_error(errno, kDoing, kWhat));
  // What stood there must not follow what is written: an old end would be taken for the new one.
  if (at == 0 && ::ftruncate(fd, 0) != 0 && errno != EINVAL) {
    return fail(real::file_error(errno, "empty the file", kWhat));
  }
  return std::make_unique<DescriptorSink>(std::move(own));
}

}  // namespace holdfast::sys
