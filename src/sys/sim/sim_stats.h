// Counters of what happened on a simulated machine: probes by which a test proves that the rare
// paths that it is about did run.
#pragma once

#include <cstdint>

namespace holdfast::sys {

struct SimStats {
  // --- scheduling ---
  std::uint64_t steps = 0;              // scheduling points of every kind
  std::uint64_t switches = 0;           // of threads
  std::uint64_t forced_switches = 0;    // a thread had run too long without giving way
  std::uint64_t interleaved = 0;        // switches in the middle of a lock-free protocol
  std::uint64_t migrations = 0;         // to another CPU
  std::uint64_t threads = 0;            // started, in all
  std::uint64_t interrupts = 0;         // runs of the interrupt handler
  std::uint64_t interrupts_inside = 0;  // of these, with the thread inside the engine
  std::uint64_t waits = 0;              // Parking::wait that did wait
  std::uint64_t waits_spurious = 0;     // ... that returned for no reason
  std::uint64_t timeouts = 0;
  std::uint64_t wakes = 0;  // waiters woken
  // --- memory ---
  std::uint64_t remap_outs = 0, pages_remapped = 0;
  std::uint64_t pages_discarded = 0;
  std::uint64_t pages_copied = 0, pages_moved = 0;
  std::uint64_t pages_protected = 0, pages_unprotected = 0;  // whose protection changed
  std::uint64_t stopped_exists = 0;   // copy or move met a page that was there
  std::uint64_t stopped_missing = 0;  // move found nothing to move
  // --- accesses of the program ---
  std::uint64_t loads = 0, stores = 0;  // pieces, at most a page each
  std::uint64_t faults_signal = 0, faults_thread = 0;
  std::uint64_t faults_again = 0;  // served, and gone before the access could run
  std::uint64_t faults_fatal = 0;
  std::uint64_t zero_pages = 0;  // read or made without a fault source
  // --- files ---
  std::uint64_t extents_read = 0, extents_written = 0;
  std::uint64_t in_flight_max = 0;  // extents at once
  std::uint64_t io_overlaps = 0;    // a write met another transfer of the same bytes in flight
  std::uint64_t corrupt_reads = 0;  // extents handed over with a bit flipped
  // --- objects ---
  std::uint64_t objects_written = 0;
  std::uint64_t objects_left = 0;  // when their session had ended, and had its lock to the end
};

}  // namespace holdfast::sys
