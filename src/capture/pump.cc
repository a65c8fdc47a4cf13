// The pump: from one transfer to the next.
#include <utility>

#include "capture/grabber.h"
#include "capture/refusals.h"

namespace holdfast::capture {

Grabber::Pump Grabber::pump() {
  while (is_to_go_on()) {
    if (reader_->needs_target() && !take_target() && !reader_->look_ahead()) {
      if (waits_when_full_) {
        co_await NextBuffer{*this};
        continue;
      }
      reader_->discard();
    }
    AioRequest request = AioRequest::read(stream_.fd(), reader_->parts());
    request.timeout_ns = options_.stall_timeout_ns;
    const Expected<std::uint64_t> got = co_await aio_->transfer(request);
    note_bytes(got ? *got : 0);
    if (!got) {
      if (survives(got.error())) continue;
      leave(got.error(), true);
      co_return;
    }
    if (*got == 0 && stream_.kind() != sys::StreamKind::datagrams) {
      leave(std::nullopt, true);
      co_return;
    }
    const auto progress = reader_->took(*got);
    if (!progress) {
      leave(progress.error(), true);
      co_return;
    }
    follow(*progress);
  }
  leave(std::nullopt, false);
}

bool Grabber::NextBuffer::await_suspend(std::coroutine_handle<> pump) noexcept {
  sync::MutexGuard guard(grabber.mutex_);
  if (!grabber.empty_.empty() || grabber.state_ != State::streaming) return false;
  grabber.waiting_ = pump;
  return true;
}

bool Grabber::is_to_go_on() noexcept {
  sync::MutexGuard guard(mutex_);
  return state_ == State::streaming;
}

// The next frame goes into the oldest buffer. False: there is none.
bool Grabber::take_target() noexcept {
  {
    sync::MutexGuard guard(mutex_);
    if (!empty_.empty()) {
      current_ = std::move(empty_.front());
      empty_.pop_front();
    }
  }
  if (!current_) return false;
  reader_->set_target(current_->memory.data());
  sync::MutexGuard guard(mutex_);
  last_byte_ns_ = machine_.now_ns();
  return true;
}

void Grabber::note_bytes(std::uint64_t bytes) noexcept {
  sync::MutexGuard guard(mutex_);
  stats_.bytes += bytes;
  if (bytes > 0) last_byte_ns_ = machine_.now_ns();
}

void Grabber::follow(FrameReader::Progress progress) noexcept {
  if (progress == FrameReader::Progress::more) return;
  {
    sync::MutexGuard guard(mutex_);
    if (progress == FrameReader::Progress::damaged) {
      ++stats_.damaged;  // the buffer is filled anew
      return;
    }
    const std::uint64_t sequence = sequence_++;
    if (!current_) {
      ++stats_.dropped;
      return;
    }
    ++stats_.frames;
    const CapturedFrame frame{.data = current_->memory,
                              .cookie = current_->cookie,
                              .sequence = sequence,
                              .arrival_ns = last_byte_ns_};
    filled_.push_back({.loan = std::move(*current_), .frame = frame});
    current_.reset();
  }
  tell();
}

// A failed transfer that is not the end of the stream.
bool Grabber::survives(const Error& error) noexcept {
  if (error.code == Errc::cancelled) return !is_to_go_on();  // the loop will see why
  if (error.code != Errc::not_mapped || !current_) return false;
  // The buffer's region was unmapped: the rest of this frame goes nowhere, the next one has another
  // buffer.
  current_.reset();
  reader_->discard();
  return true;
}

// The pump's last step: afterwards it touches nothing.
void Grabber::leave(const std::optional<Error>& error, bool ended) noexcept {
  {
    sync::MutexGuard guard(mutex_);
    if (ended && reader_->is_within_frame()) ++stats_.damaged;
    if (ended && current_) {
      empty_.push_front(std::move(*current_));
      current_.reset();
    }
    if (error && error->code == Errc::timed_out) {
      error_ = stalled(options_.stall_timeout_ns);
    } else if (error) {
      error_ = error;
    }
    state_ = ended ? State::ended : State::stopped;
    // Under the lock: whoever sees the new state may destroy the grabber.
    tell();
  }
}

}  // namespace holdfast::capture
