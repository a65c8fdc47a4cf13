// A file that is mapped: its region, its source, and what its mappings do together.
//
//   shared, read_only   one for each file of an engine (FileTable): all views of it are one region
//   private_copy        one for each mapping: a region of its own
//
// The region stands for the whole file, so a view of any offset is an address in it.
//
// Thread-safety: all functions may be called by several threads; what writes to the file or wants
// it to stay as it is has the turn of its source.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "engine/write_pacer.h"
#include "file/file.h"
#include "holdfast/file.h"
#include "space/space.h"
#include "sys/sys.h"

namespace holdfast::engine {

struct MappedFileOptions {
  FileMode mode = FileMode::shared;
  bool commits = false;
  std::uint64_t bytes = 0;  // of the file: not 0
  std::uint64_t capacity = 0;
  std::uint64_t journal_limit = 0;
  WritePace pace = {};
};

class MappedFile {
 public:
  // Maps the open file; with commits the caller has claimed it. Errors: those of map_anonymous and
  // of file::Journal::open, unsupported.
  [[nodiscard]] static Expected<std::unique_ptr<MappedFile>> create(
      sys::Machine& machine, space::AddressSpace& space, file::ReadAhead& ahead,
      std::unique_ptr<sys::DataFile> data, const MappedFileOptions& options);
  // close() has succeeded, or what it would have written is lost.
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // Writes what has changed of pages [first, end); durable: and makes it so. The error of a page
  // that could not be written is noted for all mappings, too.
  Expected<void> write_back(std::uint64_t first, std::uint64_t end, bool durable);
  // The same in the background, of the next few pages whose time has come; the caller has the turn.
  // Returns when to come again.
  std::uint64_t write_some(space::Counters& counters);
  [[nodiscard]] bool is_written_in_background() const noexcept {
    return mode_ == FileMode::shared && !commits_;
  }
  // Of the thread that calls write_some().
  [[nodiscard]] WritePacer& pacer() noexcept { return pacer_; }
  // Makes all that has changed durable, as a whole. See FileMapping::commit.
  Expected<void> commit();
  Expected<void> rollback();
  // Passed by those whose stores belong together; closed while they are taken or rolled back.
  [[nodiscard]] sync::Gate& changing() noexcept { return changing_; }
  // Makes what was committed durable in the file itself.
  Expected<void> checkpoint();
  // Makes the file `bytes` long. Only pages are cut off.
  Expected<void> resize(std::uint64_t bytes);
  // Writes what has to be written before the file is closed. Errors: of write_back.
  Expected<void> close();
  // Its last mapping goes, but not its snapshots: what had changed is written, what was not
  // committed is gone. Errors: of write_back, rollback and checkpoint.
  Expected<void> rest();
  // True if snapshots or clones of it may need the file.
  [[nodiscard]] bool has_copies() const noexcept {
    return record_->before != nullptr && record_->before->any();
  }

  [[nodiscard]] FileMode mode() const noexcept { return mode_; }
  [[nodiscard]] bool has_commits() const noexcept { return commits_; }
  [[nodiscard]] const sys::FileIdentity& identity() noexcept { return source_->data().identity(); }
  [[nodiscard]] space::RegionRecord& record() noexcept { return *record_; }
  [[nodiscard]] file::FileSource& source() noexcept { return *source_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return source_->bytes(); }
  [[nodiscard]] std::uint64_t capacity() const noexcept { return record_->capacity << kPageShift; }

  std::uint32_t views = 0;  // mappings of it; under the table's turn

 private:
  MappedFile(sys::Machine& machine, space::AddressSpace& space, file::FileSource* source,
             const MappedFileOptions& options) noexcept
      : machine_(machine),
        space_(space),
        source_(source),
        reference_(source),
        mode_(options.mode),
        commits_(options.commits),
        journal_limit_(options.journal_limit),
        pacer_(options.pace, machine.now_ns()) {}
  Expected<void> open_journal();
  Expected<std::uint64_t> write_changes(std::uint64_t first, std::uint64_t end, bool durable);
  Expected<void> commit_changes();
  Expected<void> take_changes(space::SaveSink& sink, std::vector<space::SavedPage>& saved);
  void bring_up_to_date(std::span<const space::SavedPage> saved);
  Expected<void> grow(std::uint64_t bytes);
  Expected<void> shrink(std::uint64_t bytes);

  sys::Machine& machine_;
  space::AddressSpace& space_;
  file::FileSource* const source_;
  const object::SourceRef reference_;  // to it
  const FileMode mode_;
  const bool commits_;
  const std::uint64_t journal_limit_;
  space::RegionRecord* record_ = nullptr;

  // Under the turn of the source.
  std::unique_ptr<file::Journal> journal_;  // with commits
  bool look_at_all_ = false;                // a save has failed since the last one of all pages
  std::uint64_t failures_ = 0;              // saves that have failed
  std::uint64_t failures_before_ = 0;       // ... before the pass that is under way
  WritePacer pacer_;
  std::uint64_t covered_ = 0;  // this many of those who arrived to commit have been served

  std::atomic<std::uint64_t> arrived_{0};  // to commit
  sync::Gate changing_;
};

// What an errno of a mapped file means. doing: a literal.
[[nodiscard]] Error file_trouble(int os_errno, std::uint64_t offset, const char* doing) noexcept;

}  // namespace holdfast::engine
