// The files that an engine has mapped, so that a second mapping of one finds the first.
//
// It is also who writes them back in the background, on the reclaimer's thread: a few pages at a
// time, of one file, with no more than that file's turn. Both turns are only tried: who maps, syncs
// or evicts comes first.
//
// Thread-safety: one thread at a time maps or unmaps a file; both wait for I/O.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "engine/mapped_file.h"
#include "holdfast/file.h"
#include "reclaim/reclaim.h"

namespace holdfast::engine {

class PagingEngine;

class FileTable final : public reclaim::Chore {
 public:
  FileTable(sys::Machine& machine, space::Counters& counters, const WritePace& pace) noexcept
      : machine_(machine), counters_(counters), pace_(pace) {}
  FileTable(const FileTable&) = delete;
  FileTable& operator=(const FileTable&) = delete;

  // See map_file() in holdfast/file.h.
  Expected<FileMapping> map(PagingEngine& engine, const FileLocation& where,
                            const FileOptions& options);
  // One view of the file less; with the last one it is closed. `lose`: even if not all of it can be
  // written. An error leaves it as it was.
  Expected<void> unmap(PagingEngine& engine, MappedFile& file, bool lose);
  // Closes the files of which no mapping and no copy is left.
  void close_unused(PagingEngine& engine) noexcept;
  // Closes all files that have no mapping: copies of them that are left are nobody's any more.
  void end() noexcept;
  // Memory beside the budget: what is read ahead. Any thread.
  [[nodiscard]] std::uint64_t overhead_bytes() const noexcept { return overhead_bytes_.load(); }
  // How many views the file has.
  [[nodiscard]] std::uint32_t views_of(const MappedFile& file) noexcept;
  // Writes a few changed pages of the file whose time has come: of all files in turn.
  std::uint64_t do_some() noexcept override;
  [[nodiscard]] bool is_wanted() const noexcept override {
    return wanted_.load(std::memory_order_acquire);
  }

 private:
  Expected<MappedFile*> open(PagingEngine& engine, const FileLocation& where,
                             const FileOptions& options);
  Expected<void> recover(sys::DataFile& data, const FileOptions& options);
  Expected<MappedFile*> share(MappedFile& file, const FileOptions& options);
  [[nodiscard]] MappedFile* find(const sys::FileIdentity& identity) noexcept;
  void close_unused_now(PagingEngine& engine) noexcept;
  [[nodiscard]] MappedFile* first_due(std::uint64_t& others_ns) noexcept;

  sys::Machine& machine_;
  space::Counters& counters_;
  const WritePace pace_;
  std::atomic<bool> wanted_{false};  // a file that is written in the background was mapped
  sync::Turn turn_;
  std::unique_ptr<file::ReadAhead> ahead_;          // null: no file was mapped yet
  std::vector<std::unique_ptr<MappedFile>> files_;  // under the turn
  std::atomic<std::uint64_t> overhead_bytes_{0};
};

}  // namespace holdfast::engine
