// What a simulated machine is like: all of it follows from these fields, the seed first among them.
// Two runs of one program with equal options do the same, step by step.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace holdfast::sys {

// Named places where the machine can fail; the errno is what the real one would give.
enum class FailureKind : std::uint8_t {
  reserve,         // ENOMEM: no address space
  register_range,  // ENOMEM
  open_faults,     // EPERM
  copy_again,      // EAGAIN, before any page of a copy: the mapping is changing
  copy_memory,     // ENOMEM, before any page of a copy
  move_again,      // EAGAIN, before any page of a move
  move_busy,       // EBUSY: the kernel holds the page
  protect_again,   // EAGAIN, nothing changed: the mapping is changing
  remap_out,       // ENOMEM, nothing changed
  discard,         // ENOMEM, nothing changed
  thread_start,    // EAGAIN
  file_create,     // ENOSPC
  file_read,       // EIO, one extent; its buffer is garbage
  file_write,      // EIO, one extent; some of its sectors may be written, one torn
  file_full,       // ENOSPC, one extent; nothing of it is written
  file_corrupt,    // a written sector that will be read with a bit flipped: no error anywhere
  async_error,     // EIO, one asynchronous request
  async_short,     // fewer bytes than asked, one asynchronous transfer
  async_ended,     // ECANCELED though nobody asked: its submitter's thread has ended, say
  file_sync,       // EIO; nothing has become durable
  object_open,     // ETIMEDOUT: no cluster
  object_read,     // EIO
  object_write,    // EIO, nothing is written
  object_full,     // ENOSPC, nothing is written
  object_late,     // ETIMEDOUT, after all the time there is; a write may have happened
  object_corrupt,  // bytes that are read with a bit flipped: no error anywhere
  object_fence,    // ESTALE, from that write on: somebody else has the session's lock
};
inline constexpr std::size_t kFailureKinds = 27;
static_assert(static_cast<std::size_t>(FailureKind::object_fence) + 1 == kFailureKinds);

[[nodiscard]] const char* name(FailureKind kind) noexcept;

// Who runs next at a switch.
enum class SchedulePolicy : std::uint8_t {
  uniform,   // any runnable thread, each as likely
  priority,  // the one of highest priority; priorities change now and then (PCT, Burckhardt 2010)
  starve,    // as uniform, but one thread almost never
};

struct SimOptions {
  std::uint64_t seed = 1;
  std::uint32_t cpus = 2;  // 1 to 64
  std::uint64_t memory_bytes = std::uint64_t{1} << 30;

  // --- scheduling: chances in 1024 ---
  SchedulePolicy policy = SchedulePolicy::uniform;
  std::uint32_t switch_per_1024 = 128;       // at a machine call
  std::uint32_t interleave_per_1024 = 16;    // at an HF_INTERLEAVE() point
  std::uint32_t migrate_per_1024 = 16;       // to another CPU, when it runs again or asks
  std::uint32_t interrupt_per_1024 = 0;      // the interrupt handler runs, at either kind of point
  std::uint32_t spurious_wake_per_1024 = 8;  // a wait returns for no reason
  std::uint64_t step_limit = 20'000'000;     // more scheduling points than that: livelock

  // --- faults, files ---
  bool can_move = true;
  std::uint32_t block_bytes = 512;            // of swap files: 512 or 4096
  std::uint64_t file_limit_bytes = 0;         // more than that written: ENOSPC. 0: no limit
  std::uint64_t io_latency_ns_max = 200'000;  // an extent is in flight for up to that long
  std::uint64_t data_latency_ns_max = 0;      // ... of a file that is read and written in place

  // --- failures by chance: parts in a million of the calls of a kind ---
  std::array<std::uint32_t, kFailureKinds> failures_per_million{};

  bool echo = false;  // print_line() writes to standard error too

  std::uint32_t& rate(FailureKind kind) noexcept {
    return failures_per_million[static_cast<std::size_t>(kind)];
  }

  // A machine whose every trait is drawn from the seed ("swarm testing": Groce 2012): most seeds
  // have some dimension at an extreme or switched off, which finds what an average never meets.
  // Failures that a program can see only as a machine's error are drawn for half the seeds.
  [[nodiscard]] static SimOptions swarm(std::uint64_t seed) noexcept;
};

}  // namespace holdfast::sys
