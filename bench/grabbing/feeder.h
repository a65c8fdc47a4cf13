// A process that writes raw frames into a pipe as fast as they are taken, and says how fast that
// was: the instrument of both sides.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "trouble.h"

namespace holdfast::bench {

inline constexpr std::uint64_t kFrameWidth = 1920;
inline constexpr std::uint64_t kFrameHeight = 1080;
inline constexpr std::uint64_t kFrameBytes = kFrameWidth * kFrameHeight * 3 / 2;  // yuv420p

class Feeder {
 public:
  // Forks. Frame `i` begins with the 64-bit number i; the rest is noise.
  [[nodiscard]] static Result<std::unique_ptr<Feeder>> start(std::uint64_t frames);
  ~Feeder();
  Feeder(const Feeder&) = delete;
  Feeder& operator=(const Feeder&) = delete;

  // The reading end of the pipe (1 MiB); the caller's to close.
  [[nodiscard]] int take_output();
  // Frames a second, from the moment in which the first one had been taken: whoever reads has
  // started by then. Waits for the end.
  [[nodiscard]] Result<double> rate();

 private:
  Feeder(pid_t pid, int output, int report) : pid_(pid), output_(output), report_(report) {}

  pid_t pid_;
  int output_;
  int report_;
};

}  // namespace holdfast::bench
