// The helper thread: the pager's hands inside the program.
//
// Some moves can only be made from within an address space: UFFDIO_MOVE, which alone refuses pages
// that the kernel has pinned, and giving memory back. The helper makes them on command and does
// nothing else. It has a descriptor table of its own, so that the program never sees Holdfast's
// descriptors; blocks every signal; and touches nothing but its stack, which is never managed: a
// helper that faulted would wait for itself.
#pragma once

#include "run/shim/protocol.h"

namespace holdfast::run::shim {

struct HelperTask {
  int connection;
  int userfault;
  std::uint64_t pool;
};

// Serves commands until the pager is gone, then kills the program. The task's descriptors are its
// own: everything else in its table is closed first.
[[noreturn]] void serve(const HelperTask& task) noexcept;

}  // namespace holdfast::run::shim
