// The journal of a file's commits: a file beside it, in which a commit is durable before any of it
// is written to the file itself (a redo log).
//
//   append ... append ─▶ seal ─▶ apply                       a commit
//        └────▶ abandon   │        └▶ ... ─▶ checkpoint      now and then
//                         └ the one flush: from here on it is committed
//
//   seal        writes the last part and flushes the journal
//   apply       writes the committed pages to the file, by way of the kernel's cache, not flushed
//   checkpoint  flushes the file; then nothing in the journal is needed, and it begins anew
//   open        what a crash has left: whole commits are applied, and the journal begins anew
//
// So the file shows the last commit to whoever reads it, and after a crash the journal makes it so.
// A commit is gathered in memory and written at its end, in one piece unless it is a large one; and
// it is applied from there. Room in the journal is used again, and it grows by more than is asked
// for, of zeros: so most commits write over blocks that the file has, and their flush has no
// metadata to write.
//
// Whatever fails, fails the call, and can be tried again: an append or seal that failed has
// committed nothing (its parts are overwritten, or the journal is begun anew first), an apply that
// failed is done again by the next apply or checkpoint.
//
// Context: task; may wait for I/O. One thread at a time: whoever has the turn of the file's source.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "file/journal_reader.h"
#include "object/object.h"
#include "sys/sys.h"

namespace holdfast::file {

class Journal {
 public:
  // The name of the journal of the file of that name.
  [[nodiscard]] static std::string path_for(const std::string& path) {
    return path + ".holdfast-journal";
  }

  // Opens the journal of `data`, which outlives it and is claimed, and brings what it holds to its
  // end; makes one where there is none. Errors: those of JournalReader::summarize(),
  // invalid_argument (it belongs to another file), those of opening and of checkpoint().
  [[nodiscard]] static Expected<std::unique_ptr<Journal>> open(sys::Machine& machine,
                                                               const std::string& path,
                                                               sys::DataFile& data);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Adds pages to the commit that is being made; at most kPartPages. Errors: io_error, system.
  Expected<void> append(std::span<const object::PageWrite> pages,
                        std::span<const base::Hash128> hashes, std::uint64_t file_bytes);
  // Makes the commit durable. Errors: io_error, system; then it is abandoned.
  Expected<void> seal();
  // Nothing of the commit that is being made will ever be seen.
  void abandon() noexcept;

  Expected<void> apply();
  // Makes durable what was applied. Where that fails, all that is in the journal counts as not
  // applied: the next apply() does it again.
  Expected<void> flush_file();
  Expected<void> checkpoint();
  // Makes the file show the last commit, where an apply has failed, and sees to it that a seal that
  // has failed is not found after a crash, as far as the device lets it. Errors: of apply().
  Expected<void> mend();
  // A checkpoint; then takes the journal's file away.
  Expected<void> close();

  // Bytes that it takes now.
  [[nodiscard]] std::uint64_t bytes() const noexcept { return next_.position; }
  // True if all that was committed is in the file, though perhaps not flushed.
  [[nodiscard]] bool is_applied() const noexcept {
    return applied_.position == committed_.position;
  }

 private:
  Journal(sys::Machine& machine, std::string path, std::unique_ptr<sys::DataFile> file,
          sys::DataFile& data, std::byte* buffer) noexcept
      : machine_(machine),
        path_(std::move(path)),
        file_(std::move(file)),
        data_(data),
        buffer_(buffer),
        gathered_(buffer + std::uint64_t{JournalReader::kBufferPages} * kPageSize),
        reader_(*file_, buffer) {}
  Expected<void> recover();
  Expected<void> begin_anew();
  void add_part(std::uint32_t pages);
  Expected<void> write_gathered();
  void make_room_behind(std::uint64_t end) noexcept;
  Expected<void> write(std::span<sys::IoRequest> requests);
  Expected<void> apply_gathered();
  Expected<void> apply_part(const PartHeader& part, std::byte* pages);

  // What is gathered before it is written: parts as they will stand in the file.
  static constexpr std::uint32_t kGatheredParts = 8;
  static constexpr std::uint32_t kGatheredBlocks = kGatheredParts * (1 + kPartPages) + 1;
  static constexpr std::uint32_t kBlocks = JournalReader::kBufferPages + kGatheredBlocks;

  sys::Machine& machine_;
  const std::string path_;
  const std::unique_ptr<sys::DataFile> file_;
  sys::DataFile& data_;
  std::byte* const buffer_;    // kBlocks of them: the reader's,
  std::byte* const gathered_;  // and ours
  std::uint32_t gathered_blocks_ = 0;
  std::uint64_t gathered_at_ = 0;    // where they belong
  bool gathered_is_written_ = true;  // the next part begins anew
  std::uint64_t room_ = 0;           // bytes of the journal that have been written to, once
  bool may_grow_ = true;             // by more than is needed: there was room for it the last time
  JournalReader reader_;
  JournalHeader header_;
  JournalCursor next_;       // where the next part goes
  JournalCursor committed_;  // behind the last seal
  JournalCursor applied_;    // behind the last part that is in the file; at a seal
  bool broken_ = true;       // the journal has to be begun anew before it takes another commit
};

}  // namespace holdfast::file
