// The kernel's side of aio/pressure: the same transfers by io_uring on plain anonymous memory,
// which the kernel swaps.
#pragma once

#include <memory>

#include "transfer/managed_io.h"
#include "worker_process.h"

namespace holdfast::bench {

[[nodiscard]] std::unique_ptr<Worker> make_plain_io(const IoScene& scene);

}  // namespace holdfast::bench
