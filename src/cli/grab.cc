#include "cli/grab.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>

#include "cli/size.h"

namespace holdfast::cli {
namespace {

constexpr int kFailed = 1;
constexpr int kUsage = 2;
constexpr std::uint64_t kRingMost = 1ULL << 46;  // Engine::map_anonymous

std::atomic<int> times_interrupted{0};
static_assert(std::atomic<int>::is_always_lock_free, "a signal handler counts in it");

void on_interrupt(int) { times_interrupted.fetch_add(1, std::memory_order_relaxed); }

void install_signals() {
  struct sigaction action = {};
  action.sa_handler = on_interrupt;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  action.sa_handler = SIG_IGN;
  sigaction(SIGXFSZ, &action, nullptr);  // a limit on file sizes is a full disk: EFBIG says it
  sigaction(SIGPIPE, &action, nullptr);
}

// "3110400", "3M", or "1920x1080", which is yuv420p.
std::expected<std::uint64_t, std::string> parse_frame(const std::string& text) {
  std::uint64_t width = 0;
  std::uint64_t height = 0;
  int end = 0;
  if (std::sscanf(text.c_str(), "%5lux%5lu%n", &width, &height, &end) == 2 &&
      static_cast<std::size_t>(end) == text.size()) {
    return width * height + 2 * ((width + 1) / 2) * ((height + 1) / 2);
  }
  return parse_size(text, {.least = 1, .most = Capture::kFrameBytesMax});
}

// A clock for rates.
class Progress {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun_).count();
  }
  // One line; rates since the line before.
  std::string line(const RecorderStats& now) {
    const double at = seconds();
    const double since = std::max(at - last_at_, 1e-9);
    const auto per_second = [since](std::uint64_t current, std::uint64_t before) {
      return static_cast<double>(current - before) / since;
    };
    std::string text =
        fmt::format("{:6.1f} s {:7} frames {:7.1f} fps {:8.1f} MB/s  dropped {}  ring {}/{}", at,
                    now.capture.frames, per_second(now.capture.frames, last_.capture.frames),
                    per_second(now.capture.bytes, last_.capture.bytes) / 1e6, now.capture.dropped,
                    now.slots_filled, now.slots);
    if (now.disk_full) text += "  DISK FULL";
    if (now.capture.silent_ns > 1'000'000'000) {
      text += fmt::format("  silent {} s", now.capture.silent_ns / 1'000'000'000);
    }
    last_ = now;
    last_at_ = at;
    return text;
  }

 private:
  std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  RecorderStats last_;
  double last_at_ = 0;
};

std::string summary(const RecorderStats& stats, double seconds, const std::string& out) {
  std::string text =
      fmt::format("grab: {} frames in {} ({} bytes), {:.1f} s, {:.1f} frames/s", stats.written, out,
                  stats.bytes, seconds, static_cast<double>(stats.capture.frames) / seconds);
  text += fmt::format("; {} dropped, {} damaged, {} lost", stats.capture.dropped,
                      stats.capture.damaged, stats.lost);
  return text;
}

}  // namespace

void declare(CLI::App& app, GrabCommand& command) {
  app.add_option("SOURCE", command.source,
                 "a file, FIFO or - (Y4M, or raw with --frame), tcp://HOST:PORT[?listen], "
                 "udp://HOST:PORT (raw), or a video device (/dev/video0)")
      ->required();
  app.add_option("--out", command.out, "the recording: Y4M from Y4M, raw frames from raw ones")
      ->required();
  app.add_option("--ring", command.ring, "frames that may wait for the disk; may exceed --memory")
      ->capture_default_str();
  app.add_option("--memory", command.memory, "what of it is kept resident")->capture_default_str();
  app.add_option("--frame", command.frame,
                 "raw sources: bytes of a frame, or WIDTHxHEIGHT for yuv420p");
  app.add_option("--frames", command.frames, "stop after so many");
  auto* const wait = app.add_flag("--wait", command.wait,
                                  "when the ring is full the source waits (default for files)");
  app.add_flag("--drop", command.drop,
               "when the ring is full frames are dropped and counted (default for others)")
      ->excludes(wait);
  app.add_option("--stall", command.stall_seconds, "give up after so many seconds without a byte")
      ->check(CLI::NonNegativeNumber);
  app.add_flag("--quiet", command.quiet, "no progress on standard error");
}

std::expected<RecorderOptions, std::string> recorder_options(const GrabCommand& command) {
  RecorderOptions options;
  options.source = command.source;
  options.out = command.out;
  options.frames_max = command.frames;
  const auto ring = parse_size(command.ring, {.least = 1, .most = kRingMost});
  if (!ring) return std::unexpected("--ring: " + ring.error());
  options.ring_bytes = *ring;
  const auto memory = parse_size(command.memory, {.least = Engine::kMinimumBudget});
  if (!memory) return std::unexpected("--memory: " + memory.error());
  options.memory_budget = *memory;
  if (!command.frame.empty()) {
    const auto frame = parse_frame(command.frame);
    if (!frame) return std::unexpected("--frame: " + frame.error());
    options.capture.frame_bytes = *frame;
  }
  options.capture.when_full = command.wait   ? WhenFull::wait
                              : command.drop ? WhenFull::drop
                                             : WhenFull::automatic;
  options.capture.stall_timeout_ns = static_cast<std::uint64_t>(command.stall_seconds * 1e9);
  return options;
}

int run(const GrabCommand& command) {
  const auto options = recorder_options(command);
  if (!options) {
    fmt::print(stderr, "holdfast grab: {}\n", options.error());
    return kUsage;
  }
  install_signals();
  auto recorder = Recorder::open(*options);
  if (!recorder) {
    fmt::print(stderr, "holdfast grab: {}\n", recorder.error().message());
    return recorder.error().code == Errc::invalid_argument ? kUsage : kFailed;
  }
  Progress progress;
  const bool terminal = isatty(STDERR_FILENO) == 1;
  const auto tell = [&](const RecorderStats& stats) {
    if (command.quiet) return;
    fmt::print(stderr, "{}{}{}", terminal ? "\r\033[K" : "", progress.line(stats),
               terminal ? "" : "\n");
    std::fflush(stderr);
  };
  const auto recorded =
      (*recorder)->run([] { return times_interrupted.load(std::memory_order_relaxed); }, tell);
  const RecorderStats stats = (*recorder)->stats();
  if (terminal && !command.quiet) fmt::print(stderr, "\n");
  fmt::print("{}\n", summary(stats, progress.seconds(), command.out));
  if (recorded) return 0;
  fmt::print(stderr, "holdfast grab: {}\n", recorded.error().message());
  return kFailed;
}

}  // namespace holdfast::cli
