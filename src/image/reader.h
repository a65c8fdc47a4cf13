// An opened image: proved sound but for its groups, whose pages are proved as they are read.
//
// Who owns what: a reader owns the bytes it reads from, its index in memory (64 bytes for each
// 64 KiB of data), its workspaces, and the reader of its base, if it is incremental.
//
// Flow: open() -> while it is incremental: find the base, open() it, set_base() -> read() in any
// order, from any thread, in fault handlers too. chain.h does all but the last.
// set_base() comes before the first read.
//
// What is checked when: open(): header, footer, index, and that they agree (format.h). read(): each
// page against its own hash, so that no page is ever taken for another. verify(): every byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/base.h"
#include "image/format.h"
#include "image/workspace.h"
#include "sys/sys.h"

namespace holdfast::image {

// Told after each group that verify() has proved. False: stop.
class VerifyProgress {
 public:
  [[nodiscard]] virtual bool verified(std::uint64_t bytes, std::uint64_t file_bytes) = 0;

 protected:
  ~VerifyProgress() = default;
};

class Reader {
 public:
  // The longest chain of incremental images: each costs a descriptor, and a look on the way.
  static constexpr std::uint32_t kChainMax = 256;

  // Errors: invalid_argument (foreign), unsupported (version), corrupted (torn, truncated, a
  // checksum; value: the offset), io_error, out_of_memory. Allocates.
  [[nodiscard]] static Expected<std::unique_ptr<Reader>> open(
      sys::Machine& machine, std::unique_ptr<sys::ByteSource> source);
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // Gives an incremental image its base. Errors: invalid_argument (it is full, or it has one, or
  // this is another image), corrupted (the base was changed since).
  [[nodiscard]] Expected<void> set_base(std::unique_ptr<Reader> base);
  [[nodiscard]] bool is_incremental() const noexcept { return !header_.base_id.is_none(); }
  [[nodiscard]] Reader* base() const noexcept { return base_.get(); }

  // --- what it holds ---
  [[nodiscard]] const Header& header() const noexcept { return header_; }
  [[nodiscard]] const Footer& footer() const noexcept { return footer_; }
  [[nodiscard]] std::span<const RegionEntry> regions() const noexcept { return regions_; }
  [[nodiscard]] std::span<const RunEntry> runs() const noexcept { return runs_; }
  [[nodiscard]] std::span<const GroupEntry> groups() const noexcept { return groups_; }

  // --- pages: async-signal-safe, several threads at once; bases are given ---
  // Puts image pages [first, first + pages) at to[i]. False: `error` says why, and at which offset.
  [[nodiscard]] bool read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                          Error& error) noexcept;

  // The hashes of one group, as last looked at: for those who ask about many pages in order.
  struct HashCache {
    const Reader* reader = nullptr;
    std::uint64_t group = 0;
    base::Hash128 hashes[kGroupPages] = {};
  };
  enum class Holds : std::uint8_t { no, yes, failed };
  // Whether the image page has this hash, by what the image says of itself.
  [[nodiscard]] Holds holds(std::uint64_t page, const base::Hash128& hash, HashCache& cache,
                            Error& error) noexcept;

  // Image pages [first, end) around `page` that come in with it: those of its group, or its run.
  struct Around {
    std::uint64_t first = 0, end = 0;
  };
  [[nodiscard]] Around around(std::uint64_t page) const noexcept;

  // Reads every byte and proves it. Task context. Errors: corrupted, io_error; cancelled.
  [[nodiscard]] Expected<void> verify(VerifyProgress& progress);

 private:
  Reader(sys::Machine& machine, std::unique_ptr<sys::ByteSource> source) noexcept
      : machine_(machine), source_(std::move(source)) {}

  // reader_open.cc: what is proved once.
  Expected<void> load();
  Expected<void> load_header();
  Expected<void> load_footer();
  Expected<void> load_index();
  Expected<void> check_regions() const;
  Expected<void> check_runs() const;
  Expected<void> check_run(const RunEntry& run, std::uint64_t expected) const;
  Expected<void> check_groups() const;
  Expected<void> read_bytes(std::uint64_t offset, void* to, std::uint64_t bytes) const;
  [[nodiscard]] std::uint64_t offset_of(const void* entry) const noexcept;

  // reader_pages.cc
  struct Place {
    Reader* reader = nullptr;
    const RunEntry* run = nullptr;  // filled or data
    std::uint64_t page = 0;         // of that reader
    std::uint64_t left = 0;  // pages from there on that follow it in every image of the chain
  };
  [[nodiscard]] const RunEntry& run_of(std::uint64_t page) const noexcept;
  [[nodiscard]] Place find(std::uint64_t page) noexcept;
  [[nodiscard]] bool read_data(const RunEntry& run, std::uint64_t page, std::uint32_t pages,
                               std::byte* const* to, Error& error) noexcept;
  [[nodiscard]] bool load_group(std::uint64_t group, Workspace& room, Error& error) noexcept;
  [[nodiscard]] bool unpack_group(std::uint64_t group, Workspace& room, Error& error) noexcept;
  [[nodiscard]] bool read_record(std::uint64_t group, std::byte* to, std::uint64_t bytes,
                                 Error& error) const noexcept;
  Expected<void> verify_group(std::uint64_t group, Workspace& room);

  sys::Machine& machine_;
  const std::unique_ptr<sys::ByteSource> source_;
  Header header_;
  Footer footer_;
  std::vector<std::byte> index_;  // as it stands in the file; what follows points into it
  std::span<const RegionEntry> regions_;
  std::span<const RunEntry> runs_;
  std::span<const GroupEntry> groups_;
  std::unique_ptr<WorkspacePool> workspaces_;
  std::unique_ptr<Reader> base_;
};

}  // namespace holdfast::image
