// A video device's stream: on, off, and its end.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "capture/refusals.h"
#include "capture/video_format.h"
#include "capture/video_grabber.h"

namespace holdfast::capture {

void VideoGrabber::end(const Error& error) noexcept {
  {
    sync::MutexGuard guard(mutex_);
    if (state_ != State::streaming) return;
    state_ = State::ended;
    error_ = error;
  }
  device_->interrupt();
  tell();
}

// What STREAMOFF has let go of is queued again, in its order; the driver knows what that is.
int VideoGrabber::queue_again() noexcept {
  int error = 0;
  std::vector<std::pair<std::uint64_t, std::uint32_t>> in_order;
  {
    sync::MutexGuard guard(mutex_);
    for (std::uint32_t i = 0; i < slots_.size(); ++i) {
      if (slots_[i].at_device && !slots_[i].in_call) in_order.emplace_back(slots_[i].turn, i);
    }
    for (const auto& [turn, index] : in_order) slots_[index].in_call = true;
  }
  std::ranges::sort(in_order);
  for (const auto& [turn, index] : in_order) {
    v4l2_buffer state = user_buffer(index);
    const bool queued =
        device_->control(VIDIOC_QUERYBUF, &state) == 0 && (state.flags & V4L2_BUF_FLAG_QUEUED) != 0;
    if (!queued && error == 0) error = queue_at_device(index);
    sync::MutexGuard guard(mutex_);
    slots_[index].at_device = true;  // refused: the next start tries again
    slots_[index].in_call = false;
  }
  return error;
}

int VideoGrabber::start_device() noexcept {
  device_->resume();
  if (const int error = queue_again(); error != 0) return error;
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  return device_->control(VIDIOC_STREAMON, &type);
}

Expected<void> VideoGrabber::stream_on() {
  TRY_VOID(sync::check_task_context("start a stream"));
  const Call call(*this);
  if (!call) return fail(capture_is_closed("start a stream"));
  {
    sync::MutexGuard guard(mutex_);
    if (state_ == State::streaming || state_ == State::ended) return {};
    if (state_ == State::changing) {
      return fail({.code = Errc::busy,
                   .doing = "start a stream",
                   .what = "somebody else is turning it on or off",
                   .remedy = "wait for them"});
    }
    state_ = State::changing;
    sequence_base_ = sequence_;
    last_frame_ns_ = machine_.now_ns();
  }
  const int error = start_device();
  {
    sync::MutexGuard guard(mutex_);
    state_ = error == 0 ? State::streaming : State::stopped;
  }
  tell();
  if (error != 0) return device_refused("start the video device", error);
  return {};
}

Expected<void> VideoGrabber::stream_off() {
  TRY_VOID(sync::check_task_context("stop a stream"));
  const Call call(*this);
  if (call) stop();
  return {};
}

// Frames that are done are kept. STREAMOFF returns when the driver's transfers have ended, however
// long that takes: their memory is not ours to give back before. Returns when the stream is off.
void VideoGrabber::stop() noexcept {
  for (;;) {
    const std::uint32_t seen = events_.load(std::memory_order_acquire);
    {
      sync::MutexGuard guard(mutex_);
      if (state_ == State::stopped || state_ == State::ended) return;
      if (state_ == State::streaming) {
        state_ = State::changing;
        break;
      }
    }
    sync::parking().wait(events_, seen, 0);
  }
  device_->interrupt();
  while (collect_one()) {
  }
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  (void)device_->control(VIDIOC_STREAMOFF, &type);  // refused: it does not stream any more
  (void)queue_again();                              // what cannot be now is with the next start
  {
    sync::MutexGuard guard(mutex_);
    state_ = State::stopped;
  }
  tell();
}

Expected<void> VideoGrabber::close() {
  TRY_VOID(sync::check_task_context("close a capture"));
  bool first = false;
  {
    sync::MutexGuard guard(mutex_);
    first = !std::exchange(closed_, true);
  }
  if (first) device_->interrupt();
  tell();
  for (;;) {
    const std::uint32_t seen = events_.load(std::memory_order_acquire);
    {
      sync::MutexGuard guard(mutex_);
      if (first ? calls_ == 0 : gone_) break;
    }
    sync::parking().wait(events_, seen, 0);
  }
  if (!first) return {};
  int type = V4L2_BUF_TYPE_VIDEO_CAPTURE;
  (void)device_->control(VIDIOC_STREAMOFF, &type);
  device_->close();
  // The driver has let go of every page: now, in task context, so do we.
  std::vector<Slot> slots;
  {
    sync::MutexGuard guard(mutex_);
    if (state_ != State::ended) state_ = State::stopped;
    slots.swap(slots_);
    filled_.clear();
    gone_ = true;
  }
  tell();
  return {};
}

}  // namespace holdfast::capture
