// The OS seam: everything that Holdfast asks of an operating system, as one interface with two
// implementations. `sys/real` is Linux. `sys/sim` is a machine in which memory, faults, files,
// threads, clock and failures are simulated from one seed, so that the whole engine runs on it
// deterministically and a failing seed replays.
//
// Contract common to all calls:
//  - addresses and lengths of memory are multiples of kPageSize unless a call says otherwise;
//  - errors are returned as errno values (0: none) or as Error; a machine's error aborts nothing;
//  - task context only, unless a call says "any context"; every call is async-signal-safe where it
//    says so (a fault handler uses it);
//  - no call touches managed memory other than the range it is given;
//  - no ranked lock may be held around a call that says "may wait".
//
// Who owns what: the engine owns the ranges that it reserves and releases them; sources, files and
// threads are owned by whoever got the unique_ptr, and do not outlive their machine.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/base.h"
#include "sys/async_io.h"
#include "sys/data_file.h"
#include "sys/object_store.h"

namespace holdfast::sys {

// What a plain load or store did when it faulted.
enum class Access : std::uint8_t { read, write };

enum class FaultOutcome : std::uint8_t {
  served,    // the page is there now (or somebody else brought it): run the instruction again
  not_ours,  // no engine knows this address
  fatal,     // it cannot be served; the sink has said why. The program ends with SIGBUS
  far,       // on_near_fault() only: it would wait for what is beyond this machine
};

// Who serves faults; implemented above (space/ through engine/).
class FaultSink {
 public:
  // True if the address lies in one of the sink's regions. Any context, lock-free.
  [[nodiscard]] virtual bool owns(Address address) const noexcept = 0;
  // Serves the fault at `address` (any byte of the page). Task context; all signals are blocked.
  // Async-signal-safe as a whole.
  virtual FaultOutcome on_fault(Address address, Access access) noexcept = 0;
  // The same from a thread that serves others too, and must not wait for what is beyond this
  // machine: far says that on_fault() would, and that nothing was done.
  virtual FaultOutcome on_near_fault(Address address, Access access) noexcept {
    return on_fault(address, access);
  }

 protected:
  ~FaultSink() = default;
};

// What a transfer of pages did: how many bytes from the start are done, and the errno that stopped
// it there (0: all done). Partial progress with EAGAIN has already been retried inside.
struct Transfer {
  std::uint64_t done = 0;  // bytes, a multiple of kPageSize
  int error = 0;
};

enum class Delivery : std::uint8_t {
  signal,  // the faulting thread serves itself in a SIGBUS handler; system calls get EFAULT
  thread,  // a handler thread serves; transparent to system calls
};

struct FaultSourceOptions {
  Delivery delivery = Delivery::signal;
  bool allow_move = true;  // false: never UFFDIO_MOVE, even where the kernel has it
  // Delivery by thread: how many threads more serve faults that wait for what is beyond this
  // machine; 0: none does.
  std::uint32_t far_threads = 0;
};

// Whether a page that is there may be stored to.
enum class Protection : std::uint8_t {
  writable,
  read_only,  // a store faults to the sink; a load does not
};

// A userfaultfd and what resolves its faults. All calls are async-signal-safe.
class FaultSource {
 public:
  virtual ~FaultSource() = default;
  // From now on missing pages of the range, and stores to protected ones, fault to the sink. errno.
  virtual int register_range(Address address, std::uint64_t bytes) noexcept = 0;
  // Undoes it: missing pages read as zeros again. errno.
  virtual int unregister_range(Address address, std::uint64_t bytes) noexcept = 0;
  // Makes `bytes` visible at `to`, copied from `from`, and wakes those who wait there. Stops with
  // EEXIST at the first page that is already there, ENOENT where nothing is registered, EAGAIN when
  // the mapping is changing (retry after others ran), ENOMEM. read_only: needs can_protect().
  virtual Transfer copy(Address to, const std::byte* from, std::uint64_t bytes,
                        Protection protection = Protection::writable) noexcept = 0;
  // Carries the pages that stand at `from` to `to` (both machine addresses) without copying; they
  // are missing at `from` afterwards. The caller knows that nothing stands at `to`, and nobody
  // writes to `from`. Needs can_move(). Stops with EEXIST (something does stand at `to`), ENOENT
  // (nothing stands at from), EBUSY (the kernel holds the page: copy instead), EAGAIN, EINVAL.
  virtual Transfer move(Address to, Address from, std::uint64_t bytes) noexcept = 0;
  [[nodiscard]] virtual bool can_move() const noexcept = 0;
  // Changes the protection of the pages that are there, in one call; what is missing stays missing,
  // and carried or unmapped pages lose theirs. Making pages writable wakes those who wait to store.
  // errno; EAGAIN when the mapping is changing. Needs can_protect().
  virtual int protect(Address address, std::uint64_t bytes, Protection protection) noexcept = 0;
  [[nodiscard]] virtual bool can_protect() const noexcept = 0;
  // Wakes threads that wait for a fault in the range to be served. Nothing under signal delivery.
  virtual void wake(Address address, std::uint64_t bytes) noexcept = 0;
  // How the descriptor was opened and what it can do, for reports: "/dev/userfaultfd, MOVE".
  [[nodiscard]] virtual const char* description() const noexcept = 0;
};

enum class IoBackend : std::uint8_t { automatic, ring, plain };

struct SwapFileOptions {
  std::string directory;                     // where it is made: O_TMPFILE, or unlinked at birth
  IoBackend backend = IoBackend::automatic;  // io_uring where allowed, else pread and pwrite
};

// A file that no name leads to, mode 0600, opened with O_DIRECT where the file system allows it.
// read and write may wait; they are async-signal-safe; several threads may call at once.
class SwapFile {
 public:
  virtual ~SwapFile() = default;
  // All extents are in flight at once; returns when all are done; each has its own error.
  virtual void read(std::span<IoRequest> requests) noexcept = 0;
  virtual void write(std::span<IoRequest> requests) noexcept = 0;
  // Gives the range back to the file system where it can; an errno is only advice lost.
  virtual int punch(std::uint64_t offset, std::uint64_t bytes) noexcept = 0;
  // Alignment of data, offset and length: a power of two, 512 to 4096.
  [[nodiscard]] virtual std::uint32_t block_bytes() const noexcept = 0;
  // "O_DIRECT, io_uring": for reports.
  [[nodiscard]] virtual const char* description() const noexcept = 0;
};

class Thread {
 public:
  virtual ~Thread() = default;
  // Waits for the thread's function to return. Once.
  virtual void join() noexcept = 0;
};

// What reserved memory is for; decides its protection, advice and what a fork does with it.
enum class Purpose : std::uint8_t {
  region,  // managed memory: read and write, no reserve, no huge pages, not inherited by fork
  pool,    // the engine's own page frames: the same
  table,   // the engine's metadata: zero-filled, backed as it is touched, inherited by fork. If
           // aligned to kHugeSize it is used as a whole, and may be backed by huge pages
};

class Machine {
 public:
  virtual ~Machine() = default;

  // --- memory ---
  // Reserves address space, zero-filled as it is touched. align: a power of two >= kPageSize.
  [[nodiscard]] virtual Expected<Address> reserve(std::uint64_t bytes, std::uint64_t align,
                                                  Purpose purpose) noexcept = 0;
  // Gives address space back, with what stands there. errno.
  virtual int release(Address address, std::uint64_t bytes) noexcept = 0;
  // Drops the memory that stands in the range; it reads as zeros (pool, table) or faults (region).
  // errno. Async-signal-safe.
  virtual int discard(Address address, std::uint64_t bytes) noexcept = 0;
  // A hint: the pages will all be written to now. One call is cheaper than a fault for each.
  virtual void populate(Address address, std::uint64_t bytes) noexcept = 0;
  // Unmaps the range `from` in one call and lets its pages, page tables and all, stand at `to`
  // (reserved pool memory, whose former contents are gone). No store is lost: each lands before the
  // move or faults after it. `from` keeps its registration. errno. Async-signal-safe.
  virtual int remap_out(Address to, Address from, std::uint64_t bytes) noexcept = 0;
  // The bytes that stand at `address`, for the engine to read or write: pool and table memory, or a
  // region's page that is known to be present. Valid to the end of the reserved range on the real
  // machine, to the end of the page for region and pool memory on the simulated one.
  [[nodiscard]] virtual std::byte* view(Address address) noexcept = 0;

  // --- faults ---
  // Opens a source that delivers faults to the sink. The error names the remedy when the system
  // refuses. The sink outlives the source.
  [[nodiscard]] virtual Expected<std::unique_ptr<FaultSource>> open_faults(
      const FaultSourceOptions& options, FaultSink& sink) = 0;

  // --- files ---
  // Makes a swap file. Errors: not_found, permission (EACCES, EROFS), system (ENOSPC, ...).
  [[nodiscard]] virtual Expected<std::unique_ptr<SwapFile>> create_swap_file(
      const SwapFileOptions& options) = 0;

  // Opens a regular file in place. Errors: not_found, permission, invalid_argument (a directory, a
  // pipe, a descriptor that is not open for that use), system.
  [[nodiscard]] virtual Expected<std::unique_ptr<DataFile>> open_data_file(
      const DataFileOptions& options) {
    (void)options;
    return fail({.code = Errc::unsupported, .doing = "open file"});
  }
  // Takes the name away, durably. errno; ENOENT: there is none.
  [[nodiscard]] virtual int remove_file(const std::string& path) {
    (void)path;
    return ENOENT;
  }

  // Opens a queue of asynchronous transfers. Errors: permission or unsupported (the backend that
  // was asked for is not to be had), out_of_memory, system.
  [[nodiscard]] virtual Expected<std::unique_ptr<AsyncIo>> open_async_io(
      const AsyncIoOptions& options) {
    (void)options;
    return fail({.code = Errc::unsupported, .doing = "open asynchronous I/O"});
  }

  // Opens a session in a store of objects beyond this machine. Errors: unsupported (no client
  // library for it), not_found (configuration, pool), permission (key), timed_out (no cluster),
  // system.
  [[nodiscard]] virtual Expected<std::unique_ptr<ObjectStore>> open_object_store(
      const ObjectStoreOptions& options) {
    (void)options;
    return fail({.code = Errc::unsupported, .doing = "open far memory"});
  }

  // Images in such a store; options.image names one. Task context; may wait. Errors: those of
  // open_object_store(), not_found (no image of that name; its pool), and of removal busy (it is
  // being written or removed).
  [[nodiscard]] virtual Expected<OpenedFarImage> open_far_image(const ObjectStoreOptions& options) {
    (void)options;
    return fail({.code = Errc::unsupported, .doing = "open image in far memory"});
  }
  // All that are whole, by name.
  [[nodiscard]] virtual Expected<std::vector<FarImage>> list_far_images(
      const ObjectStoreOptions& options) {
    (void)options;
    return fail({.code = Errc::unsupported, .doing = "list images in far memory"});
  }
  // Whoever still reads it gets errors.
  [[nodiscard]] virtual Expected<FarImage> remove_far_image(const ObjectStoreOptions& options) {
    (void)options;
    return fail({.code = Errc::unsupported, .doing = "remove image in far memory"});
  }

  // --- threads, clock, chance ---
  // Starts a thread with all signals blocked but SIGBUS and the other synchronous ones.
  // name: at most 15 characters.
  [[nodiscard]] virtual Expected<std::unique_ptr<Thread>> start_thread(const char* name,
                                                                       void (*function)(void*),
                                                                       void* argument) = 0;
  // Monotonic nanoseconds. Any context.
  [[nodiscard]] virtual std::uint64_t now_ns() noexcept = 0;
  // A hint: which CPU the caller runs on, below cpu_count(). Any context.
  [[nodiscard]] virtual std::uint32_t current_cpu() noexcept = 0;
  [[nodiscard]] virtual std::uint32_t cpu_count() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t random_u64() noexcept = 0;
  // Memory of the machine (or of the container, where that is less), bytes.
  [[nodiscard]] virtual std::uint64_t memory_bytes() const noexcept = 0;
  // Resident size of the process, bytes, as the kernel counts it now; 0 if it does not say.
  [[nodiscard]] virtual std::uint64_t resident_bytes() noexcept = 0;

  // Writes one line to standard error. Any context.
  virtual void print_line(const char* line) noexcept = 0;
};

// The one real machine of this process. Any context after main has begun.
[[nodiscard]] Machine& real_machine() noexcept;

}  // namespace holdfast::sys
