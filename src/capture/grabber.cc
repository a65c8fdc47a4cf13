#include "capture/grabber.h"

#include <algorithm>
#include <array>
#include <utility>

#include "capture/refusals.h"

namespace holdfast::capture {
namespace {

constexpr std::uint32_t kQueueLimit = 4;           // one transfer, and what is being let go
constexpr std::uint64_t kAskAgainNs = 10'000'000;  // a transfer that is to be cancelled

std::unexpected<Error> bad_option(const char* what, std::uint64_t value, std::uint64_t limit,
                                  const char* remedy) {
  return fail({.code = Errc::invalid_argument,
               .doing = "open a capture",
               .what = what,
               .value = value,
               .limit = limit,
               .remedy = remedy});
}

}  // namespace

Expected<std::unique_ptr<Capture>> create_on(sys::Machine& machine, Engine& engine,
                                             sys::Stream stream, const CaptureOptions& options) {
  return TRY(Grabber::create(machine, engine, std::move(stream), options));
}

Expected<std::unique_ptr<Grabber>> Grabber::create(sys::Machine& machine, Engine& engine,
                                                   sys::Stream stream,
                                                   const CaptureOptions& options) {
  TRY_VOID(sync::check_task_context("open a capture"));
  TRY_VOID(check_options(options));
  std::unique_ptr<Grabber> grabber(new Grabber(machine, engine, std::move(stream), options));
  grabber->aio_ = TRY(aio::create_on(
      machine, engine, {.backend = options.backend, .queue_limit = kQueueLimit, .threads = 1}));
  TRY_VOID(grabber->read_format());
  grabber->waits_when_full_ =
      options.when_full == WhenFull::wait || (options.when_full == WhenFull::automatic &&
                                              grabber->stream_.kind() == sys::StreamKind::file);
  grabber->reader_ = std::make_unique<FrameReader>(grabber->format_, grabber->stream_.kind());
  return grabber;
}

Grabber::~Grabber() {
  const Expected<void> closed = close();
  HF_CHECK(closed.has_value());  // in an interrupt: see Capture::~Capture
}

// Raw: the options say it all. Y4M: the stream's first line does, read byte by byte, as what
// follows is a frame's.
Expected<void> Grabber::read_format() {
  if (options_.frame_bytes > kFrameBytesMax) {
    return bad_option("frame_bytes", options_.frame_bytes, kFrameBytesMax, "give smaller frames");
  }
  format_.frame_bytes = options_.frame_bytes;
  if (options_.frame_bytes > 0) return {};
  if (stream_.kind() == sys::StreamKind::datagrams) {
    return bad_option("frame_bytes", 0, 0, "datagrams are raw: say how large a frame is");
  }
  const std::uint64_t deadline = machine_.now_ns() + options_.open_timeout_ns;
  std::array<char, kY4mLineMax> line;
  std::size_t length = 0;
  while (length == 0 || line[length - 1] != '\n') {
    // As many as any header has, to begin with; then one by one.
    const std::size_t wanted = length == 0 ? kY4mMagic.size() : 1;
    const bool is_other =
        length == kY4mMagic.size() && std::string_view(line.data(), length) != kY4mMagic;
    const std::uint64_t got =
        length + wanted > line.size() || is_other
            ? 0
            : TRY(read_now(std::span(line).subspan(length, wanted), deadline));
    if (got < wanted) {
      return bad_option("frame_bytes", 0, 0, "it is no Y4M: say how large a raw frame is");
    }
    length += got;
  }
  format_ = TRY(parse_y4m_header(std::string_view(line.data(), length - 1)));
  if (format_.frame_bytes > kFrameBytesMax) {
    return bad_option("frame_bytes", format_.frame_bytes, kFrameBytesMax, "give smaller frames");
  }
  return {};
}

// Fills `to`; fewer bytes: the stream ended.
Expected<std::uint64_t> Grabber::read_now(std::span<char> to, std::uint64_t deadline_ns) {
  std::uint64_t done = 0;
  while (done < to.size()) {
    const std::uint64_t now = machine_.now_ns();
    const Buffer rest(to.data() + done, to.size() - done);
    AioRequest request = AioRequest::read(stream_.fd(), {&rest, 1});
    request.timeout_ns = deadline_ns > now ? deadline_ns - now : 1;
    AioFuture future = TRY(aio_->start(request));
    const std::uint64_t got = TRY(future.wait());
    if (got == 0) break;
    done += got;
  }
  return done;
}

Expected<void> Grabber::queue(std::span<std::byte> buffer, std::uint64_t cookie) {
  TRY_VOID(sync::check_task_context("queue a buffer"));
  buffer = TRY(whole_frame(buffer, format_));
  Loan loan{.memory = buffer, .cookie = cookie, .pin = {}};
  if (engine_.owns(buffer.data())) {
    loan.pin = TRY(engine_.pin(buffer.data(), buffer.size(), Access::write, options_.account));
  }
  std::coroutine_handle<> pump;
  {
    sync::MutexGuard guard(mutex_);
    const std::uint64_t there = empty_.size() + filled_.size();
    if (closed_) return fail(capture_is_closed("queue a buffer"));
    if (there >= options_.buffers_max) return fail(too_many_queued(there, options_.buffers_max));
    empty_.push_back(std::move(loan));
    pump = std::exchange(waiting_, {});
  }
  wake_pump(pump);
  return {};
}

Expected<std::optional<CapturedFrame>> Grabber::dequeue(std::uint64_t timeout_ns) {
  TRY_VOID(sync::check_task_context("dequeue a frame"));
  const std::uint64_t begun = machine_.now_ns();
  for (;;) {
    const std::uint32_t seen = events_.load(std::memory_order_acquire);
    {
      std::optional<Filled> filled;  // unpins after the lock is gone
      sync::MutexGuard guard(mutex_);
      if (!filled_.empty()) {
        filled = std::move(filled_.front());
        filled_.pop_front();
        return filled->frame;
      }
      if (state_ == State::ended && error_) return fail(*error_);
      if (state_ == State::ended) return std::nullopt;
      if (state_ == State::stopped) {
        return fail(closed_ ? capture_is_closed("dequeue a frame") : stream_is_off());
      }
    }
    const std::uint64_t waited = machine_.now_ns() - begun;
    if (timeout_ns != 0 && waited >= timeout_ns) {
      return fail(dequeue_timed_out(waited, timeout_ns));
    }
    sync::parking().wait(events_, seen, timeout_ns == 0 ? 0 : timeout_ns - waited);
  }
}

Expected<void> Grabber::stream_on() {
  TRY_VOID(sync::check_task_context("start a stream"));
  {
    sync::MutexGuard guard(mutex_);
    if (closed_) return fail(capture_is_closed("start a stream"));
    if (state_ == State::stopping) {
      return fail({.code = Errc::busy,
                   .doing = "start a stream",
                   .what = "it is being stopped",
                   .remedy = "wait for that"});
    }
    if (state_ != State::stopped) return {};
    state_ = State::streaming;
    last_byte_ns_ = machine_.now_ns();
  }
  pump();
  return {};
}

Expected<void> Grabber::stream_off() {
  TRY_VOID(sync::check_task_context("stop a stream"));
  stop();
  return {};
}

Expected<void> Grabber::close() {
  TRY_VOID(sync::check_task_context("close a capture"));
  {
    sync::MutexGuard guard(mutex_);
    closed_ = true;
  }
  stop();
  if (aio_ != nullptr) (void)aio_->wait_idle();
  // Nothing is in flight: now, in task context, the buffers are let go of.
  std::deque<Loan> empty;
  std::deque<Filled> filled;
  {
    sync::MutexGuard guard(mutex_);
    empty.swap(empty_);
    filled.swap(filled_);
  }
  current_.reset();
  stream_.close();
  return {};
}

CaptureStats Grabber::stats() {
  sync::MutexGuard guard(mutex_);
  CaptureStats now = stats_;
  now.queued = empty_.size();
  now.filled = filled_.size();
  now.ended = state_ == State::ended;
  now.waits_for_buffer = state_ == State::streaming && waiting_;
  now.in_flight = (state_ == State::streaming || state_ == State::stopping) && !waiting_;
  now.silent_ns = now.in_flight ? machine_.now_ns() - last_byte_ns_ : 0;
  return now;
}

// Asks the pump to stop and waits until it has: grace for the transfer in flight, then a cancel. A
// transfer that cannot be cancelled is waited for, however long it takes: its memory is not ours to
// give back before.
void Grabber::stop() noexcept {
  std::coroutine_handle<> pump;
  {
    sync::MutexGuard guard(mutex_);
    if (state_ == State::streaming) state_ = State::stopping;
    pump = std::exchange(waiting_, {});
  }
  wake_pump(pump);
  const std::uint64_t grace_ends = machine_.now_ns() + options_.close_grace_ns;
  for (;;) {
    const std::uint32_t seen = events_.load(std::memory_order_acquire);
    {
      sync::MutexGuard guard(mutex_);
      if (state_ != State::stopping) return;
    }
    const std::uint64_t now = machine_.now_ns();
    // Again and again: the pump may be about to submit the transfer that this is to cancel.
    if (now >= grace_ends) aio_->cancel_all();
    sync::parking().wait(events_, seen, now < grace_ends ? grace_ends - now : kAskAgainNs);
  }
}

void Grabber::wake_pump(std::coroutine_handle<> pump) noexcept {
  if (pump) pump.resume();
}

void Grabber::tell() noexcept {
  events_.fetch_add(1, std::memory_order_release);
  sync::parking().wake(events_, sync::kWakeAll);
}

}  // namespace holdfast::capture
