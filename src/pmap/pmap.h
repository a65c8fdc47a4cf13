// Facade of pmap/: how a page becomes visible at an address, machine by machine (as in Mach and the
// BSDs). The VM above is machine-independent and knows four moves:
//
//   enter    makes a run of pages visible where there was none, by copying or by carrying them
//   remove   takes a run away in one call; its contents stay readable at a pool address
//   protect  changes whether the pages of a run may be stored to
//   drop     gives memory back to the kernel
//
// Why runs: when another CPU runs the same process, every call that takes a translation away
// interrupts that CPU (12 to 16 us); entering a page where there was none is free of it. So pages
// enter one by one or in runs, and leave by the window.
//
// Context: task; async-signal-safe (fault handlers call it). The entries of the run are locked by
// the caller, so nobody else enters or removes the same pages.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/base.h"
#include "page/page.h"
#include "sys/sys.h"

namespace holdfast::pmap {

// How far an enter came: that many pages from the start are visible; errno of what stopped it.
struct Entered {
  std::uint32_t pages = 0;
  int error = 0;  // 0: all. EBUSY: the kernel holds a source page, copy instead
};

class Pmap {
 public:
  virtual ~Pmap() = default;

  // Manages a range from now on / no more. errno. Not for fault handlers.
  virtual int attach(Address address, std::uint64_t bytes) noexcept = 0;
  virtual int detach(Address address, std::uint64_t bytes) noexcept = 0;

  // Makes pages visible at `to`, copied from engine memory. read_only: needs can_protect().
  virtual Entered enter_copy(Address to, const std::byte* from, std::uint32_t pages,
                             sys::Protection protection = sys::Protection::writable) noexcept = 0;
  // Makes pages visible at `to`, carried from the pool address `from`, where nothing is left.
  virtual Entered enter_move(Address to, Address from, std::uint32_t pages) noexcept = 0;
  [[nodiscard]] virtual bool can_move() const noexcept = 0;

  // Takes the pages of [from, from + bytes) away atomically: a racing store lands before it and is
  // kept, or faults after it. They stand at the pool address `to` afterwards. errno: nothing
  // changed.
  virtual int remove(Address to, Address from, std::uint64_t bytes) noexcept = 0;
  // Changes the protection of the pages that are there, in one call: a racing store lands before it
  // or faults after it. Removed and carried pages lose theirs. errno: nothing changed.
  virtual int protect(Address address, std::uint64_t bytes,
                      sys::Protection protection) noexcept = 0;
  [[nodiscard]] virtual bool can_protect() const noexcept = 0;
  // Drops the memory of a range: region pages become missing, pool memory goes back. errno.
  virtual int drop(Address address, std::uint64_t bytes) noexcept = 0;

  // Wakes whoever waits for a page that turned out to be there already.
  virtual void wake(Address address) noexcept = 0;

  // "remap, /dev/userfaultfd, MOVE".
  [[nodiscard]] virtual std::string description() const = 0;
};

// pmap `remap`: anonymous memory throughout; userfaultfd in, mremap out. The error of a refused
// userfaultfd names the remedy.
[[nodiscard]] Expected<std::unique_ptr<Pmap>> create_remap(sys::Machine& machine,
                                                           const sys::FaultSourceOptions& options,
                                                           sys::FaultSink& sink);

}  // namespace holdfast::pmap
