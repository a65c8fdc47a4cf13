// Where recordings are kept.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "run/recording.h"

namespace holdfast::run {
namespace {

// Far more than the most pages take, and little enough to be read as a whole.
constexpr std::uint64_t kFileBytesMax = std::uint64_t{256} << 20;

std::unexpected<std::string> refused_by_system() {
  return std::unexpected(std::string(std::strerror(errno)));
}

// A link stays, and what it names is replaced.
std::string target_of(const std::string& path) {
  const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                         &std::free);
  return real ? std::string(real.get()) : path;
}

std::string draft_of(const std::string& path) {
  return target_of(path) + ".part-" + std::to_string(::getpid());
}

int create(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

// errno.
int write_all(int file, std::span<const std::uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return errno;
    if (written > 0) bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
  return ::fsync(file) == 0 ? 0 : errno;
}

}  // namespace

std::expected<Recording, std::string> read_recording(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return refused_by_system();
  struct stat status{};
  Bytes bytes;
  if (::fstat(file, &status) == 0 && S_ISREG(status.st_mode)) {
    const auto size = static_cast<std::uint64_t>(status.st_size);
    bytes.resize(size <= kFileBytesMax ? size : 0);
  }
  std::size_t length = 0;
  ssize_t got = 1;
  while (got > 0 && length < bytes.size()) {
    got = ::read(file, bytes.data() + length, bytes.size() - length);
    if (got > 0) length += static_cast<std::size_t>(got);
  }
  ::close(file);
  if (got < 0) return refused_by_system();
  return decode_recording(std::span(bytes).first(length));
}

int check_recording_path(const std::string& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) == 0) {
    if (S_ISDIR(status.st_mode)) return EISDIR;
    if (!S_ISREG(status.st_mode)) return EINVAL;  // a device, say: its name must not be taken
    if (::access(path.c_str(), W_OK) != 0) return errno;
  }
  const std::string draft = draft_of(path);
  const int file = create(draft);
  if (file < 0) return errno;
  ::close(file);
  ::unlink(draft.c_str());
  return 0;
}

int write_recording(const std::string& path, std::span<const std::uint8_t> bytes) {
  if (const int error = check_recording_path(path); error != 0) return error;
  const std::string draft = draft_of(path);
  const int file = create(draft);
  if (file < 0) return errno;
  int error = write_all(file, bytes);
  if (::close(file) != 0 && error == 0) error = errno;
  if (error == 0 && ::rename(draft.c_str(), target_of(path).c_str()) != 0) error = errno;
  if (error != 0) ::unlink(draft.c_str());
  return error;
}

}  // namespace holdfast::run
