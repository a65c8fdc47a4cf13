// The line at the bottom of a terminal while a run goes on.
//
// The lowest row is set apart from the part that scrolls, so that what the program prints scrolls
// above it as if the terminal had a row less, and the cursor stays where the program left it.
// Nothing is drawn while the program has the terminal for itself (it has switched off line editing:
// an editor, a pager, a shell's prompt), or while it runs in the background.
//
// Used by one thread. The row is given back by hide() or the destructor; if the pager is killed, by
// whoever outlives it, with status_row_removal().
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace holdfast::run {

struct Status {
  std::uint64_t budget_bytes = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t out_bytes = 0;         // evicted
  std::uint64_t compressed_bytes = 0;  // what that takes in memory
  std::uint64_t file_bytes = 0;        // and in files
  double faults_per_second = 0;
  double stalled = 0;  // share of the time, 0 to 1
};

// As much of it as fits into so many columns.
[[nodiscard]] std::string status_text(const Status& status, unsigned columns);

// What takes the lowest of so many rows back.
[[nodiscard]] std::string status_row_removal(unsigned rows);

class StatusLine {
 public:
  // Of the terminal behind this descriptor. Nothing is ever drawn if there is none. `rows_taken`:
  // where it says how many rows the terminal has while the lowest is taken, else 0; always before
  // it draws, for whoever finds it killed.
  StatusLine(int terminal, std::atomic<unsigned>& rows_taken);
  ~StatusLine();
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  [[nodiscard]] bool is_possible() const noexcept { return possible_; }
  void show(const Status& status);
  void hide();

 private:
  enum class Use : std::uint8_t { ours, programs, none };
  [[nodiscard]] Use use() const noexcept;
  void take_row(unsigned rows, std::string& out);
  void send(const std::string& text) const noexcept;

  int terminal_ = -1;
  bool possible_ = false;
  std::atomic<unsigned>& rows_;
};

}  // namespace holdfast::run
