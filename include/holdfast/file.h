// Files as memory: mapped, written back, and committed as a whole or not at all.
//
// What it is for: a file of any size as plain pointers, under the engine's budget. Its pages come
// in as they are touched; what was not changed is dropped and read again; what was changed goes
// back to the file, or to swap as long as it is private or not committed.
//
// One page of a file has one frame: two shared mappings of a file in one engine are the same
// memory, whatever their offsets, and so are pins and asynchronous I/O on them. So a read-only
// mapping of a file that is mapped for writing, too, is that memory, and does not refuse stores.
//
// Who owns what: a FileMapping owns its view of the file; the last one of a file closes it. The
// descriptor that it was given may be closed at once. A mapping goes before its engine.
//
// Reading and writing:
//     auto mapping = holdfast::map_file(*engine, "/data/table");
//     if (!mapping) return report(mapping.error());
//     auto* rows = reinterpret_cast<Row*>(mapping->data());
//     rows[42].count += 1;
//     if (auto durable = mapping->sync(); !durable) return report(durable.error());
//
// All or nothing:
//     auto mapping = holdfast::map_file(*engine, "/data/ledger", {.commits = true});
//     from->balance -= 10; to->balance += 10;
//     if (!mapping->commit()) mapping->rollback();    // durable as a whole, or as it was before
// After a crash at any moment the next map_file() finds the last commit that succeeded, or the one
// that was under way, whole.
//
// What was stored reaches a shared file without commits by itself, too, after some seconds and not
// durably: Options::write_back.
//
// A snapshot (snapshot.h) or a clone of a mapping is of the whole file, byte 0 of the file first,
// as its mappings show it at that moment: what is stored to them later, and written and committed,
// leaves it as it is. So a reader holds a consistent view while writers commit:
//     auto view = engine->snapshot(*mapping);         // no Transaction is under way in it
//     scan(view->data(), view->size());               // the last page is filled up with zeros
//     view->drop();
// As long as there is one its file stays open, and its journal and its claim where it has commits,
// also when the last mapping has gone. What other processes write to the file may show in it.
//
// What goes wrong in a plain load (the device fails, the file was cut short under its mapping) goes
// to Options::on_error, with errno and offset. What cannot be written back stays changed and in
// memory; the error is kept for the file and told by the next sync() of each mapping, once.
//
// Context: task only, but data() and size(). Thread-safety: a mapping may be used by several
// threads at once. commit(), rollback() and sync() take what is stored at the moment: threads that
// change what belongs together pause for the call, as for a snapshot, or hold a Transaction.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "holdfast/context.h"
#include "holdfast/engine.h"
#include "holdfast/error.h"
#include "holdfast/ready.h"
#include "holdfast/region.h"

namespace holdfast {

enum class FileMode : std::uint8_t {
  shared,        // stores go to the file, and every mapping of it sees them
  read_only,     // stores are refused
  private_copy,  // stores are this mapping's own; a page is as the file had it when first touched
};

struct FileOptions {
  FileMode mode = FileMode::shared;
  // Where there is no file, makes an empty one of mode 0600. shared only.
  bool create = false;
  // Stores reach the file by commit() alone, through a journal beside the file
  // (`<name>.holdfast-journal`). shared only; all mappings of the file agree on it, and no other
  // process maps it so at the same time.
  bool commits = false;
  std::uint64_t offset = 0;  // where the mapping begins, bytes; any
  std::uint64_t bytes = 0;   // how much of it; any. 0: up to the end
  std::uint64_t at_least =
      0;  // a file shorter than that is made that long, with zeros. shared only
  std::uint64_t capacity = 0;  // how long resize() may make the file, bytes; 0: as long as it is
  // With commits: a journal longer than that is brought to its end by the commit that made it so.
  std::uint64_t journal_limit = 64 << 20;
};

// A name, or an open descriptor where the name is empty.
struct FileLocation {
  std::string path;
  int fd = -1;
};

class Transaction;

namespace detail {
// What a FileMapping stands for inside the engine.
class FileControl : public ReadyControl {
 public:
  virtual ~FileControl() = default;
  virtual Expected<void> sync(std::uint64_t offset, std::uint64_t bytes) = 0;
  virtual Expected<void> commit() = 0;
  virtual Expected<void> begin() = 0;
  virtual void end() noexcept = 0;
  virtual Expected<void> rollback() = 0;
  virtual Expected<void> resize(std::uint64_t bytes) = 0;
  virtual Expected<void> advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) = 0;
  virtual Expected<std::uint64_t> prefetch(std::uint64_t offset, std::uint64_t bytes) = 0;
  virtual Expected<void> unmap() = 0;   // deletes it, where it succeeds
  virtual void abandon() noexcept = 0;  // the same, and what could not be written is lost
  [[nodiscard]] virtual std::byte* data() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  // Which engine it belongs to: an address, compared and never followed.
  [[nodiscard]] virtual const void* engine() const noexcept = 0;
};
}  // namespace detail

// Stores that belong together, by a thread that does not pause the others: no commit and no
// rollback takes place while it lives, nor a snapshot of the file. Its thread calls neither
// commit(), rollback(), sync(), resize() nor unmap() meanwhile, nor snapshots or clones the file:
// they would wait for it. Its mapping outlives it.
class [[nodiscard]] Transaction {
 public:
  Transaction() noexcept = default;
  explicit Transaction(detail::FileControl* control) noexcept : control_(control) {}
  Transaction(Transaction&& other) noexcept : control_(std::exchange(other.control_, nullptr)) {}
  Transaction& operator=(Transaction&& other) noexcept {
    if (this != &other) {
      end();
      control_ = std::exchange(other.control_, nullptr);
    }
    return *this;
  }
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() { end(); }

  // The next commit takes what was stored; it is not durable before.
  void end() noexcept {
    if (control_ != nullptr) std::exchange(control_, nullptr)->end();
  }

 private:
  detail::FileControl* control_ = nullptr;
};

class FileMapping {
 public:
  FileMapping() noexcept = default;  // no mapping: data() is null
  explicit FileMapping(detail::FileControl* control) noexcept : control_(control) {}
  FileMapping(FileMapping&& other) noexcept : control_(other.control_) { other.control_ = nullptr; }
  FileMapping& operator=(FileMapping&& other) noexcept;
  FileMapping(const FileMapping&) = delete;
  FileMapping& operator=(const FileMapping&) = delete;
  // Unmaps; what cannot be written then is lost, after one line on standard error. Call unmap() to
  // be told.
  ~FileMapping();

  [[nodiscard]] HF_ANY_CONTEXT std::byte* data() const noexcept {
    return control_ ? control_->data() : nullptr;
  }
  [[nodiscard]] HF_ANY_CONTEXT std::uint64_t size() const noexcept {
    return control_ ? control_->size() : 0;
  }
  [[nodiscard]] explicit operator bool() const noexcept { return control_ != nullptr; }

  // Writes what has changed in [offset, offset + bytes) of the mapping, in the order of the file,
  // and makes it durable. Where the file has commits: makes what was committed durable in the file
  // itself, and the journal empty. Errors: invalid_argument (range; a private or read-only
  // mapping), io_error and system (value: offset in the file, with errno: ENOSPC, EIO, ...; also
  // for what could not be written earlier, once), not_mapped, interrupt_context.
  HF_TASK_ONLY Expected<void> sync(std::uint64_t offset, std::uint64_t bytes);
  HF_TASK_ONLY Expected<void> sync() { return sync(0, size()); }

  // Makes everything that was stored to the file's mappings since the last commit durable as a
  // whole. Where it fails, the stores are in memory as they were: commit again, or roll back.
  // Several threads that commit at once share the flush. Errors: invalid_argument (mapped without
  // FileOptions::commits), io_error, system (ENOSPC: make room and try again), corrupted, ...
  HF_TASK_ONLY Expected<void> commit();
  // For several threads that change the file at once:
  //     { auto change = mapping.begin(); ...stores that belong together... }
  //     mapping.commit();    // with those of others that have ended by now
  // Waits while a commit takes what was stored, not for its flush. Errors: as commit().
  HF_TASK_ONLY Expected<Transaction> begin();
  // Brings back, in place, what the last commit made durable. Errors: busy (a changed page is
  // pinned; nothing was done), io_error, invalid_argument.
  HF_TASK_ONLY Expected<void> rollback();

  // Makes the file, and this mapping, longer (zeros, durably; but what was stored behind the end in
  // the last page is not taken back) or shorter: to `bytes` from where the mapping begins; the
  // address never changes. shared only; shorter only without commits, and only
  // with one mapping of the file. Errors: invalid_argument (limit: the capacity), busy, system.
  HF_TASK_ONLY Expected<void> resize(std::uint64_t bytes);

  // As for a region. Advice::free makes zeros of it, in the file too.
  HF_TASK_ONLY Expected<void> advise(std::uint64_t offset, std::uint64_t bytes, Advice advice);
  HF_TASK_ONLY Expected<std::uint64_t> prefetch(std::uint64_t offset, std::uint64_t bytes);
  [[nodiscard]] Ready ready(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return {control_, offset, bytes};
  }

  // Writes what has changed (shared; not durably: sync() first) and unmaps. What was not committed
  // is gone. An error leaves the mapping as it was: nothing is lost.
  HF_TASK_ONLY Expected<void> unmap();

  // For the engine: what it stands for.
  [[nodiscard]] detail::FileControl* control() const noexcept { return control_; }

 private:
  detail::FileControl* control_ = nullptr;
};

// Maps a regular file. Where a crash has left a journal beside it, that is brought to an end first,
// in time proportional to the journal. Errors: not_found, permission, invalid_argument (a
// directory; an offset beyond the end; options that do not go together), busy (another process has
// it mapped with commits; mapped read-only here already, and asked for shared; with and without
// commits at once), corrupted (the journal is damaged), unsupported (a journal of a newer version),
// those of Engine::map_anonymous, interrupt_context. Allocates; may wait for I/O.
[[nodiscard]] Expected<FileMapping> map_file(Engine& engine, const std::string& path,
                                             const FileOptions& options = {});
// The same of an open descriptor, which is duplicated: open for reading, and for writing where the
// mode is shared.
[[nodiscard]] Expected<FileMapping> map_file(Engine& engine, int fd,
                                             const FileOptions& options = {});

}  // namespace holdfast
