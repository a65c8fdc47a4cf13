// A file as the source of a region's pages: page `index` is the file's bytes from index * kPageSize
// on, filled up with zeros behind its end.
//
// Two sizes: bytes() is how much of the file the region stands for, and changes only with
// set_bytes(); what the file really has is asked for at each transfer, so that one that was cut
// short by somebody else is an error where it is read, and nothing is written beyond its new end.
//
// Context: read() and write() are async-signal-safe and may wait. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "file/file_errors.h"
#include "file/read_ahead.h"
#include "object/object.h"
#include "sys/sys.h"

namespace holdfast::file {

// Where changed pages of the file go when they have to leave memory.
enum class Changes : std::uint8_t {
  kept,         // to swap: they are the region's own
  written,      // to the file
  uncommitted,  // to swap, until they are committed
};

class FileSource final : public object::PageSource {
 public:
  // Errors: out_of_memory (address space).
  [[nodiscard]] static Expected<FileSource*> create(sys::Machine& machine,
                                                    std::unique_ptr<sys::DataFile> data,
                                                    std::uint64_t bytes, Changes changes,
                                                    ReadAhead* ahead = nullptr);

  [[nodiscard]] bool read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                          Error& error) noexcept override;
  [[nodiscard]] bool read_scattered(std::span<const object::PageRead> pages,
                                    Error& error) noexcept override;
  void expect(std::uint64_t first, std::uint32_t step, std::uint32_t pages) noexcept override;
  [[nodiscard]] object::PageSpan around(std::uint64_t index) noexcept override {
    return {index, 1};
  }
  // By index alone it is not known: object::CleanHashes know it by frame.
  [[nodiscard]] bool holds(std::uint64_t, const base::Hash128&) noexcept override { return false; }
  [[nodiscard]] bool is_written() const noexcept override { return changes_ != Changes::kept; }
  // The last page of a file that ends inside it is not written by evictions: it cannot go past
  // the kernel's cache, so that an error would be told by a later sync, of a page that is gone.
  [[nodiscard]] bool takes(std::uint64_t index) const noexcept override {
    return changes_ == Changes::written && (index + 1) << kPageShift <= bytes();
  }
  // What fails is noted in errors() too.
  void write(std::span<object::PageWrite> pages) noexcept override;
  [[nodiscard]] std::byte* room() noexcept override {
    return room_ == 0 ? nullptr : machine_.view(room_);
  }

  [[nodiscard]] std::uint64_t bytes() const noexcept {
    return bytes_.load(std::memory_order_acquire);
  }
  void set_bytes(std::uint64_t bytes) noexcept {
    bytes_.store(bytes, std::memory_order_release);
    written_elsewhere();
  }
  // The file has been written to, not by write(): nothing of what was read ahead is of use.
  void written_elsewhere() noexcept;
  [[nodiscard]] sys::DataFile& data() noexcept { return *data_; }
  [[nodiscard]] FileErrors& errors() noexcept { return errors_; }

 private:
  FileSource(sys::Machine& machine, std::unique_ptr<sys::DataFile> data, std::uint64_t bytes,
             Changes changes, ReadAhead* ahead) noexcept
      : machine_(machine),
        data_(std::move(data)),
        changes_(changes),
        ahead_(ahead),
        bytes_(bytes) {}
  ~FileSource() override;
  struct Extents;
  [[nodiscard]] bool add(Extents& extents, std::uint64_t index, std::byte* to,
                         Error& error) noexcept;
  [[nodiscard]] bool read_extents(std::span<sys::IoRequest> requests, Error& error) noexcept;
  void write_extents(std::span<object::PageWrite> pages, std::uint64_t end) noexcept;
  void write_and_forget(std::span<sys::IoRequest> requests) noexcept;

  sys::Machine& machine_;
  Address room_ = 0;
  const std::unique_ptr<sys::DataFile> data_;
  const Changes changes_;
  ReadAhead* const ahead_;  // null: it is not read ahead
  std::atomic<std::uint64_t> bytes_;
  FileErrors errors_;
};

}  // namespace holdfast::file
