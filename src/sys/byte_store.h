// Bytes that are written once, from front to back, and read at any place afterwards: where memory
// images stand. Files are one implementation; whatever else can append and read at an offset is
// another, which is why the two halves are interfaces and know nothing of paths.
//
// Who owns what: a source or sink owns its descriptor (one that it is given is duplicated, so the
// caller may close its own at once).
//
// Flow of a replacement: replace_file(path) -> append() ... -> commit(). Until commit() has
// returned the file that stood at `path` is untouched; afterwards the new one stands there, whole
// and durable. A sink that goes without commit() leaves nothing behind. A process that is killed
// between the last two steps of commit() may leave one file `.<name>.holdfast-<number>`.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/base.h"

namespace holdfast::sys {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Reads `bytes` at `offset` to `to`: all of them, or an errno (EIO where the store ends early).
  // May wait. Async-signal-safe: a fault handler calls it. Several threads at once.
  [[nodiscard]] virtual int read(std::uint64_t offset, std::byte* to,
                                 std::uint64_t bytes) noexcept = 0;
  // Bytes in the store when it was opened.
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  // What it means that read() at `offset` gave this errno. Async-signal-safe.
  [[nodiscard]] virtual Error error_of(int os_errno, std::uint64_t offset) const noexcept {
    return {.code = Errc::io_error,
            .os_errno = os_errno,
            .doing = "read image",
            .what = "offset in the file",
            .value = offset,
            .remedy = "the device failed, or the file was cut short behind its reader"};
  }
};

class ByteSink {
 public:
  virtual ~ByteSink() = default;
  // Writes `bytes` behind what was written before. errno; then the sink is good for nothing but
  // its destructor. May wait. Task context; one thread at a time.
  [[nodiscard]] virtual int append(const std::byte* from, std::uint64_t bytes) noexcept = 0;
  // Makes all of it durable, and visible under its name if it has one. Once. Errors: system.
  [[nodiscard]] virtual Expected<void> commit() = 0;
  // What it means that append() gave this errno, `offset` bytes after the beginning.
  [[nodiscard]] virtual Error error_of(int os_errno, std::uint64_t offset) const noexcept {
    const bool full = os_errno == ENOSPC || os_errno == EDQUOT || os_errno == EFBIG;
    return {.code = full ? Errc::system : Errc::io_error,
            .os_errno = os_errno,
            .doing = "write image",
            .what = "offset in the file",
            .value = offset,
            .remedy = full ? "free space on the file system, or save to another"
                           : "the device failed: save to another"};
  }
};

// --- files; task context ---

// Errors: not_found, permission, invalid_argument (a directory, a pipe: nothing to read at an
// offset), system.
[[nodiscard]] Expected<std::unique_ptr<ByteSource>> open_byte_source(const std::string& path);
[[nodiscard]] Expected<std::unique_ptr<ByteSource>> byte_source_of(int fd);

// A new file of mode 0600 that takes the place of whatever file stands at `path`, at commit().
// Errors: not_found (its directory), permission, invalid_argument (something other than a regular
// file stands there), system.
[[nodiscard]] Expected<std::unique_ptr<ByteSink>> replace_file(const std::string& path);

// Appends to a descriptor: a file at its beginning, which is emptied first, or a pipe or socket.
// Errors: invalid_argument (not writable; a file that is not at its beginning), system.
[[nodiscard]] Expected<std::unique_ptr<ByteSink>> byte_sink_of(int fd);

// The regular files of a directory, as paths that begin with `directory`. Errors as above.
[[nodiscard]] Expected<std::vector<std::string>> list_files(const std::string& directory);

}  // namespace holdfast::sys
