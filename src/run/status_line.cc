#include "run/status_line.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>

#include "run/text.h"

namespace holdfast::run {
namespace {

constexpr unsigned kRowsMin = 5;
constexpr unsigned kColumnsMin = 30;

constexpr const char* kSaveCursor = "\0337";
constexpr const char* kRestoreCursor = "\0338";
constexpr const char* kScrollEverywhere = "\033[r";

struct Size {
  unsigned rows = 0;
  unsigned columns = 0;
};

Size size_of(int terminal) noexcept {
  winsize size{};
  if (::ioctl(terminal, TIOCGWINSZ, &size) != 0) return {};
  return {.rows = size.ws_row, .columns = size.ws_col};
}

// Bytes in UTF-8 are not columns; this text is ASCII throughout.
void add_part(std::string& text, const std::string& part, unsigned columns) {
  const std::string_view gap = text.empty() ? "" : "   ";
  if (text.size() + gap.size() + part.size() <= columns) text.append(gap).append(part);
}

std::string where_out(const Status& status) {
  std::string text = "evicted " + bytes_text(status.out_bytes);
  if (status.compressed_bytes > 0) text += " to " + bytes_text(status.compressed_bytes);
  if (status.file_bytes > 0) text += ", on disk " + bytes_text(status.file_bytes);
  return text;
}

}  // namespace

std::string status_text(const Status& status, unsigned columns) {
  std::string text;
  add_part(text,
           fmt::format("holdfast: resident {} of {}", bytes_text(status.resident_bytes),
                       bytes_text(status.budget_bytes)),
           columns);
  add_part(text, where_out(status), columns);
  add_part(text, short_count_text(status.faults_per_second) + " faults/s", columns);
  add_part(text, fmt::format("stalled {:.0f} %", 100 * status.stalled), columns);
  return text;
}

std::string status_row_removal(unsigned rows) {
  return fmt::format("{}{}\033[{};1H\033[2K{}", kSaveCursor, kScrollEverywhere, rows,
                     kRestoreCursor);
}

// Opened anew, so as not to wait for a terminal that somebody has stopped (Ctrl-S), without taking
// waiting away from everybody else who has it.
StatusLine::StatusLine(int terminal, std::atomic<unsigned>& rows_taken) : rows_(rows_taken) {
  if (::isatty(terminal) == 0) return;
  terminal_ = ::open(("/proc/self/fd/" + std::to_string(terminal)).c_str(),
                     O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  const char* const name = std::getenv("TERM");
  const std::string_view term = name == nullptr ? "" : name;
  possible_ = terminal_ >= 0 && !term.empty() && term != "dumb";
}

StatusLine::~StatusLine() {
  hide();
  if (terminal_ >= 0) ::close(terminal_);
}

StatusLine::Use StatusLine::use() const noexcept {
  termios mode{};
  if (::tcgetattr(terminal_, &mode) != 0) return Use::none;
  if (::tcgetpgrp(terminal_) != ::getpgrp()) return Use::none;
  return (mode.c_lflag & ICANON) != 0 ? Use::ours : Use::programs;
}

// Make room for a row below (the text moves up if the cursor stands in the lowest), then let only
// the rows above it scroll. Setting that moves the cursor: it is saved before.
void StatusLine::take_row(unsigned rows, std::string& out) {
  out += fmt::format("\033D\033[A{}\033[1;{}r{}", kSaveCursor, rows - 1, kRestoreCursor);
  rows_ = rows;
}

void StatusLine::send(const std::string& text) const noexcept {
  [[maybe_unused]] const ssize_t written = ::write(terminal_, text.data(), text.size());
}

void StatusLine::show(const Status& status) {
  if (!possible_) return;
  const Size size = size_of(terminal_);
  const Use now = use();
  if (now == Use::programs) {
    // What stands in the lowest row of a program that has the screen for itself is that program's.
    if (rows_ != 0) send(std::string(kSaveCursor) + kScrollEverywhere + kRestoreCursor);
    rows_ = 0;
    return;
  }
  if (now == Use::none || size.rows < kRowsMin || size.columns < kColumnsMin) return hide();
  std::string out;
  if (rows_ != size.rows) {
    hide();
    take_row(size.rows, out);
  }
  out += fmt::format("{}\033[{};1H\033[2K\033[2m{}\033[0m{}", kSaveCursor, size.rows,
                     status_text(status, size.columns - 1), kRestoreCursor);
  send(out);
}

void StatusLine::hide() {
  if (rows_ != 0) send(status_row_removal(rows_));
  rows_ = 0;
}

}  // namespace holdfast::run
