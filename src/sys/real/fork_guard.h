// What a fork does with regions: nothing of them is inherited (MADV_DONTFORK). A child that touches
// one would die of a bare SIGSEGV; the guard makes it say why first.
//
// Flow: 1. a source notes every range that it registers; 2. after fork(), in the child, the ranges
// are closed by inaccessible mappings, so that nothing else comes to stand there, and a SIGSEGV
// handler is installed; 3. a fault in a range prints one line and dies of SIGSEGV; any other goes
// to whoever handled SIGSEGV before. The parent's handlers are untouched.
//
// Limits, by design: threads of the engine do not exist in the child, so the child must not use or
// destroy an engine of its parent: exec, or leave with _exit. A child made by raw clone() runs no
// fork handlers and gets no message. A fork handler that was registered before ours and maps memory
// may take a region's place before we close it (ThreadSanitizer's does: it starts a thread). Beyond
// kGuardedRangesMax ranges the message is lost, no more.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sys/machine.h"

namespace holdfast::sys::real {

inline constexpr std::size_t kGuardedRangesMax = 4096;

// From now on the range belongs to a region. Lock-free, async-signal-safe.
void guard_range(Address address, std::uint64_t bytes) noexcept;
// The range belongs to no region any more. Lock-free, async-signal-safe.
void unguard_range(Address address, std::uint64_t bytes) noexcept;
// Sets up the fork handler; before the first guard_range. Task context, once or more. errno.
[[nodiscard]] int install_fork_guard() noexcept;

}  // namespace holdfast::sys::real
