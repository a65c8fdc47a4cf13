#include "capture/video_grabber.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "capture/refusals.h"
#include "capture/video_format.h"

namespace holdfast::capture {
Expected<std::unique_ptr<VideoGrabber>> VideoGrabber::create(
    sys::Machine& machine, Engine& engine, std::unique_ptr<sys::VideoDevice> device,
    const CaptureOptions& options) {
  TRY_VOID(sync::check_task_context("open a capture"));
  TRY_VOID(check_options(options));
  if (options.when_full == WhenFull::wait) {
    return fail({.code = Errc::unsupported,
                 .doing = "open a capture",
                 .what = "WhenFull::wait: a video device does not wait",
                 .remedy = "queue more buffers, or choose WhenFull::drop"});
  }
  std::unique_ptr<VideoGrabber> grabber(
      new VideoGrabber(machine, engine, std::move(device), options));
  grabber->format_ = TRY(read_video_format(*grabber->device_));
  if (options.frame_bytes != 0 && options.frame_bytes != grabber->format_.frame_bytes) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "open a capture",
                 .what = "frame_bytes",
                 .value = options.frame_bytes,
                 .limit = grabber->format_.frame_bytes,
                 .remedy = "leave it 0: the device says how large its frames are"});
  }
  const std::uint32_t wanted = std::min<std::uint32_t>(options.buffers_max, VIDEO_MAX_FRAME);
  const std::uint32_t granted = TRY(request_user_buffers(*grabber->device_, wanted));
  {
    sync::MutexGuard guard(grabber->mutex_);
    grabber->slots_.resize(std::min(granted, options.buffers_max));
  }
  return grabber;
}

VideoGrabber::~VideoGrabber() {
  const Expected<void> closed = close();
  HF_CHECK(closed.has_value());  // in an interrupt: see Capture::~Capture
}

// --- buffers ---

// The number that had the same buffer before, or the one that has lain idle for longest.
Expected<std::uint32_t> VideoGrabber::take_slot(std::span<std::byte> buffer, std::uint64_t cookie) {
  sync::MutexGuard guard(mutex_);
  Slot* chosen = nullptr;
  std::uint64_t used = filled_.size();
  for (Slot& slot : slots_) {
    used += slot.at_device || slot.in_call ? 1 : 0;
    if (slot.at_device || slot.in_call) continue;
    const bool same = slot.memory.data() == buffer.data();
    const bool chosen_same = chosen != nullptr && chosen->memory.data() == buffer.data();
    if (chosen == nullptr || (same && !chosen_same) ||
        (same == chosen_same && slot.turn < chosen->turn)) {
      chosen = &slot;
    }
  }
  if (used >= slots_.size() || chosen == nullptr) {
    return fail(too_many_queued(used, slots_.size()));
  }
  chosen->memory = buffer;
  chosen->cookie = cookie;
  chosen->turn = ++next_turn_;
  chosen->in_call = true;
  return static_cast<std::uint32_t>(chosen - slots_.data());
}

// Its pin stays: whether the driver has let go of what it had under this number is not known.
void VideoGrabber::give_back_slot(std::uint32_t index) noexcept {
  sync::MutexGuard guard(mutex_);
  slots_[index].in_call = false;
  slots_[index].memory = {};
}

// The slot is in a call of ours.
int VideoGrabber::queue_at_device(std::uint32_t index) noexcept {
  v4l2_buffer buffer = user_buffer(index);
  {
    sync::MutexGuard guard(mutex_);
    Slot& slot = slots_[index];
    buffer.m.userptr = reinterpret_cast<unsigned long>(slot.memory.data());
    buffer.length = static_cast<std::uint32_t>(slot.memory.size());
    // Its silence counts from here, if it had nothing to fill.
    if (std::ranges::none_of(slots_, &Slot::at_device)) last_frame_ns_ = machine_.now_ns();
    slot.at_device = true;  // before it is: it may be filled before this returns
  }
  const int error = device_->control(VIDIOC_QBUF, &buffer);
  if (error == 0) return 0;
  sync::MutexGuard guard(mutex_);
  slots_[index].at_device = false;
  return error;
}

Expected<void> VideoGrabber::queue(std::span<std::byte> buffer, std::uint64_t cookie) {
  TRY_VOID(sync::check_task_context("queue a buffer"));
  buffer = TRY(whole_frame(buffer, format_));
  const Call call(*this);
  if (!call) return fail(capture_is_closed("queue a buffer"));
  Pin pin;
  // Also where the slot holds a pin of the same buffer: only this finds out that it is mapped yet.
  if (engine_.owns(buffer.data())) {
    pin = TRY(engine_.pin(buffer.data(), buffer.size(), Access::write, options_.account));
  }
  const std::uint32_t index = TRY(take_slot(buffer, cookie));
  if (const int error = queue_at_device(index); error != 0) {
    give_back_slot(index);
    return device_refused("queue a buffer at the video device", error);
  }
  Pin old;  // unpins after the lock is gone
  {
    sync::MutexGuard guard(mutex_);
    old = std::exchange(slots_[index].pin, std::move(pin));
    slots_[index].in_call = false;
  }
  tell();
  return {};
}

// --- frames ---

// Takes what the device has done, if there is any. False: there is not.
bool VideoGrabber::collect_one() noexcept {
  v4l2_buffer buffer = user_buffer(0);
  const int error = device_->control(VIDIOC_DQBUF, &buffer);
  if (error == EAGAIN) return false;
  if (error != 0) {
    const bool is_on = [&] {
      sync::MutexGuard guard(mutex_);
      return state_ == State::streaming;
    }();
    // EINVAL is that of a stream which has just been turned off.
    if (is_on) end(device_refused("take a frame from the video device", error).error());
    return false;
  }
  const bool monotonic =
      (buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_MASK) == V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
  const auto stamp = static_cast<std::uint64_t>(buffer.timestamp.tv_sec) * 1'000'000'000 +
                     static_cast<std::uint64_t>(buffer.timestamp.tv_usec) * 1'000;
  collect({.index = buffer.index,
           .bytes = buffer.bytesused,
           .sequence = buffer.sequence,
           .arrival_ns = monotonic ? stamp : machine_.now_ns(),
           .damaged = (buffer.flags & V4L2_BUF_FLAG_ERROR) != 0 ||
                      buffer.bytesused < format_.frame_bytes});
  return true;
}

void VideoGrabber::collect(const Done& done) noexcept {
  {
    sync::MutexGuard guard(mutex_);
    Slot& slot = slots_[done.index];
    slot.at_device = false;
    const std::uint64_t sequence = sequence_base_ + done.sequence;
    if (sequence > sequence_) stats_.dropped += sequence - sequence_;
    sequence_ = std::max(sequence_, sequence + 1);
    last_frame_ns_ = machine_.now_ns();
    const std::uint64_t bytes = std::min<std::uint64_t>(done.bytes, slot.memory.size());
    stats_.bytes += bytes;
    if (!done.damaged) {
      ++stats_.frames;
      filled_.push_back({.data = slot.memory,
                         .cookie = slot.cookie,
                         .sequence = sequence,
                         .arrival_ns = done.arrival_ns});
    } else {
      ++stats_.damaged;
      slot.in_call = true;
    }
  }
  // The buffer of a frame that is not whole is filled anew.
  if (done.damaged) {
    const int error = queue_at_device(done.index);
    sync::MutexGuard guard(mutex_);
    slots_[done.index].in_call = false;
    // Refused: it is queued with the next start. That it was not is what slot.at_device says.
    if (error != 0) slots_[done.index].at_device = true;
  }
  tell();
}

// Until something has changed. False: the device has been silent for stall_timeout_ns.
bool VideoGrabber::wait(std::uint32_t seen, std::uint64_t timeout_ns) noexcept {
  bool at_device = false;
  std::uint64_t silent = 0;
  {
    sync::MutexGuard guard(mutex_);
    at_device = state_ == State::streaming && std::ranges::any_of(slots_, &Slot::at_device);
    silent = machine_.now_ns() - last_frame_ns_;
  }
  if (!at_device) {
    sync::parking().wait(events_, seen, timeout_ns);
    return true;
  }
  const std::uint64_t stall = options_.stall_timeout_ns;
  if (stall != 0 && silent >= stall) return false;
  if (stall != 0)
    timeout_ns = timeout_ns == 0 ? stall - silent : std::min(timeout_ns, stall - silent);
  (void)device_->wait(timeout_ns);
  return true;
}

Expected<std::optional<CapturedFrame>> VideoGrabber::dequeue(std::uint64_t timeout_ns) {
  TRY_VOID(sync::check_task_context("dequeue a frame"));
  const Call call(*this);
  if (!call) return fail(capture_is_closed("dequeue a frame"));
  const std::uint64_t begun = machine_.now_ns();
  for (;;) {
    const std::uint32_t seen = events_.load(std::memory_order_acquire);
    bool is_on = false;
    {
      sync::MutexGuard guard(mutex_);
      if (!filled_.empty()) {
        const CapturedFrame frame = filled_.front();
        filled_.pop_front();
        return frame;
      }
      if (closed_) return fail(capture_is_closed("dequeue a frame"));
      if (state_ == State::ended) return fail(*error_);
      if (state_ == State::stopped) return fail(stream_is_off());
      is_on = state_ == State::streaming;
    }
    if (is_on && collect_one()) continue;
    const std::uint64_t waited = machine_.now_ns() - begun;
    if (timeout_ns != 0 && waited >= timeout_ns) {
      return fail(dequeue_timed_out(waited, timeout_ns));
    }
    if (!wait(seen, timeout_ns == 0 ? 0 : timeout_ns - waited)) {
      end(stalled(options_.stall_timeout_ns));
    }
  }
}

CaptureStats VideoGrabber::stats() {
  sync::MutexGuard guard(mutex_);
  CaptureStats now = stats_;
  now.queued = static_cast<std::uint64_t>(std::ranges::count_if(slots_, &Slot::at_device));
  now.filled = filled_.size();
  now.ended = state_ == State::ended;
  now.in_flight = state_ == State::streaming && now.queued > 0;
  now.silent_ns = now.in_flight ? machine_.now_ns() - last_frame_ns_ : 0;
  return now;
}

void VideoGrabber::tell() noexcept {
  events_.fetch_add(1, std::memory_order_release);
  sync::parking().wake(events_, sync::kWakeAll);
}

}  // namespace holdfast::capture
