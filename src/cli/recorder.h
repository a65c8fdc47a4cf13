// The recorder behind `holdfast grab`: from a capture through a ring into a file.
//
// The ring is managed memory, and may be larger than the engine's budget: slots at the capture are
// pinned, the others may be compressed or go to a file until they are written. So a disk that is
// slow for a while costs no frame.
//
//   free slot ──queue──▶ capture ──dequeue──▶ filled ──write──▶ file, and free again
//
// What is in the file is whole frames, in order, whenever it stops: each frame has its place, and a
// place that could not be written ends the file. While the disk is full the ring holds; it is tried
// again once a second.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "holdfast/holdfast.h"

namespace holdfast::cli {

struct RecorderOptions {
  std::string source;
  std::string out;
  std::uint64_t ring_bytes = 256ULL << 20;
  std::uint64_t memory_budget = 64ULL << 20;
  std::uint64_t frames_max = 0;  // 0: until the source ends
  CaptureOptions capture;
};

struct RecorderStats {
  CaptureStats capture;
  std::uint64_t written = 0;       // frames in the file
  std::uint64_t bytes = 0;         // of the file
  std::uint64_t lost = 0;          // captured, and never written: the disk stayed full
  std::uint32_t slots = 0;         // of the ring
  std::uint32_t slots_filled = 0;  // waiting to be written
  bool disk_full = false;
};

class Recorder {
 public:
  // Opens everything; nothing is recorded yet. Errors: invalid_argument (sizes that do not fit one
  // another), those of Engine::create, Capture::open, and of the file.
  [[nodiscard]] static Expected<std::unique_ptr<Recorder>> open(const RecorderOptions& options);
  ~Recorder();
  Recorder(const Recorder&) = delete;
  Recorder& operator=(const Recorder&) = delete;

  // Records until the source ends, frames_max are there, or somebody asks it to stop: times_asked()
  // is looked at many times a second, and tell() called twice. Then closes: every captured frame is
  // written, as far as the disk takes it, unless somebody asks a second time. Errors: what ended
  // the source, or what kept frames from the file (which is whole even so).
  Expected<void> run(const std::function<int()>& times_asked,
                     const std::function<void(const RecorderStats&)>& tell);

  [[nodiscard]] RecorderStats stats();
  [[nodiscard]] const CaptureFormat& format() const { return capture_->format(); }

 private:
  struct Write {
    std::uint32_t slot = 0;
    std::uint64_t frame = 0;  // its number in the file
    AioFuture done;
  };
  explicit Recorder(const RecorderOptions& options) : options_(options) {}

  Expected<void> open_file();
  Expected<void> make_ring();
  Expected<void> feed_capture();
  Expected<bool> take_frame(std::uint64_t timeout_ns);
  Expected<void> start_writes();
  void reap_writes(std::uint64_t timeout_ns);
  void settle(const Write& write, const Expected<std::uint64_t>& outcome);
  Expected<void> record(const std::function<int()>& times_asked,
                        const std::function<void(const RecorderStats&)>& tell);
  void finish(const std::function<int()>& times_asked);
  [[nodiscard]] std::uint64_t offset_of(std::uint64_t frame) const;
  [[nodiscard]] bool may_write() const;

  const RecorderOptions options_;
  std::string frame_line_;  // before each frame in the file: Y4M's
  std::string file_header_;
  int file_ = -1;
  bool file_is_regular_ = false;
  std::unique_ptr<Engine> engine_;
  Region ring_;
  std::uint64_t slot_bytes_ = 0;
  std::uint32_t capture_slots_ = 0;  // at the capture at a time, pinned
  std::unique_ptr<Aio> aio_;
  std::unique_ptr<Capture> capture_;
  std::deque<std::uint32_t> free_;
  std::deque<std::uint32_t> filled_;
  std::deque<Write> writes_;
  std::uint32_t at_capture_ = 0;
  std::uint64_t next_frame_ = 0;    // to be written
  std::uint64_t written_ = 0;       // whole frames from the beginning of the file on
  std::uint64_t try_again_ns_ = 0;  // after a failed write; 0: none failed
  Error write_error_;               // the last one
  std::uint64_t taken_ = 0;
  std::uint32_t slots_ = 0;
};

}  // namespace holdfast::cli
