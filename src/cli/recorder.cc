#include "cli/recorder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

namespace holdfast::cli {
namespace {

constexpr std::uint64_t kPage = 4096;
constexpr std::uint64_t kCaptureShare = 4;  // of the budget: pinned at the capture at most
constexpr std::uint32_t kCaptureSlotsMax = 64;
constexpr std::size_t kWritesMax = 2;  // in flight: one is at the disk while the next is prepared
constexpr std::uint64_t kTurnNs = 50'000'000;  // how long one turn of the loop waits
constexpr std::uint64_t kTryAgainNs = 1'000'000'000;
constexpr std::uint64_t kTellNs = 500'000'000;
constexpr std::uint64_t kSoonNs = 1'000'000;  // a look at what may be there already

std::uint64_t now_ns() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return static_cast<std::uint64_t>(std::chrono::nanoseconds(now).count());
}

std::unexpected<Error> file_error(const char* doing, int error) {
  const Errc code = error == ENOENT                     ? Errc::not_found
                    : error == EACCES || error == EPERM ? Errc::permission
                                                        : Errc::system;
  return fail({.code = code,
               .os_errno = error,
               .doing = doing,
               .remedy = error == ENOSPC ? "make room on the disk" : "check the path of --out"});
}

}  // namespace

Expected<std::unique_ptr<Recorder>> Recorder::open(const RecorderOptions& options) {
  std::unique_ptr<Recorder> recorder(new Recorder(options));
  Options engine;
  engine.memory_budget = options.memory_budget;
  // What of the ring does not fit goes to compressed memory first, and to a file behind it: raw
  // video with noise in it does not compress.
  engine.swap.push_back({.kind = SwapTier::Kind::file});
  auto made = Engine::create(engine);
  if (!made) return std::unexpected(made.error());
  recorder->engine_ = std::move(*made);
  auto aio = Aio::create(*recorder->engine_, {.queue_limit = 8});
  if (!aio) return std::unexpected(aio.error());
  recorder->aio_ = std::move(*aio);
  auto capture = Capture::open(*recorder->engine_, options.source, options.capture);
  if (!capture) return std::unexpected(capture.error());
  recorder->capture_ = std::move(*capture);
  if (auto ring = recorder->make_ring(); !ring) return std::unexpected(ring.error());
  if (auto file = recorder->open_file(); !file) return std::unexpected(file.error());
  return recorder;
}

Recorder::~Recorder() {
  capture_.reset();  // waits for its transfers, unpins
  writes_.clear();
  aio_.reset();  // waits for the writes
  ring_ = Region();
  if (file_ >= 0) ::close(file_);
}

Expected<void> Recorder::make_ring() {
  const std::uint64_t frame = format().frame_bytes;
  slot_bytes_ = (frame + kPage - 1) / kPage * kPage;
  const std::uint64_t at_capture = options_.memory_budget / kCaptureShare / slot_bytes_;
  if (at_capture < 2) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "make the ring",
                 .what = "bytes of a frame",
                 .value = frame,
                 .limit = options_.memory_budget / kCaptureShare / 2,
                 .remedy = "give more --memory: eight frames at least"});
  }
  const std::uint64_t slots = std::min<std::uint64_t>(options_.ring_bytes / slot_bytes_, 1U << 20);
  if (slots < 2) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "make the ring",
                 .what = "bytes of the ring",
                 .value = options_.ring_bytes,
                 .limit = 2 * slot_bytes_,
                 .remedy = "give more --ring: two frames at least"});
  }
  capture_slots_ =
      static_cast<std::uint32_t>(std::min<std::uint64_t>({at_capture, slots, kCaptureSlotsMax}));
  auto ring = engine_->map_anonymous(slots * slot_bytes_);
  if (!ring) return std::unexpected(ring.error());
  ring_ = std::move(*ring);
  slots_ = static_cast<std::uint32_t>(slots);
  for (std::uint32_t slot = 0; slot < slots_; ++slot) free_.push_back(slot);
  return {};
}

Expected<void> Recorder::open_file() {
  if (!format().y4m_header.empty()) {
    file_header_ = format().y4m_header + "\n";
    frame_line_ = "FRAME\n";
  }
  file_ = ::open(options_.out.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) return file_error("open the recording", errno);
  struct stat status = {};
  if (fstat(file_, &status) != 0) return file_error("open the recording", errno);
  file_is_regular_ = S_ISREG(status.st_mode);
  if (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)) {
    return file_error("open the recording", ESPIPE);
  }
  const auto size = static_cast<ssize_t>(file_header_.size());
  if (size > 0 && pwrite(file_, file_header_.data(), file_header_.size(), 0) != size) {
    return file_error("write the recording's header", errno == 0 ? EIO : errno);
  }
  return {};
}

std::uint64_t Recorder::offset_of(std::uint64_t frame) const {
  return file_header_.size() + frame * (frame_line_.size() + format().frame_bytes);
}

// Keeps the capture supplied, with as many slots as may be pinned.
Expected<void> Recorder::feed_capture() {
  while (at_capture_ < capture_slots_ && !free_.empty()) {
    const std::uint32_t slot = free_.front();
    std::byte* const memory = ring_.data() + slot * slot_bytes_;
    auto queued = capture_->queue({memory, slot_bytes_}, slot);
    // Short of frames for the moment: what is at the capture goes on, the rest later.
    if (!queued && at_capture_ > 0) return {};
    if (!queued) return queued;
    free_.pop_front();
    ++at_capture_;
  }
  return {};
}

// Moves one frame from the capture to the ring. False: the source has ended.
Expected<bool> Recorder::take_frame(std::uint64_t timeout_ns) {
  auto frame = capture_->dequeue(timeout_ns);
  if (!frame && frame.error().code == Errc::timed_out &&
      std::string_view(frame.error().what) == "timeout_ns") {
    return true;
  }
  if (!frame) return std::unexpected(frame.error());
  if (!*frame) return false;
  --at_capture_;
  ++taken_;
  filled_.push_back(static_cast<std::uint32_t>((*frame)->cookie));
  return true;
}

bool Recorder::may_write() const { return try_again_ns_ == 0 || now_ns() >= try_again_ns_; }

Expected<void> Recorder::start_writes() {
  while (writes_.size() < kWritesMax && !filled_.empty() && may_write()) {
    const std::uint32_t slot = filled_.front();
    const std::array<Buffer, 2> parts = {
        Buffer(frame_line_.data(), frame_line_.size()),
        Buffer(ring_.data() + slot * slot_bytes_, format().frame_bytes)};
    const std::span<const Buffer> used(parts.data() + (frame_line_.empty() ? 1 : 0),
                                       parts.data() + parts.size());
    auto done = aio_->start(AioRequest::write(file_, used, offset_of(next_frame_)));
    if (!done) return std::unexpected(done.error());
    filled_.pop_front();
    writes_.push_back({.slot = slot, .frame = next_frame_++, .done = std::move(*done)});
    if (try_again_ns_ != 0) return {};  // one to try with
  }
  return {};
}

// Takes the writes that are done, in order; waits for the first one at most that long.
void Recorder::reap_writes(std::uint64_t timeout_ns) {
  while (!writes_.empty()) {
    Write& first = writes_.front();
    auto outcome = first.done.wait(timeout_ns);
    if (!outcome && outcome.error().code == Errc::timed_out) return;
    Write write = std::move(first);
    writes_.pop_front();
    settle(write, outcome);
    timeout_ns = kSoonNs;
    if (!writes_.empty() && !writes_.front().done.ready()) return;
  }
}

// A write that failed puts its frame, and those behind it, back to the head of the ring's queue.
void Recorder::settle(const Write& write, const Expected<std::uint64_t>& outcome) {
  const std::uint64_t wanted = frame_line_.size() + format().frame_bytes;
  if (outcome && *outcome == wanted) {
    written_ = write.frame + 1;
    free_.push_front(write.slot);  // the slot that is most likely still in memory
    try_again_ns_ = 0;
    return;
  }
  write_error_ = outcome ? Error{.code = Errc::system,
                                 .os_errno = ENOSPC,
                                 .doing = "write a frame",
                                 .what = "bytes",
                                 .value = *outcome,
                                 .limit = wanted,
                                 .remedy = "make room on the disk"}
                         : outcome.error();
  std::vector<std::uint32_t> back = {write.slot};
  for (Write& later : writes_) {
    (void)later.done.wait();
    back.push_back(later.slot);
  }
  writes_.clear();
  filled_.insert(filled_.begin(), back.begin(), back.end());
  next_frame_ = write.frame;
  try_again_ns_ = now_ns() + kTryAgainNs;
}

Expected<void> Recorder::record(const std::function<int()>& times_asked,
                                const std::function<void(const RecorderStats&)>& tell) {
  std::uint64_t told = now_ns();
  while (times_asked() == 0) {
    if (auto fed = feed_capture(); !fed) return fed;
    if (auto started = start_writes(); !started) return started;
    // A source that waits loses nothing by the recording's end; one that does not is worth dropping
    // frames for until the disk has room again.
    if (at_capture_ == 0 && try_again_ns_ != 0 && capture_->stats().waits_for_buffer) {
      return fail(write_error_);
    }
    if (at_capture_ == 0 && !writes_.empty()) {
      reap_writes(kTurnNs);  // the ring is full: only the disk can help
    } else {
      reap_writes(kSoonNs / 1000);
      auto more = take_frame(writes_.empty() ? kTurnNs : kTurnNs / 10);
      if (!more) return std::unexpected(more.error());
      if (!*more || (options_.frames_max != 0 && taken_ >= options_.frames_max)) return {};
    }
    if (const std::uint64_t now = now_ns(); now - told >= kTellNs) {
      told = now;
      tell(stats());
    }
  }
  return {};
}

// Everything that was captured goes to the file, as far as the disk takes it.
void Recorder::finish(const std::function<int()>& times_asked) {
  (void)capture_->stream_off();
  for (;;) {  // frames that are there already; then it says that the stream is off, or has ended
    if (options_.frames_max != 0 && taken_ >= options_.frames_max) break;
    const auto more = take_frame(kSoonNs);
    if (!more || !*more) break;
  }
  (void)capture_->close();
  try_again_ns_ = 0;
  while ((!filled_.empty() || !writes_.empty()) && times_asked() < 2) {
    if (!start_writes() || try_again_ns_ != 0) break;  // the disk is full still
    reap_writes(kTurnNs);
  }
  for (Write& write : writes_) (void)write.done.wait();
  writes_.clear();
  if (file_is_regular_) (void)ftruncate(file_, static_cast<off_t>(offset_of(written_)));
}

Expected<void> Recorder::run(const std::function<int()>& times_asked,
                             const std::function<void(const RecorderStats&)>& tell) {
  if (auto fed = feed_capture(); !fed) return fed;
  if (auto on = capture_->stream_on(); !on) return on;
  const Expected<void> recorded = record(times_asked, tell);
  finish(times_asked);
  if (!recorded) return recorded;
  if (!filled_.empty()) return fail(write_error_);
  return {};
}

RecorderStats Recorder::stats() {
  return {.capture = capture_->stats(),
          .written = written_,
          .bytes = offset_of(written_),
          .lost = taken_ - written_,
          .slots = slots_,
          .slots_filled = static_cast<std::uint32_t>(filled_.size() + writes_.size()),
          .disk_full = try_again_ns_ != 0};
}

}  // namespace holdfast::cli
