// What every Capture refuses in the same words.
#pragma once

#include <span>

#include "holdfast/capture.h"

namespace holdfast::capture {

// Errors: invalid_argument.
[[nodiscard]] Expected<void> check_options(const CaptureOptions& options);
// The buffer, cut to one frame. Errors: invalid_argument (it is too small).
[[nodiscard]] Expected<std::span<std::byte>> whole_frame(std::span<std::byte> buffer,
                                                         const CaptureFormat& format);

[[nodiscard]] Error too_many_queued(std::uint64_t queued, std::uint64_t limit);
[[nodiscard]] Error dequeue_timed_out(std::uint64_t waited_ns, std::uint64_t timeout_ns);
[[nodiscard]] Error stream_is_off();
[[nodiscard]] Error capture_is_closed(const char* doing);
[[nodiscard]] Error stalled(std::uint64_t stall_timeout_ns);

}  // namespace holdfast::capture
