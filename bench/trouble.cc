#include "trouble.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace holdfast::bench {

std::unexpected<Trouble> skip(std::string why) {
  return std::unexpected(Trouble{TroubleKind::skipped, std::move(why)});
}

std::unexpected<Trouble> failure(std::string why) {
  return std::unexpected(Trouble{TroubleKind::failed, std::move(why)});
}

std::unexpected<Trouble> system_trouble(std::string_view doing) {
  const int error = errno;
  std::string why = fmt::format("{}: {}", doing, std::strerror(error));
  switch (error) {
    case EPERM:
    case EACCES:
    case ENOENT:
    case EROFS:
    case ENOSYS:
    case ENODEV:
      return skip(std::move(why));
    default:
      return failure(std::move(why));
  }
}

}  // namespace holdfast::bench
