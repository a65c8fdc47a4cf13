// capture/rate: 1080p raw from a pipe into the ring, against ffmpeg copying pipe to file.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "capture/capture.h"
#include "comparison.h"
#include "grabbing/feeder.h"
#include "holdfast/holdfast.h"
#include "paging/engine_side.h"

namespace holdfast::bench {
namespace {

constexpr std::uint64_t kFrames = 300;
constexpr std::uint64_t kBudget = 64ull << 20;
constexpr std::uint64_t kRing = 256ull << 20;
constexpr std::uint64_t kSlot = (kFrameBytes + kPageBytes - 1) / kPageBytes * kPageBytes;
constexpr std::uint64_t kAtCapture = 4;  // buffers queued: a quarter of the budget at most
// In memory, so that no disk is measured.
constexpr const char* kCopy = "/dev/shm/holdfast-bench-capture.raw";

enum Part : unsigned {
  kWholeRing,  // buffers are taken from the ring in turn: what was filled leaves memory
  kHotSlots,   // the buffer that was filled last is the next to be filled
};

class IntoRing final : public Worker {
 public:
  explicit IntoRing(std::uint64_t frames) : frames_(frames) {}

  Result<void> prepare() override {
    Options options;  // as `holdfast grab` makes it
    options.memory_budget = kBudget;
    options.swap.push_back({.kind = SwapTier::Kind::file});
    auto engine = Engine::create(options);
    if (!engine) return engine_trouble(engine.error());
    engine_ = std::move(*engine);
    auto ring = engine_->map_anonymous(kRing);
    if (!ring) return engine_trouble(ring.error());
    ring_ = std::move(*ring);
    return {};
  }

  Result<double> round(unsigned part) override {
    auto feeder = Feeder::start(frames_);
    if (!feeder) return std::unexpected(feeder.error());
    CaptureOptions options;
    options.frame_bytes = kFrameBytes;
    options.when_full = WhenFull::wait;
    auto capture =
        capture::create_on(sys::real_machine(), *engine_,
                           sys::Stream((*feeder)->take_output(), sys::StreamKind::live), options);
    if (!capture) return engine_trouble(capture.error());
    if (auto all = grab(**capture, part); !all) return std::unexpected(all.error());
    return (*feeder)->rate();
  }
  std::string report() override { return "ours: " + engine_->stats().to_string(); }

 private:
  Result<void> grab(Capture& capture, unsigned part) {
    const std::uint64_t slots = part == kHotSlots ? kAtCapture : kRing / kSlot;
    const auto queue = [&](std::uint64_t i) {
      return capture.queue({ring_.data() + i % slots * kSlot, kSlot}, i);
    };
    for (std::uint64_t i = 0; i < kAtCapture; ++i) {
      if (auto queued = queue(i); !queued) return engine_trouble(queued.error());
    }
    if (auto on = capture.stream_on(); !on) return engine_trouble(on.error());
    for (std::uint64_t i = 0; i < frames_; ++i) {
      const auto frame = capture.dequeue();
      if (!frame) return engine_trouble(frame.error());
      if (!*frame) return failure("the stream ended too early");
      std::uint64_t number = 0;
      std::memcpy(&number, (*frame)->data.data(), sizeof number);
      if (number != i) return failure(fmt::format("frame {} came as frame {}", number, i));
      if (auto queued = queue(i + kAtCapture); !queued) return engine_trouble(queued.error());
    }
    return {};
  }

  std::uint64_t frames_;
  std::unique_ptr<Engine> engine_;
  Region ring_;
};

class Ffmpeg final : public Worker {
 public:
  explicit Ffmpeg(std::uint64_t frames) : frames_(frames) {}
  ~Ffmpeg() override { unlink(kCopy); }

  Result<void> prepare() override {
    if (std::system("ffmpeg -version >/dev/null 2>&1") != 0) {
      return skip("no ffmpeg (Debian package ffmpeg)");
    }
    return {};
  }
  Result<double> round(unsigned) override {
    auto feeder = Feeder::start(frames_);
    if (!feeder) return std::unexpected(feeder.error());
    const int input = (*feeder)->take_output();
    const pid_t child = fork();
    if (child < 0) return system_trouble("fork");
    if (child == 0) {
      dup2(input, STDIN_FILENO);
      execlp("ffmpeg", "ffmpeg", "-nostdin", "-v", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p",
             "-s", "1920x1080", "-i", "pipe:0", "-c", "copy", "-f", "rawvideo", "-y", kCopy,
             nullptr);
      _exit(127);
    }
    close(input);
    int status = 0;
    waitpid(child, &status, 0);
    struct stat copy = {};
    if (status != 0 || stat(kCopy, &copy) != 0 ||
        copy.st_size != static_cast<off_t>(frames_ * kFrameBytes)) {
      return failure("ffmpeg did not copy every frame");
    }
    unlink(kCopy);
    return (*feeder)->rate();
  }
  std::string report() override { return "ffmpeg: -c copy from a pipe to a file in memory"; }

 private:
  std::uint64_t frames_;
};

Result<Outcome> compare(const Run& run) {
  const std::uint64_t frames = run.scaled(kFrames);
  return compare_sides(
      run, {.unit = "frames/s", .better = Better::more},
      [=] { return std::make_unique<IntoRing>(frames); },
      [=] { return std::make_unique<Ffmpeg>(frames); },
      {{kHotSlots}, {kWholeRing, "capture/rate in turn through a ring of four budgets"}});
}

}  // namespace

void add_capture(Registry& registry) {
  registry.push_back(
      {"capture/rate", 1,
       "1080p raw frames from a pipe into the ring; peer: ffmpeg copying pipe to file", compare});
}

}  // namespace holdfast::bench
