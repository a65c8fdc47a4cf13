#include "holdfast/error.h"

#include <cstring>

#include "base/text.h"

namespace holdfast {

const char* name(Errc code) noexcept {
  switch (code) {
    case Errc::invalid_argument:
      return "invalid_argument";
    case Errc::not_mapped:
      return "not_mapped";
    case Errc::interrupt_context:
      return "interrupt_context";
    case Errc::budget_exceeded:
      return "budget_exceeded";
    case Errc::pins_exceeded:
      return "pins_exceeded";
    case Errc::out_of_memory:
      return "out_of_memory";
    case Errc::swap_full:
      return "swap_full";
    case Errc::io_error:
      return "io_error";
    case Errc::corrupted:
      return "corrupted";
    case Errc::permission:
      return "permission";
    case Errc::unsupported:
      return "unsupported";
    case Errc::busy:
      return "busy";
    case Errc::not_found:
      return "not_found";
    case Errc::would_block:
      return "would_block";
    case Errc::cancelled:
      return "cancelled";
    case Errc::timed_out:
      return "timed_out";
    case Errc::system:
      return "system";
  }
  return "unknown";
}

namespace {

// Adds "EIO, Input/output error". Both functions look up constant tables: async-signal-safe, unlike
// strerror.
void add_errno(base::Text& text, int os_errno) noexcept {
  const char* symbol = ::strerrorname_np(os_errno);
  const char* words = ::strerrordesc_np(os_errno);
  if (symbol == nullptr || words == nullptr) {
    text.add("errno ").add(static_cast<std::uint64_t>(os_errno));
    return;
  }
  text.add(symbol).add(", ").add(words);
}

}  // namespace

std::size_t Error::format(char* buffer, std::size_t size) const noexcept {
  base::Text text(buffer, size);
  if (*doing != '\0') text.add(doing).add(": ");
  text.add(name(code));
  if (*what != '\0') {
    text.add(": ").add(what).add(" = ").add(value);
    if (limit != 0) text.add(" (limit ").add(limit).add(")");
  } else if (value != 0) {
    text.add(": ").add_hex(value);
  }
  if (held != 0) text.add(", ").add(held).add(" of them by the region at ").add_hex(holder);
  for (const ErrorHolder& who : holders) {
    if (who.name == nullptr) break;
    text.add(&who == holders.data() ? "; held by " : ", ").add(who.name).add(": ").add(who.held);
  }
  if (os_errno != 0) {
    text.add(" [");
    add_errno(text, os_errno);
    text.add("]");
  }
  if (*remedy != '\0') text.add("; ").add(remedy);
  return text.length();
}

std::string Error::message() const {
  char buffer[1024];  // a line; remedies are the longest part, 200 to 300 characters
  const std::size_t length = format(buffer, sizeof buffer);
  return std::string(buffer, length);
}

}  // namespace holdfast
