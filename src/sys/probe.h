// What this machine can do for Holdfast: asked of the real machine, for `holdfast doctor`.
//
// Nothing is assumed from a version number: each ability is tried, on descriptors and memory of the
// probe's own, which are gone when it returns.
#pragma once

#include <cstdint>
#include <string>

namespace holdfast::sys {

// One ability: whether it is there, and the errno by which the system refuses it.
struct Ability {
  bool works = false;
  int os_errno = 0;  // 0 if it works, or if there is nothing to try it on
};

// One number of the system: os_errno tells why it is not known.
struct Reading {
  std::uint64_t value = 0;
  int os_errno = 0;
};

inline constexpr std::uint64_t kUnlimited = ~std::uint64_t{0};

struct Capabilities {
  std::string kernel_release;  // "6.18.44"; empty: unknown
  std::string huge_pages;      // transparent huge pages: "always", "madvise", "never"; empty: none

  // --- userfaultfd ---
  Ability userfault_device;     // through /dev/userfaultfd
  Ability userfault_call;       // by the system call, with faults taken in the kernel
  Ability userfault_user_mode;  // by the system call, user-mode faults only
  Ability signal_delivery;      // any of the three, with UFFD_FEATURE_SIGBUS
  Ability thread_delivery;      // kernel-mode faults, with UFFD_FEATURE_THREAD_ID
  std::uint64_t features = 0;   // the kernel's raw mask
  bool has_move = false;
  bool has_sigbus = false;
  bool has_write_protect = false;
  bool has_write_protect_async = false;
  bool has_poison = false;
  bool has_thread_id = false;
  bool has_rwp = false;         // recency by protection, Linux 7.2
  Reading unprivileged_sysctl;  // vm.unprivileged_userfaultfd

  // --- the rest ---
  Ability io_uring;
  Reading io_uring_disabled;  // sysctl kernel.io_uring_disabled: 0 allowed, 1 group, 2 nobody
  Ability vectored_discard;   // process_madvise(self, many ranges, MADV_DONTNEED)
  Ability remap_out;          // mremap(MREMAP_DONTUNMAP)
  Reading memory_lock_limit;  // RLIMIT_MEMLOCK, bytes; kUnlimited
  Reading memory_limit;       // of the control group, bytes; kUnlimited: none
  Reading memory;             // of the machine, bytes
  Reading mappings_max;       // sysctl vm.max_map_count
  std::uint32_t cpus_configured = 0;
  std::uint32_t cpus_usable = 0;
};

// Task context (allocates, opens descriptors). Takes a few milliseconds.
[[nodiscard]] Capabilities probe_capabilities();

}  // namespace holdfast::sys
