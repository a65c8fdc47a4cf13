#include "capture/frame_reader.h"

#include <algorithm>
#include <cstring>

namespace holdfast::capture {

FrameReader::FrameReader(const CaptureFormat& format, sys::StreamKind kind)
    : format_(format),
      is_y4m_(!format.y4m_header.empty()),
      datagrams_(kind == sys::StreamKind::datagrams),
      in_payload_(!is_y4m_),
      scratch_(std::make_unique<std::byte[]>(kScratchBytes)) {}

void FrameReader::set_target(std::byte* memory) noexcept {
  if (target_kind_ == Target::look) std::memcpy(memory, scratch_.get(), filled_);
  target_ = memory;
  target_kind_ = Target::memory;
}

void FrameReader::discard() noexcept { target_kind_ = Target::nowhere; }

bool FrameReader::look_ahead() noexcept {
  if (datagrams_ || filled_ > 0 || format_.frame_bytes == 1) return false;
  target_kind_ = Target::look;
  return true;
}

bool FrameReader::is_within_frame() const noexcept {
  return filled_ > 0 || (is_y4m_ && (in_payload_ || line_bytes_ > 0));
}

std::span<const Buffer> FrameReader::parts() noexcept {
  if (!in_payload_) {
    // A line of more than "FRAME\n" is rare, and read byte by byte: what follows is a frame's.
    const std::uint32_t wanted = line_bytes_ < kFrameLine ? kFrameLine - line_bytes_ : 1;
    parts_[0] = Buffer(line_.data() + line_bytes_, wanted);
    return std::span(parts_).first(1);
  }
  HF_CHECK(target_kind_ != Target::none);
  const bool has_memory = target_kind_ == Target::memory;
  // Of a frame that is looked at the last byte does not come: where is the frame to be complete?
  const std::uint64_t room = has_memory                     ? rest()
                             : target_kind_ == Target::look ? std::min(rest() - 1, kLookBytes)
                                                            : std::min(rest(), kScratchBytes);
  parts_[0] = Buffer(has_memory ? target_ + filled_ : scratch_.get(), room);
  if (datagrams_) {  // room for one that is too long: it would be cut without a word
    if (!has_memory) parts_[0].bytes = kScratchBytes / 2;
    parts_[1] = Buffer(scratch_.get() + kScratchBytes / 2, kScratchBytes / 2);
    return parts_;
  }
  if (!is_y4m_ || room < rest()) return std::span(parts_).first(1);
  parts_[1] = Buffer(line_.data(), kFrameLine);
  return parts_;
}

Expected<FrameReader::Progress> FrameReader::took(std::uint64_t bytes) noexcept {
  if (datagrams_) return took_datagram(bytes);
  return took_stream(bytes);
}

FrameReader::Progress FrameReader::end_frame() noexcept {
  filled_ = 0;
  target_kind_ = Target::none;
  in_payload_ = !is_y4m_;
  line_bytes_ = 0;
  return Progress::frame;
}

Expected<FrameReader::Progress> FrameReader::took_stream(std::uint64_t bytes) noexcept {
  Progress progress = Progress::more;
  if (in_payload_) {
    const std::uint64_t payload = std::min(bytes, rest());
    filled_ += payload;
    bytes -= payload;
    if (filled_ == format_.frame_bytes) progress = end_frame();
  }
  line_bytes_ += static_cast<std::uint32_t>(bytes);
  if (bytes > 0 && line_[line_bytes_ - 1] == '\n') {
    TRY_VOID(took_line());
  } else if (line_bytes_ == line_.size()) {
    return fail({.code = Errc::corrupted,
                 .doing = "read a frame",
                 .what = "bytes of its Y4M line",
                 .value = line_bytes_,
                 .limit = kY4mLineMax,
                 .remedy = "give a Y4M stream, or frame_bytes for a raw one"});
  }
  return progress;
}

// A line is complete: a frame begins, or (streams that were joined) another stream does.
Expected<void> FrameReader::took_line() noexcept {
  const std::string_view line(line_.data(), line_bytes_ - 1);
  line_bytes_ = 0;
  if (is_y4m_frame(line)) {
    in_payload_ = true;
    return {};
  }
  const CaptureFormat next = TRY(parse_y4m_header(line));
  if (same_geometry(format_, next)) return {};
  return fail({.code = Errc::corrupted,
               .doing = "read a frame",
               .what = "bytes of a frame: the source changed its geometry",
               .value = next.frame_bytes,
               .limit = format_.frame_bytes,
               .remedy = "open it again"});
}

FrameReader::Progress FrameReader::took_datagram(std::uint64_t bytes) noexcept {
  const bool ends_frame = bytes < largest_;
  largest_ = std::max(largest_, bytes);
  if (lost_) {
    lost_ = !ends_frame;
    return Progress::more;
  }
  if (bytes > rest()) {  // of a later frame, or of another sender
    filled_ = 0;
    lost_ = !ends_frame;
    return Progress::damaged;
  }
  filled_ += bytes;
  if (filled_ == format_.frame_bytes) return end_frame();
  if (!ends_frame) return Progress::more;
  filled_ = 0;
  return Progress::damaged;
}

}  // namespace holdfast::capture
