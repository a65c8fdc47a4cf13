// The frame reader: where the next bytes of a stream belong, and what they complete.
//
// It reads nothing itself. Flow: parts() says into which memory the next transfer goes; took(n)
// tells it that n bytes have come, and it answers what that was. A frame's last bytes and the line
// that begins the next one come in one transfer, so that a frame costs no read more for being Y4M.
//
//   line ──"FRAME"──▶ payload ──last byte──▶ line (Y4M), payload (raw)
//
// Thread-safety: none; its owner's transfers come one after another.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "capture/y4m.h"
#include "holdfast/pin.h"
#include "sys/sys.h"

namespace holdfast::capture {

class FrameReader {
 public:
  enum class Progress : std::uint8_t {
    more,     // nothing is complete
    frame,    // the frame is
    damaged,  // bytes of the frame are missing: it begins anew
  };

  FrameReader(const CaptureFormat& format, sys::StreamKind kind);

  // True if the next bytes are a frame's, and nobody has said where they go; or if some have come
  // to look at, and the rest needs a place.
  [[nodiscard]] bool needs_target() const noexcept {
    return in_payload_ &&
           (target_kind_ == Target::none || (target_kind_ == Target::look && filled_ > 0));
  }
  // Where the frame goes, frame_bytes of it.
  void set_target(std::byte* memory) noexcept;
  // The frame, or what is still to come of it, goes nowhere.
  void discard() noexcept;
  // Nobody has a place for the frame now: its first bytes are taken to be looked at, so that the
  // end of the stream is seen, and a place that is found meanwhile is in time. False: they have
  // come already, or it cannot be done.
  [[nodiscard]] bool look_ahead() noexcept;

  // Memory for the next transfer; at least one byte. Valid until took().
  [[nodiscard]] std::span<const Buffer> parts() noexcept;
  // `bytes` of it have been filled. Errors: corrupted (what comes is no frame of this format).
  [[nodiscard]] Expected<Progress> took(std::uint64_t bytes) noexcept;

  // True if the stream may not end here: part of a frame has come.
  [[nodiscard]] bool is_within_frame() const noexcept;

 private:
  static constexpr std::uint64_t kScratchBytes = 256 << 10;
  static constexpr std::uint64_t kLookBytes = 4096;
  static constexpr std::uint32_t kFrameLine = 6;  // "FRAME\n"
  enum class Target : std::uint8_t { none, memory, look, nowhere };

  [[nodiscard]] std::uint64_t rest() const noexcept { return format_.frame_bytes - filled_; }
  Progress end_frame() noexcept;
  Expected<Progress> took_stream(std::uint64_t bytes) noexcept;
  Progress took_datagram(std::uint64_t bytes) noexcept;
  Expected<void> took_line() noexcept;

  const CaptureFormat format_;
  const bool is_y4m_;
  const bool datagrams_;
  bool in_payload_;
  Target target_kind_ = Target::none;
  std::byte* target_ = nullptr;  // Target::memory
  std::uint64_t filled_ = 0;     // of the frame
  std::uint64_t largest_ = 0;    // datagram so far: a shorter one ends a frame
  bool lost_ = false;            // datagrams: in mid of a frame whose beginning is not known
  std::uint32_t line_bytes_ = 0;
  std::array<char, kY4mLineMax> line_;
  std::unique_ptr<std::byte[]> scratch_;
  std::array<Buffer, 2> parts_;
};

}  // namespace holdfast::capture
