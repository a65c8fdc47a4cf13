// SIGINT, SIGTERM and SIGHUP as an ordinary result.
//
// What it is for: a benchmark that has swap switched on must never die where it stands. The signals
// are blocked but for the moments in which the program waits; there they end the wait, which
// returns TroubleKind::interrupted, and the destructors on the way out restore the machine.
#pragma once

#include "trouble.h"

namespace holdfast::bench {

// Once, at the start of the program, while it has one thread.
void install_interruption();
// In a forked child: the signals do what they do by default again.
void restore_default_signals();

// Interrupted since the start? Checked between the steps of a set-up.
[[nodiscard]] Result<void> check_interruption();
// Waits until fd can be read (or its other end is closed), or until a signal comes.
[[nodiscard]] Result<void> wait_readable(int fd);

}  // namespace holdfast::bench
