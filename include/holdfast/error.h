// Errors of the public API and of every module below it.
//
// What it is for: everything in Holdfast that can fail returns `Expected<T>`, that is
// `std::expected<T, Error>`. Bad input is an error, never an abort, and never a partial effect.
// What the operating system refuses (EIO, ENOSPC, EPERM) reaches the caller with its errno.
//
// Who owns what: an Error owns nothing. It is trivially copyable, holds only literals and numbers,
// and may therefore be made and passed on in a fault handler or a signal handler.
//
// Example:
//     auto region = engine.map_anonymous(bytes);
//     if (!region) { std::fputs(region.error().message().c_str(), stderr); return 1; }
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <string>
#include <type_traits>

namespace holdfast {

// What went wrong, as a closed list; the errno, if the system gave one, stands beside it.
enum class Errc : std::uint8_t {
  invalid_argument,   // a value is not of the form or range that the call takes
  not_mapped,         // the address or range lies in no region of this engine
  interrupt_context,  // a task-only function was called from interrupt context; nothing changed
  budget_exceeded,    // the memory budget cannot hold what was asked for
  pins_exceeded,      // the pins asked for would leave no room to work in
  out_of_memory,      // no frame could be had: everything is pinned or nothing can be written out
  swap_full,          // every swap tier is full
  io_error,           // a device failed; os_errno says how
  corrupted,          // data read back does not match its hash
  permission,         // the system refuses; `remedy` says which sysctl, device or capability
  unsupported,        // this kernel or build cannot do it
  busy,               // somebody holds what would have to change
  not_found,          // a file or directory that was named is not there
  would_block,        // it cannot be had without waiting, or a queue is full: try again later
  cancelled,          // somebody asked for it to stop before it was done
  timed_out,          // its time was up before it was done
  system,             // any other system call failure; os_errno says which
};

// The name of the code, as it is spelled above. Any context.
[[nodiscard]] const char* name(Errc code) noexcept;

// Who holds how much of something that ran out.
struct ErrorHolder {
  const char* name = nullptr;  // outlives the error; null: nobody
  std::uint64_t held = 0;
};

struct Error {
  Errc code = Errc::system;
  int os_errno = 0;          // 0 where no system call failed
  const char* doing = "";    // what was being done: a literal, "map region"
  const char* what = "";     // which value: a literal, "memory_budget"
  std::uint64_t value = 0;   // the offending value: bytes, an address, a slot, an offset
  std::uint64_t limit = 0;   // the limit that it broke, in the same unit; 0 = none applies
  const char* remedy = "";   // what the caller can do: a literal
  std::uint64_t holder = 0;  // who holds most of it: the address of a region; 0: not known
  std::uint64_t held = 0;    // and how much that is, in the unit of `value`
  std::array<ErrorHolder, 4> holders{};  // the accounts that hold most, most first

  // One line with code, numbers, errno text and remedy. Task context (allocates).
  [[nodiscard]] std::string message() const;

  // The same line into a caller's buffer, cut to fit and always terminated; returns its length.
  // Async-signal-safe. size: bytes, at least 1.
  std::size_t format(char* buffer, std::size_t size) const noexcept;
};
static_assert(std::is_trivially_copyable_v<Error>, "errors are made in signal handlers");

template <class T>
using Expected = std::expected<T, Error>;

// Shorthand for returning an error: `return fail({.code = Errc::not_mapped, ...});`
[[nodiscard]] inline std::unexpected<Error> fail(const Error& error) noexcept {
  return std::unexpected<Error>(error);
}

}  // namespace holdfast
