// `holdfast grab SOURCE --ring 256M --out FILE`: records a stream of raw frames.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "cli/recorder.h"

namespace holdfast::cli {

// The command line, as it was written.
struct GrabCommand {
  std::string source;
  std::string out;
  std::string ring = "256M";
  std::string memory = "64M";
  std::string frame;         // bytes of a raw frame, or WIDTHxHEIGHT of yuv420p
  std::uint64_t frames = 0;  // 0: until the source ends
  bool wait = false;
  bool drop = false;
  double stall_seconds = 0;
  bool quiet = false;
};

void declare(CLI::App& app, GrabCommand& command);

// What the options say, or what is wrong with them, for the user.
[[nodiscard]] std::expected<RecorderOptions, std::string> recorder_options(
    const GrabCommand& command);

// Records; progress goes to standard error, the summary to standard output. SIGINT and SIGTERM end
// it with a whole file, a second one without the frames that are still in the ring. Returns the
// exit status: 0, 1 if frames were lost or the source failed, 2 for wrong options.
int run(const GrabCommand& command);

}  // namespace holdfast::cli
