// The grabber: buffers, and the pump that fills them.
//
// The pump is a coroutine: it goes from one transfer to the next in task context, on the thread
// that drains the grabber's queue of asynchronous I/O (or on that of whoever started it, or gave it
// the buffer that it waited for). There is one at a time, so what only it touches needs no lock.
//
//   stopped ──stream_on──▶ streaming ──stream_off, close──▶ stopping ──the pump has left──▶ stopped
//                              └───────the stream ends──────────┴────────────────────────▶ ended
//
// Locks: one of rank device, for lists and state; nothing is called while it is held.
#pragma once

#include <atomic>
#include <coroutine>
#include <deque>
#include <memory>
#include <optional>

#include "aio/aio.h"
#include "capture/capture.h"
#include "capture/frame_reader.h"
#include "sync/sync.h"

namespace holdfast::capture {

class Grabber final : public Capture {
 public:
  // Errors: those of aio::create_on, and what is wrong with the stream or the options.
  [[nodiscard]] static Expected<std::unique_ptr<Grabber>> create(sys::Machine& machine,
                                                                 Engine& engine, sys::Stream stream,
                                                                 const CaptureOptions& options);
  ~Grabber() override;
  Grabber(const Grabber&) = delete;
  Grabber& operator=(const Grabber&) = delete;

  [[nodiscard]] const CaptureFormat& format() const noexcept override { return format_; }
  Expected<void> queue(std::span<std::byte> buffer, std::uint64_t cookie) override;
  Expected<std::optional<CapturedFrame>> dequeue(std::uint64_t timeout_ns) override;
  Expected<void> stream_on() override;
  Expected<void> stream_off() override;
  Expected<void> close() override;
  CaptureStats stats() override;

 private:
  enum class State : std::uint8_t { stopped, streaming, stopping, ended };
  // A buffer that the caller has queued. Its pin goes with it.
  struct Loan {
    std::span<std::byte> memory;
    std::uint64_t cookie = 0;
    Pin pin;
  };
  struct Filled {
    Loan loan;
    CapturedFrame frame;
  };
  // Starts at once, and lets go of itself when it returns.
  struct Pump {
    struct promise_type {
      Pump get_return_object() noexcept { return {}; }
      std::suspend_never initial_suspend() noexcept { return {}; }
      std::suspend_never final_suspend() noexcept { return {}; }
      void return_void() noexcept {}
      void unhandled_exception() noexcept { HF_CHECK(!"no exceptions in the pump"); }
    };
  };
  // Suspends the pump until a buffer is queued or it is to stop.
  struct NextBuffer {
    Grabber& grabber;
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    bool await_suspend(std::coroutine_handle<> pump) noexcept;
    void await_resume() const noexcept {}
  };

  Grabber(sys::Machine& machine, Engine& engine, sys::Stream stream, const CaptureOptions& options)
      : machine_(machine), engine_(engine), options_(options), stream_(std::move(stream)) {}

  Expected<void> read_format();
  Expected<std::uint64_t> read_now(std::span<char> to, std::uint64_t deadline_ns);

  // pump.cc
  Pump pump();
  [[nodiscard]] bool is_to_go_on() noexcept;
  [[nodiscard]] bool take_target() noexcept;
  void note_bytes(std::uint64_t bytes) noexcept;
  void follow(FrameReader::Progress progress) noexcept;
  [[nodiscard]] bool survives(const Error& error) noexcept;
  void leave(const std::optional<Error>& error, bool ended) noexcept;

  void stop() noexcept;
  void wake_pump(std::coroutine_handle<> pump) noexcept;
  void tell() noexcept;  // whoever waits: something has changed

  // --- constant after create ---
  sys::Machine& machine_;
  Engine& engine_;
  const CaptureOptions options_;
  sys::Stream stream_;
  CaptureFormat format_;
  bool waits_when_full_ = false;

  // --- the pump's own; others touch them while there is none ---
  std::unique_ptr<FrameReader> reader_;
  std::optional<Loan> current_;  // what the frame under way goes into
  std::uint64_t sequence_ = 0;

  // --- by mutex_ ---
  sync::Mutex<sync::Rank::device> mutex_;
  State state_ HF_GUARDED_BY(mutex_) = State::stopped;
  bool closed_ HF_GUARDED_BY(mutex_) = false;
  std::optional<Error> error_ HF_GUARDED_BY(mutex_);  // what ended the stream
  std::deque<Loan> empty_ HF_GUARDED_BY(mutex_);
  std::deque<Filled> filled_ HF_GUARDED_BY(mutex_);
  std::coroutine_handle<> waiting_ HF_GUARDED_BY(mutex_);  // the pump, for a buffer
  CaptureStats stats_ HF_GUARDED_BY(mutex_);
  std::uint64_t last_byte_ns_ HF_GUARDED_BY(mutex_) = 0;

  std::atomic<std::uint32_t> events_{0};  // bumped by tell(): what waiters park on

  std::unique_ptr<Aio> aio_;  // last: its thread ends before the rest goes
};

}  // namespace holdfast::capture
