// Reading a journal: its header, and part after part as long as they are whole.
//
// Context: task; may wait for I/O. One thread at a time.
#pragma once

#include <cstdint>
#include <span>

#include "file/journal_format.h"
#include "sys/sys.h"

namespace holdfast::file {

// What a journal holds.
struct JournalSummary {
  JournalHeader header;
  JournalCursor end;             // behind the last commit that is whole
  std::uint64_t commits = 0;     // whole
  std::uint64_t pages = 0;       // in them
  std::uint64_t torn_parts = 0;  // behind them: of a commit that was under way
  std::uint64_t file_bytes = 0;
};

class JournalReader {
 public:
  // Memory of kBufferPages pages, aligned to kPageSize; the file and it outlive the reader.
  static constexpr std::uint32_t kBufferPages = 1 + kPartPages;
  JournalReader(sys::DataFile& file, std::byte* buffer) noexcept : file_(file), buffer_(buffer) {}

  // Reads the header. False: there is none, as the journal was never begun. Errors: corrupted,
  // unsupported (of a newer version), io_error.
  Expected<bool> read_header();
  [[nodiscard]] const JournalHeader& header() const noexcept { return header_; }
  [[nodiscard]] JournalCursor start() const noexcept { return {.previous = header_.checksum}; }

  // Reads the part at the cursor, and moves it behind that. Null: there is none that is whole. Its
  // pages are at pages(). Errors: io_error.
  Expected<const PartHeader*> next(JournalCursor& cursor);
  [[nodiscard]] std::byte* pages() const noexcept { return buffer_ + kPageSize; }

  // Reads all of it. Errors: as read_header; corrupted (value: the offset): a commit is damaged
  // behind which there are others, so it was not one that a crash cut short.
  Expected<JournalSummary> summarize();

 private:
  Expected<bool> read(std::uint64_t offset, std::byte* to, std::uint64_t bytes);
  [[nodiscard]] bool is_next(const PartHeader& part, const JournalCursor& cursor) const noexcept;
  Expected<bool> has_later_commit(const JournalCursor& from);

  sys::DataFile& file_;
  std::byte* const buffer_;
  JournalHeader header_;
};

}  // namespace holdfast::file
