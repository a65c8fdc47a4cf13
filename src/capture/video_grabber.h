// The video grabber: a Capture from a Video4Linux device that transfers into its user's memory.
//
// The driver does the work; what is left is who holds which page, and when.
//
//   idle ──queue: pinned, QBUF──▶ at the device ──DQBUF──▶ filled ──dequeue──▶ idle, still pinned
//
// A driver keeps the pages of a buffer number after it has given the buffer back, and takes them
// for those of the next buffer of the same address and length (videobuf2 does not look again). If
// they were let go of in between, a page could leave and come back elsewhere, and the next transfer
// would go to where it was. So a slot keeps its pin until another buffer has taken its number, or
// the device is closed.
//
// What is queued at the driver is the driver's to say (V4L2_BUF_FLAG_QUEUED): STREAMOFF lets go of
// everything, and stream_on() queues again what was there.
//
// Locks: one of rank device, for slots and state; nothing is called while it is held. Who is in a
// call to the device is counted: close() waits until nobody is.
#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "holdfast/capture.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::capture {

class VideoGrabber final : public Capture {
 public:
  // Errors: those of video_format.h, and what is wrong with the options.
  [[nodiscard]] static Expected<std::unique_ptr<VideoGrabber>> create(
      sys::Machine& machine, Engine& engine, std::unique_ptr<sys::VideoDevice> device,
      const CaptureOptions& options);
  ~VideoGrabber() override;
  VideoGrabber(const VideoGrabber&) = delete;
  VideoGrabber& operator=(const VideoGrabber&) = delete;

  [[nodiscard]] const CaptureFormat& format() const noexcept override { return format_; }
  Expected<void> queue(std::span<std::byte> buffer, std::uint64_t cookie) override;
  Expected<std::optional<CapturedFrame>> dequeue(std::uint64_t timeout_ns) override;
  Expected<void> stream_on() override;
  Expected<void> stream_off() override;
  Expected<void> close() override;
  CaptureStats stats() override;

 private:
  enum class State : std::uint8_t { stopped, changing, streaming, ended };
  // A buffer number of the driver's.
  struct Slot {
    std::span<std::byte> memory;
    std::uint64_t cookie = 0;
    std::uint64_t turn = 0;  // of its queue(): who was first
    Pin pin;
    bool at_device = false;
    bool in_call = false;  // somebody is about to queue it
  };
  struct Done {
    std::uint32_t index;
    std::uint32_t bytes;
    std::uint32_t sequence;
    std::uint64_t arrival_ns;
    bool damaged;
  };
  // In it the device stays open. After close() it is not entered.
  class Call {
   public:
    explicit Call(VideoGrabber& grabber) noexcept : grabber_(grabber) {
      sync::MutexGuard guard(grabber_.mutex_);
      entered_ = !grabber_.closed_;
      if (entered_) ++grabber_.calls_;
    }
    ~Call() {
      if (!entered_) return;
      sync::MutexGuard guard(grabber_.mutex_);
      --grabber_.calls_;
      if (grabber_.closed_) grabber_.tell();
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;
    explicit operator bool() const noexcept { return entered_; }

   private:
    VideoGrabber& grabber_;
    bool entered_;
  };

  VideoGrabber(sys::Machine& machine, Engine& engine, std::unique_ptr<sys::VideoDevice> device,
               const CaptureOptions& options)
      : machine_(machine), engine_(engine), options_(options), device_(std::move(device)) {}

  Expected<std::uint32_t> take_slot(std::span<std::byte> buffer, std::uint64_t cookie);
  int queue_at_device(std::uint32_t index) noexcept;
  void give_back_slot(std::uint32_t index) noexcept;
  bool collect_one() noexcept;
  void collect(const Done& done) noexcept;
  int start_device() noexcept;
  int queue_again() noexcept;
  void stop() noexcept;
  bool wait(std::uint32_t seen, std::uint64_t timeout_ns) noexcept;
  void end(const Error& error) noexcept;
  void tell() noexcept;

  // --- constant after create ---
  sys::Machine& machine_;
  Engine& engine_;
  const CaptureOptions options_;
  std::unique_ptr<sys::VideoDevice> device_;
  CaptureFormat format_;

  // --- by mutex_ ---
  sync::Mutex<sync::Rank::device> mutex_;
  State state_ HF_GUARDED_BY(mutex_) = State::stopped;
  bool closed_ HF_GUARDED_BY(mutex_) = false;
  bool gone_ HF_GUARDED_BY(mutex_) = false;        // the device is closed, the pins are let go of
  std::uint32_t calls_ HF_GUARDED_BY(mutex_) = 0;  // who is in a Call
  std::vector<Slot> slots_ HF_GUARDED_BY(mutex_);
  std::deque<CapturedFrame> filled_ HF_GUARDED_BY(mutex_);
  std::optional<Error> error_ HF_GUARDED_BY(mutex_);  // what ended the stream
  CaptureStats stats_ HF_GUARDED_BY(mutex_);
  std::uint64_t next_turn_ HF_GUARDED_BY(mutex_) = 0;
  std::uint64_t sequence_base_ HF_GUARDED_BY(mutex_) = 0;  // a driver counts from 0 at each start
  std::uint64_t sequence_ HF_GUARDED_BY(mutex_) = 0;       // of the next frame
  std::uint64_t last_frame_ns_ HF_GUARDED_BY(mutex_) = 0;

  std::atomic<std::uint32_t> events_{0};  // bumped by tell(): what waiters park on
};

}  // namespace holdfast::capture
