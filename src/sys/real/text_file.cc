#include "sys/real/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>

namespace holdfast::sys::real {

std::optional<std::string> read_text(const std::string& path) {
  constexpr std::size_t kBytesMax = 64 * 1024;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return std::nullopt;
  std::string text(kBytesMax, '\0');
  std::size_t length = 0;
  ssize_t got = 0;
  do {
    got = ::read(fd, text.data() + length, text.size() - length);
    if (got > 0) length += static_cast<std::size_t>(got);
  } while ((got > 0 && length < text.size()) || (got < 0 && errno == EINTR));
  const int error = errno;
  ::close(fd);
  errno = error;
  if (got < 0) return std::nullopt;
  text.resize(length);
  return text;
}

std::optional<std::uint64_t> parse_number(const std::string& text) noexcept {
  std::uint64_t number = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), number);
  if (result.ec != std::errc{}) return std::nullopt;
  return number;
}

}  // namespace holdfast::sys::real
