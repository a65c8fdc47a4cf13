#include "kernel_peer/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace holdfast::bench {

Result<std::string> read_text(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return system_trouble(path);
  std::string text;
  char buffer[4096];
  ssize_t got = 0;
  while ((got = read(fd, buffer, sizeof buffer)) > 0) text.append(buffer, std::size_t(got));
  const int error = errno;
  close(fd);
  if (got < 0) {
    errno = error;
    return system_trouble(path);
  }
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Result<void> write_text(const std::string& path, std::string_view text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return system_trouble(path);
  const ssize_t put = write(fd, text.data(), text.size());
  const int error = errno;
  close(fd);
  if (put >= 0) return {};
  errno = error;
  return system_trouble("writing " + std::string(text) + " to " + path);
}

unsigned long long status_kilobytes(std::string_view field) {
  const auto status = read_text("/proc/self/status");
  if (!status) return 0;
  const auto line = status->find("\n" + std::string(field) + ":");
  if (line == std::string::npos) return 0;
  const auto digits = status->find_first_of("0123456789", line);
  unsigned long long value = 0;
  if (digits != std::string::npos) {
    std::from_chars(status->data() + digits, status->data() + status->size(), value);
  }
  return value;
}

}  // namespace holdfast::bench
