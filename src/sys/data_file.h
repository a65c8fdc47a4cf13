// Files of the user's that are read and written in place: what file mappings and their journals
// stand on.
//
// What is durable: nothing of what was written since the last sync() that returned 0. A crash
// leaves any of it, in any order, each sector of 512 bytes whole or not at all; what was there at
// that sync() and has not been written since is there in any case. The simulated machine
// (sys/sim/sim_disk.h) makes exactly these states.
//
// Who owns what: a DataFile owns a descriptor of its own, so whoever gave one may close it.
//
// Context: task. read() and write() are async-signal-safe (a fault handler calls them) and may
// wait; several threads may call anything at once, but what overlaps in flight is the caller's
// affair.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "base/base.h"

namespace holdfast::sys {

// One extent of a read or write.
struct IoRequest {
  std::byte* data = nullptr;  // swap files: aligned to SwapFile::block_bytes()
  std::uint64_t bytes = 0;    // not 0; swap files: a multiple of block_bytes()
  std::uint64_t offset = 0;   // in the file; swap files: a multiple of block_bytes()
  int error = 0;              // out: 0, or the errno of this extent (short transfers are EIO)
};

// Which file it is, whatever it is called: two that are equal are one. A copy, and a file that was
// put in another's place, are others.
struct FileIdentity {
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint64_t born_ns = 0;  // when it was made; 0 where the file system does not say
  friend bool operator==(const FileIdentity&, const FileIdentity&) noexcept = default;
};

enum class FileUse : std::uint8_t { read, write };

struct DataFileOptions {
  std::string path;  // empty: `fd`
  int fd = -1;
  FileUse use = FileUse::read;
  bool create = false;  // where there is none, an empty one of mode 0600, durably
  // By the kernel's cache even where whole blocks could go past it: for what is written in small
  // pieces, and read back soon. Opened for writing, what the cache has of it and could read again
  // is dropped: in the large pieces in which it came there, each small write would cost dearly.
  bool cached = false;
};

class DataFile {
 public:
  virtual ~DataFile() = default;
  // Any alignment; where data, offset and length are of whole blocks inside the file, past the
  // kernel's cache. All extents are in flight at once; each has its own error. What lies beyond
  // the end cannot be read (EIO); writing there makes the file longer.
  virtual void read(std::span<IoRequest> requests) noexcept = 0;
  virtual void write(std::span<IoRequest> requests) noexcept = 0;
  // Makes what was written, and the size, durable. errno; then nobody knows what of it is.
  [[nodiscard]] virtual int sync() noexcept = 0;
  // Makes it longer (zeros) or shorter. errno.
  [[nodiscard]] virtual int resize(std::uint64_t bytes) noexcept = 0;
  // Its size now, whoever changed it. errno. Async-signal-safe.
  [[nodiscard]] virtual int size(std::uint64_t& bytes) const noexcept = 0;
  [[nodiscard]] virtual const FileIdentity& identity() const noexcept = 0;
  // Its absolute name when it was opened; empty: no name leads to it.
  [[nodiscard]] virtual const std::string& path() const noexcept = 0;
  // Claims the file for writing by commits, until it is closed. EWOULDBLOCK: another process, or
  // another opening in this one, has it.
  [[nodiscard]] virtual int try_claim() noexcept = 0;
};

}  // namespace holdfast::sys
