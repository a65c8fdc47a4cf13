// The real machine's parking: futexes. Installed before main by real_parking.cc itself; whoever
// calls real_machine() links it.
#pragma once

#include "sync/sync.h"

namespace holdfast::sys::real {

// The process's parking. Any context.
[[nodiscard]] sync::Parking& real_parking() noexcept;

}  // namespace holdfast::sys::real
