// Capture: a frame grabber in the shape of a capture driver. It fills buffers of the caller with
// frames from a stream, by asynchronous reads straight into them.
//
// What it is for: recording or watching a video source into managed memory, and a pattern for any
// device that transfers into buffers which somebody may want to free at any moment.
//
// Who owns what: a buffer that is queued is pinned, by the Capture, until it has been dequeued or
// the Capture is closed; its memory stays the caller's. Unmapping its region meanwhile is legal:
// the pinned pages stay until the Capture lets go of them. A Capture is destroyed before its
// engine.
//
// Typical flow:
//     auto capture = holdfast::Capture::open(*engine, "clip.y4m");
//     if (!capture) return report(capture.error());
//     const std::uint64_t bytes = (*capture)->format().frame_bytes;
//     for (int i = 0; i < 4; ++i) (void)(*capture)->queue({memory + i * bytes, bytes}, i);
//     (void)(*capture)->stream_on();
//     while (auto frame = (*capture)->dequeue()) {
//       if (!*frame) break;                              // the stream has ended
//       use((*frame)->data);
//       (void)(*capture)->queue((*frame)->data, (*frame)->cookie);
//     }
//     (void)(*capture)->close();
//
// Closing is what this is about: close() lets the transfer in flight end, cancels it when a
// deadline has passed, waits until nothing is in flight, and only then unpins, in task context. So
// it is refused in interrupt context, where it could not wait.
//
// Context: task only, unless a function says "any context". Thread-safety: every function may be
// called by several threads at once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "holdfast/aio.h"
#include "holdfast/context.h"
#include "holdfast/engine.h"
#include "holdfast/error.h"

namespace holdfast {

// What a frame is. A raw source knows no more than how large its frames are.
struct CaptureFormat {
  std::uint64_t frame_bytes = 0;
  std::uint32_t width = 0, height = 0;                     // pixels; 0: not known
  std::uint32_t rate_numerator = 0, rate_denominator = 0;  // frames a second; 0: not known
  std::string layout;      // of Y4M: "420jpeg"; of another device: its pixel format, "YUYV"
  std::string y4m_header;  // the source's first line, without its end; empty: a raw source
};

// What becomes of a frame for which no buffer is queued.
enum class WhenFull : std::uint8_t {
  automatic,  // wait where the source is a regular file, drop otherwise
  wait,       // the source waits: nothing is lost, a live source falls behind
  drop,       // the frame is read and thrown away, and counted; a buffer that is queued
              // before its first bytes have come is in time
};

struct CaptureOptions {
  std::uint64_t frame_bytes = 0;  // of a raw source; of Y4M: 0, it says so itself
  WhenFull when_full = WhenFull::automatic;
  std::uint32_t buffers_max = 64;                  // queued and not dequeued: 1 to kBuffersMax
  std::uint64_t open_timeout_ns = 10'000'000'000;  // for the connection, and for a Y4M header
  std::uint64_t stall_timeout_ns = 0;              // no byte for so long ends the stream; 0: never
  std::uint64_t close_grace_ns = 200'000'000;      // close() lets a transfer go on so long, then
                                                   // cancels it
  AioBackend backend = AioBackend::automatic;
  PinAccountId account = PinAccountId::general;
};

struct CapturedFrame {
  std::span<std::byte> data;     // the buffer, frame_bytes of it
  std::uint64_t cookie = 0;      // as it was queued
  std::uint64_t sequence = 0;    // counts the frames of the stream, dropped ones too
  std::uint64_t arrival_ns = 0;  // monotonic: when its last byte came
};

struct CaptureStats {
  std::uint64_t frames = 0;       // into buffers
  std::uint64_t dropped = 0;      // for want of a buffer
  std::uint64_t damaged = 0;      // incomplete: the stream ended or lost bytes in mid-frame
  std::uint64_t bytes = 0;        // received, of all kinds
  std::uint64_t queued = 0;       // buffers waiting to be filled, now
  std::uint64_t filled = 0;       // frames waiting to be dequeued, now
  std::uint64_t silent_ns = 0;    // since the last byte; 0: not streaming, or waiting for a buffer
  bool waits_for_buffer = false;  // the source waits: every buffer is full (WhenFull::wait)
  bool in_flight = false;         // a transfer is under way
  bool ended = false;             // the stream has ended
  friend bool operator==(const CaptureStats&, const CaptureStats&) = default;
};

class Capture {
 public:
  static constexpr std::uint64_t kFrameBytesMax = std::uint64_t{1} << 29;
  static constexpr std::uint32_t kBuffersMax = 4096;

  // Opens a source and reads its format:
  //   PATH or -         a file, FIFO or standard input: Y4M, or raw with options.frame_bytes
  //   tcp://HOST:PORT   connects; tcp://HOST:PORT?listen waits for a connection
  //   udp://HOST:PORT   datagrams that come to this address, raw; a datagram that is shorter than
  //                     those before it ends its frame
  //   /dev/videoN       a Video4Linux device that transfers into its user's memory, in the format
  //                     that is set; it never waits. A buffer stays pinned after it has been
  //                     dequeued, until another has taken its number at the driver (of which there
  //                     are at most 32) or the Capture is closed: the driver keeps its pages
  // Errors: invalid_argument (the source's name, its header, options), not_found, permission,
  // timed_out, system (the network's), unsupported (a device that cannot do this), busy,
  // interrupt_context.
  [[nodiscard]] HF_TASK_ONLY static Expected<std::unique_ptr<Capture>> open(
      Engine& engine, const std::string& source, const CaptureOptions& options = {});

  // Closes. Task context: in an interrupt it is a bug that aborts, for it cannot refuse.
  virtual ~Capture() = default;

  [[nodiscard]] HF_ANY_CONTEXT virtual const CaptureFormat& format() const noexcept = 0;

  // Pins a buffer of frame_bytes at least and queues it: frames go to buffers in the order in which
  // these were queued. Errors: invalid_argument (too small), would_block (limit: buffers_max),
  // busy (closed), those of Engine::pin. Nothing is queued then.
  HF_TASK_ONLY virtual Expected<void> queue(std::span<std::byte> buffer, std::uint64_t cookie) = 0;
  // The next frame; its buffer is the caller's again, and unpinned (but see /dev/videoN). Waits at
  // most timeout_ns (0: without limit): timed_out. Nothing: the stream has ended, and every frame
  // has been dequeued. Errors: what ended the stream, once all frames before have been dequeued
  // (system: a reset connection; timed_out with `what` stall_timeout_ns; corrupted: its geometry
  // changed, or it is no Y4M any more); busy (not streaming, so none would come);
  // interrupt_context.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<std::optional<CapturedFrame>> dequeue(
      std::uint64_t timeout_ns = 0) = 0;

  // Starts and stops the transfers. Off lets go of no buffer and loses no byte: a frame that has
  // been begun goes on when the stream does. Errors: busy (closed), interrupt_context.
  HF_TASK_ONLY virtual Expected<void> stream_on() = 0;
  HF_TASK_ONLY virtual Expected<void> stream_off() = 0;

  // Stops, waits until no transfer is in flight, unpins every buffer, and closes the source. Frames
  // that were not dequeued are gone. Twice is harmless. Errors: interrupt_context (nothing was
  // done).
  HF_TASK_ONLY virtual Expected<void> close() = 0;

  [[nodiscard]] HF_TASK_ONLY virtual CaptureStats stats() = 0;
};

}  // namespace holdfast
