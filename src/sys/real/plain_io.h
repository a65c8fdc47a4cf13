// Reads and writes of extents one after the other, with pread and pwrite: where io_uring is not
// allowed, and when every ring is busy. Also what both backends share.
#pragma once

#include <cstdint>
#include <span>

#include "sys/machine.h"

namespace holdfast::sys::real {

enum class IoDirection : std::uint8_t { read, write };

// Transfers one extent whole, from byte `done` of it on; errno, EIO where the file ends early.
// EINTR is continued. Async-signal-safe.
[[nodiscard]] int transfer_plainly(int fd, const IoRequest& request, std::uint64_t done,
                                   IoDirection direction) noexcept;

// All extents in turn; each gets its own error. Async-signal-safe.
void run_plainly(int fd, std::span<IoRequest> requests, IoDirection direction) noexcept;

}  // namespace holdfast::sys::real
