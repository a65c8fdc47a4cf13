// The process's one SIGBUS handler, which finds out whose fault it is: a sink's (an engine under
// signal delivery), or of whoever handled SIGBUS before us.
//
// Who owns what: sinks are borrowed, from add_sink until remove_sink has returned. The previous
// action of the process is kept for chaining and put back when the last sink goes, unless somebody
// has installed a handler above ours in the meantime: then ours stays and only passes on.
//
// Flow: 1. a load or store on a missing page raises SIGBUS on its own thread; 2. the handler runs
// with all signals blocked (its sa_mask is full: no system call is spent on it) and errno saved;
// 3. the sink that owns the address serves; 4. the handler returns and the instruction runs again.
//
// Not SA_ONSTACK: serving a fault needs a stack of ordinary size, and alternate stacks are made for
// crash reporters (often 8 KiB). The price: a thread's stack must not lie in managed memory.
//
// Limits: kSinksMax engines with signal delivery at once. A thread that blocks SIGBUS is killed by
// the kernel on its first fault; such programs take delivery by thread.
#pragma once

#include <cstddef>

#include "sys/machine.h"

namespace holdfast::sys::real {

inline constexpr std::size_t kSinksMax = 64;

// Lets the sink serve faults by signal; installs the handler for the first. EMFILE: kSinksMax sinks
// are there already; otherwise sigaction's errno, or 0. Task context.
[[nodiscard]] int add_sink(FaultSink& sink) noexcept;

// From its return on the sink is called no more. Waits until no handler is inside the sink; must
// not be called from its on_fault. Task context, may wait.
void remove_sink(FaultSink& sink) noexcept;

}  // namespace holdfast::sys::real
