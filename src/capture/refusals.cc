#include "capture/refusals.h"

namespace holdfast::capture {

Expected<void> check_options(const CaptureOptions& options) {
  if (options.buffers_max > 0 && options.buffers_max <= Capture::kBuffersMax) return {};
  return fail({.code = Errc::invalid_argument,
               .doing = "open a capture",
               .what = "buffers_max",
               .value = options.buffers_max,
               .limit = Capture::kBuffersMax,
               .remedy = "give 1 to 4096"});
}

Expected<std::span<std::byte>> whole_frame(std::span<std::byte> buffer,
                                           const CaptureFormat& format) {
  if (buffer.size() >= format.frame_bytes) return buffer.first(format.frame_bytes);
  return fail({.code = Errc::invalid_argument,
               .doing = "queue a buffer",
               .what = "bytes of the buffer",
               .value = buffer.size(),
               .limit = format.frame_bytes,
               .remedy = "give one for a whole frame"});
}

Error too_many_queued(std::uint64_t queued, std::uint64_t limit) {
  return {.code = Errc::would_block,
          .doing = "queue a buffer",
          .what = "buffers queued",
          .value = queued,
          .limit = limit,
          .remedy = "dequeue frames first"};
}

Error dequeue_timed_out(std::uint64_t waited_ns, std::uint64_t timeout_ns) {
  return {.code = Errc::timed_out,
          .doing = "dequeue a frame",
          .what = "timeout_ns",
          .value = waited_ns,
          .limit = timeout_ns,
          .remedy = "wait longer, or look after the source"};
}

Error stream_is_off() {
  return {.code = Errc::busy,
          .doing = "dequeue a frame",
          .what = "the stream is off",
          .remedy = "call stream_on first"};
}

Error capture_is_closed(const char* doing) {
  return {.code = Errc::busy,
          .doing = doing,
          .what = "the capture is closed",
          .remedy = "open it again"};
}

Error stalled(std::uint64_t stall_timeout_ns) {
  return {.code = Errc::timed_out,
          .doing = "read a frame",
          .what = "stall_timeout_ns",
          .value = stall_timeout_ns,
          .limit = stall_timeout_ns,
          .remedy = "look after the source"};
}

}  // namespace holdfast::capture
