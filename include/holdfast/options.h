// What an engine can be told when it is made. Every field has a default that works; sizes are
// bytes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "holdfast/error.h"

namespace holdfast {

// How faults are served.
enum class FaultDelivery : std::uint8_t {
  // The faulting thread serves itself in a SIGBUS handler: fastest. System calls that are given a
  // non-resident buffer fail with EFAULT (pin it first), and a thread that blocks SIGBUS dies.
  signal,
  // A handler thread serves: transparent to system calls and to threads that block SIGBUS; dearer.
  thread,
};

enum class SwapCompression : std::uint8_t { none, lz4, zstd };

enum class SwapIo : std::uint8_t { automatic, ring, plain };

// A pool of a Ceph cluster, for memory beyond this machine. What goes there is encrypted under a
// key that stays in this process; docs/far-memory.md tells what to expect of it.
struct FarPool {
  std::string pool = {};
  std::string name_space = {};      // of the pool; empty: its default one
  std::string configuration = {};   // the cluster's; empty: /etc/ceph/ceph.conf
  std::string user = "admin";       // cephx; its keyring is named in the configuration
  std::uint32_t wait_seconds = 60;  // until a page without an answer is an error
};

// One place for what is not resident. Tiers are tried in the order in which they are listed, and
// the first passes on to the next what exceeds its limit.
struct SwapTier {
  enum class Kind : std::uint8_t { ram, file, rados };
  Kind kind = Kind::ram;
  SwapCompression compression = SwapCompression::lz4;
  // ram: how much of the memory budget compressed pages may take (0: half of it, or all that
  // reclaim needs where no tier follows). file, rados: the most bytes there (0: no limit).
  std::uint64_t limit_bytes = 0;
  std::string directory = "/var/tmp";  // file: where the (nameless) swap file is made
  // file: what goes there is encrypted under a key that stays in this process, as what goes to
  // rados always is. Costs a pass of AES-256-GCM each way, and 24 bytes a page.
  bool encrypted = false;
  SwapIo io = SwapIo::automatic;
  FarPool far = {};  // rados: where
};

// When stores to a file that is mapped shared, without commits, are written to the file behind the
// program's back: so that a process that dies leaves no more in memory than this says. It makes
// nothing durable (sync() does), and writes nothing of private mappings and of files with commits.
// docs/files.md tells more. The defaults are Linux's for its own cache (vm.dirty_*).
struct WriteBack {
  bool enabled = true;
  // How often each file is looked at, milliseconds: not 0. dirty_writeback_centisecs: 5 s.
  std::uint32_t interval_ms = 5'000;
  // A file is written when changes have been seen in it for so long, milliseconds: so a store
  // reaches it after that and an interval at the latest, and the time that the disk takes.
  // dirty_expire_centisecs: 30 s.
  std::uint32_t age_ms = 30'000;
  // Or as soon as so much of the budget may have changed in it, percent; 100: by age alone.
  // dirty_background_ratio: 10.
  std::uint32_t budget_percent = 10;
};

// What to do about an error inside a plain load or store, which nothing can return.
enum class OnError : std::uint8_t {
  terminate,  // end the program with SIGBUS after one line on standard error (the default)
  retry,      // the cause has been mended: run the instruction again
};

// Called in the faulting thread (signal delivery: inside a signal handler, so only
// async-signal-safe calls; thread delivery: in the handler thread). `address`: the load or store.
using ErrorHandler = OnError (*)(const Error& error, std::uintptr_t address,
                                 void* context) noexcept;

struct Options {
  // Bounds everything the engine keeps resident: mapped and cached pages, compressed pages, tables.
  // At least Engine::kMinimumBudget. Required: there is no default that would suit anybody.
  std::uint64_t memory_budget = 0;

  FaultDelivery delivery = FaultDelivery::signal;
  std::vector<SwapTier> swap = {SwapTier{}};  // compressed RAM with lz4
  bool use_move = true;              // false: never UFFDIO_MOVE, even where the kernel has it
  bool background_reclaim = true;    // false: faults reclaim for themselves, and nothing is
                                     // written back in the background; for tests
  WriteBack write_back = {};         // of mapped files
  bool record_call_sites = false;    // debug builds: dump_holders() names call sites
  std::uint32_t window_pages = 512;  // unit of ageing, pages: a power of two, 8 to 512. 512 lets a
                                     // window leave with one page-table move
  ErrorHandler on_error = nullptr;
  void* on_error_context = nullptr;
};

}  // namespace holdfast
