#include "sys/real/file_error.h"

#include <cerrno>

namespace holdfast::sys::real {

Error file_error(int os_errno, const char* doing, const char* what) noexcept {
  Error error{.code = Errc::system, .os_errno = os_errno, .doing = doing, .what = what};
  switch (os_errno) {
    case ENOENT:
    case ENOTDIR:
      error.code = Errc::not_found;
      error.remedy = "name a file in a directory that exists";
      break;
    case EISDIR:
    case EINVAL:
    case ELOOP:
    case ENAMETOOLONG:
    case ESPIPE:
    case EBADF:
      error.code = Errc::invalid_argument;
      error.remedy = "name a regular file, or give an open descriptor of one";
      break;
    case EACCES:
    case EPERM:
      error.code = Errc::permission;
      error.remedy = "give this user access to the file and its directory, or name another";
      break;
    case EROFS:
      error.code = Errc::permission;
      error.remedy = "the file system is read-only: name a file on another";
      break;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      error.remedy = "free space or quota on the file system, or name a file on another";
      break;
    case EMFILE:
    case ENFILE:
      error.remedy = "raise the limit of open files (ulimit -n)";
      break;
    case EIO:
      error.code = Errc::io_error;
      error.remedy = "the device fails: use another, and look at the kernel's log";
      break;
    default:
      break;
  }
  return error;
}

}  // namespace holdfast::sys::real
