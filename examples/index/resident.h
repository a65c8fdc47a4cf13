// How much memory the kernel counts for this process.
#pragma once

#include <cstdint>

// Resident now, and the most since start or the last reset; bytes. 0: /proc does not say.
[[nodiscard]] std::uint64_t resident_bytes();
[[nodiscard]] std::uint64_t peak_resident_bytes();
// Lets the peak start again from now; where that is not allowed the peak stays what it was, which
// can only be too high.
void reset_peak_resident();
