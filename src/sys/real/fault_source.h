// The real FaultSource: a userfaultfd whose faults are served in the faulting thread (signal
// delivery, sigbus_router.h) or by a thread of ours (thread delivery, handler_thread.h).
#pragma once

#include <memory>

#include "sys/machine.h"

namespace holdfast::sys::real {

// See Machine::open_faults. Task context.
[[nodiscard]] Expected<std::unique_ptr<FaultSource>> open_fault_source(
    const FaultSourceOptions& options, FaultSink& sink);

}  // namespace holdfast::sys::real
