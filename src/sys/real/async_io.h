// Opens the real machine's AsyncIo: io_uring where it is allowed, else threads.
#pragma once

#include <memory>

#include "sys/async_io.h"

namespace holdfast::sys::real {

// See Machine::open_async_io. Task context.
[[nodiscard]] Expected<std::unique_ptr<AsyncIo>> open_real_async_io(const AsyncIoOptions& options);

}  // namespace holdfast::sys::real
