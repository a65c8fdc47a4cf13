// The memory of another process, as the pager reaches it: through the process's own userfaultfd,
// through process_vm_readv, and through its pagemap.
//
// Everything here works from outside. What can only be done from within is the helper's
// (shim/helper.h). Thread-safe: each call is one system call, and the kernel orders them. While
// the process is changing its mappings (an event is under way), calls that enter pages stop with
// EAGAIN; they go through once the event has been read and its thread has run.
#pragma once

#include <linux/userfaultfd.h>

#include <cstdint>
#include <span>
#include <vector>

#include "base/base.h"

namespace holdfast::run {

// [start, end), bytes.
struct Range {
  Address start = 0;
  Address end = 0;
  [[nodiscard]] std::uint64_t bytes() const noexcept { return end - start; }
};

// How far an entering came, and the errno that stopped it there.
struct Entered {
  std::uint64_t bytes = 0;
  int error = 0;
};

class RemoteMemory {
 public:
  // Takes over both descriptors; pagemap -1: not known yet.
  explicit RemoteMemory(int userfault) noexcept : userfault_(userfault) {}
  ~RemoteMemory();
  RemoteMemory(const RemoteMemory&) = delete;
  RemoteMemory& operator=(const RemoteMemory&) = delete;

  [[nodiscard]] int userfault() const noexcept { return userfault_; }
  // Agrees on the features that the pager lives by. errno.
  int agree() noexcept;
  // From now on the process is known by this id. errno of what cannot be opened.
  int attach(int pid) noexcept;
  [[nodiscard]] int pid() const noexcept { return pid_; }

  int register_range(Range range) const noexcept;
  // For the protection of protect() alone: a page that is missing there is no fault of the pager's.
  int register_for_protection(Range range) const noexcept;
  // Writes to pages that stand in the range become faults, or no longer, and those that wait for
  // one look again. errno; ENOENT: a part of it is not registered, and what follows it not done.
  int protect(Range range, bool on) const noexcept;
  Entered copy(Address to, const std::byte* from, std::uint64_t bytes) const noexcept;
  Entered zero(Address to, std::uint64_t bytes) const noexcept;
  void wake(Address page) const noexcept;
  // False: the address space is gone, with all its threads.
  [[nodiscard]] bool alive() const noexcept;

  // Messages that wait; 0: none.
  [[nodiscard]] std::size_t read(std::span<uffd_msg> messages) const noexcept;

  // The memory of a process that is known by its descriptor only, which stays the caller's.
  struct Other {
    int userfault;
    // Whether the page lies in a mapping that is registered there.
    [[nodiscard]] bool has(Address page) const noexcept;
  };

  // in_memory: at this moment. A page that the kernel moves to another place in memory, to make
  // room for a huge page say, is not, for some microseconds; nor is one that the kernel has swapped
  // out. all_there_is: those too; whatever must not be overlooked is asked for so.
  enum class Count : std::uint8_t { in_memory, all_there_is };
  // The runs of [range) that there are, zero pages apart, in address order. False: they cannot be
  // told.
  [[nodiscard]] bool present(Range range, std::vector<Range>& runs,
                             Count count = Count::in_memory) const noexcept;

  // The same of this one, while no event is to come from it.
  [[nodiscard]] bool has(Address page) const noexcept { return Other{userfault_}.has(page); }

  struct Piece {
    Address from;
    std::byte* to;
    std::uint64_t bytes;
  };
  // Reads them all, as the memory of that thread, for a process whose first thread has ended has
  // none; errno (EFAULT: less than all of it was there; ESRCH: the thread has ended).
  static int read_out(int thread, std::span<const Piece> pieces) noexcept;

 private:
  int userfault_;
  int pagemap_ = -1;
  int pid_ = 0;
};

}  // namespace holdfast::run
