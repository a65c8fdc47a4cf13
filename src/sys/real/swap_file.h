// The real swap file: made without a name (O_TMPFILE; else unlinked at birth), mode 0600, with
// O_DIRECT where the file system has it.
#pragma once

#include <memory>

#include "sys/machine.h"

namespace holdfast::sys::real {

// See Machine::create_swap_file. Task context.
[[nodiscard]] Expected<std::unique_ptr<SwapFile>> create_real_swap_file(
    const SwapFileOptions& options);

}  // namespace holdfast::sys::real
