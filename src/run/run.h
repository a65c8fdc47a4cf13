// Facade of run/: programs that know nothing of Holdfast, with their whole process tree, under a
// memory budget.
//
// Three processes: the guardian, which the user started and whose exit status the user sees; the
// pager, its child, which serves the memory; and the program, the pager's child. Guardian and pager
// have one descriptor table: if the pager dies, whatever the signal, the guardian still holds every
// userfaultfd open, so that no fault is answered with zeros, until it has killed every process.
//
// See shim/protocol.h for how a program comes to its pager, client.h for what the pager does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/base.h"
#include "run/budget.h"
#include "swap/swap.h"

namespace holdfast::run {

// Exit statuses of our own, where the program's is not to be had.
inline constexpr int kExitUsage = 2;          // bad options, or no userfaultfd
inline constexpr int kExitSwapFull = 124;     // no tier took what had to leave
inline constexpr int kExitPagerFailed = 125;  // the pager died or could not go on
inline constexpr int kExitNotExecutable = 126;
inline constexpr int kExitNotFound = 127;

struct RunOptions {
  std::uint64_t memory_bytes = 0;            // of the tree, compressed pages included
  std::vector<swap::TierOptions> tiers;      // in order; empty: compressed RAM, then a file
  std::uint64_t compressed_limit_bytes = 0;  // most for compressed pages; 0: half of the memory
  // How long programs are held when no tier has room; where a tier is far, at least as long as a
  // page of it is waited for.
  std::uint64_t swap_full_wait_seconds = 10;
  bool encrypts_files = false;  // what goes to swap files is encrypted, as in rados it always is
  std::string shim;             // path of libholdfast_run.so; empty: beside this program
  std::string report_path;      // a report goes here: a page (.html), or JSON; empty: none
  std::string record_path;      // what comes back in is recorded here; empty: nowhere
  std::string replay_path;      // a recording by which pages are brought in ahead; empty: none
  bool quiet = false;           // no status line and no summary
  std::vector<std::string> command;  // program and arguments
};

// Runs the command and returns its exit status, or one of those above after a line on stderr. If
// the program was ended by a signal, so is the caller. Called once, from a process with one thread.
[[nodiscard]] int run(const RunOptions& options);

// What a run needs of the machine.
struct Needs {
  int userfault_errno = 0;  // of opening one that serves faults in system calls
  int events_errno = 0;     // of asking it to tell of forks, moves and unmappings
  bool trace = false;       // CAP_SYS_PTRACE
  bool move = false;        // UFFDIO_MOVE
  bool pagemap_scan = false;
  std::string shim;  // where the library to preload is; empty: nowhere
  [[nodiscard]] bool met() const noexcept;
};
// `shim`: as in RunOptions.
[[nodiscard]] Needs probe_needs(const std::string& shim = "");

// What would become of the command, without running it: whether it could be managed, under which
// budget, and why not. On standard output; the exit status is 0 if the program would be managed, 1
// if it would run unmanaged, or that with which run() would refuse it.
[[nodiscard]] int explain(const RunOptions& options);
// The same of a process that runs: its mappings by kind, and which of them would be managed. 1: it
// cannot be looked at.
[[nodiscard]] int explain_process(int pid);

}  // namespace holdfast::run
