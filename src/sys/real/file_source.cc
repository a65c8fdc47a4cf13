// Reading files at any offset, and finding them.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "sys/byte_store.h"
#include "sys/machine.h"
#include "sys/real/file_error.h"
#include "sys/real/plain_io.h"

namespace holdfast::sys {
namespace {

class FileSource final : public ByteSource {
 public:
  FileSource(int fd, std::uint64_t size) noexcept : fd_(fd), size_(size) {}
  ~FileSource() override { ::close(fd_); }
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;

  int read(std::uint64_t offset, std::byte* to, std::uint64_t bytes) noexcept override {
    const IoRequest request{.data = to, .bytes = bytes, .offset = offset};
    return real::transfer_plainly(fd_, request, 0, real::IoDirection::read);
  }
  std::uint64_t size() const noexcept override { return size_; }

 private:
  const int fd_;
  const std::uint64_t size_;
};

// Takes the descriptor over.
Expected<std::unique_ptr<ByteSource>> source_on(int fd) {
  constexpr const char* kDoing = "open file for reading";
  struct stat status{};
  const int error = ::fstat(fd, &status) != 0 ? errno : 0;
  const mode_t type = status.st_mode & S_IFMT;
  if (error != 0 || (type != S_IFREG && type != S_IFBLK)) {
    ::close(fd);
    return fail(real::file_error(error != 0 ? error : ESPIPE, kDoing, "kind of file"));
  }
  const off_t size = type == S_IFREG ? status.st_size : ::lseek(fd, 0, SEEK_END);
  if (size < 0) {
    const int refused = errno;
    ::close(fd);
    return fail(real::file_error(refused, kDoing, "size of the file"));
  }
  return std::make_unique<FileSource>(fd, static_cast<std::uint64_t>(size));
}

}  // namespace

Expected<std::unique_ptr<ByteSource>> open_byte_source(const std::string& path) {
  // O_NONBLOCK: a pipe that somebody named by mistake must not be waited for.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return fail(real::file_error(errno, "open file for reading", ""));
  return source_on(fd);
}

Expected<std::unique_ptr<ByteSource>> byte_source_of(int fd) {
  constexpr const char* kDoing = "read from descriptor";
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return fail(real::file_error(errno, kDoing, "descriptor"));
  if ((flags & O_ACCMODE) == O_WRONLY) {
    return fail({.code = Errc::invalid_argument,
                 .os_errno = EBADF,
                 .doing = kDoing,
                 .what = "descriptor",
                 .value = static_cast<std::uint64_t>(fd),
                 .remedy = "open it for reading"});
  }
  const int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return fail(real::file_error(errno, kDoing, "descriptor"));
  return source_on(own);
}

Expected<std::vector<std::string>> list_files(const std::string& directory) {
  DIR* const stream = ::opendir(directory.c_str());
  if (stream == nullptr) return fail(real::file_error(errno, "list directory", ""));
  std::vector<std::string> paths;
  while (const dirent* entry = ::readdir(stream)) {
    if (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN) continue;
    paths.push_back(directory + "/" + entry->d_name);
  }
  ::closedir(stream);
  std::sort(paths.begin(), paths.end());
  return paths;
}

}  // namespace holdfast::sys
