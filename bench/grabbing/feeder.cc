#include "grabbing/feeder.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr int kPipeBytes = 1 << 20;

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = write(fd, bytes.data(), bytes.size());
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

// In the child: nothing that a fork of a process with threads forbids.
[[noreturn]] void feed(int output, int report, std::span<std::byte> frame, std::uint64_t frames) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  double begun = 0;
  for (std::uint64_t i = 0; i < frames; ++i) {
    std::memcpy(frame.data(), &i, sizeof i);
    if (!write_all(output, frame)) _exit(1);
    if (i == 0) begun = now_seconds();
  }
  const double rate = static_cast<double>(frames - 1) / (now_seconds() - begun);
  _exit(write(report, &rate, sizeof rate) == sizeof rate ? 0 : 1);
}

}  // namespace

Result<std::unique_ptr<Feeder>> Feeder::start(std::uint64_t frames) {
  static std::vector<std::byte> frame = [] {
    std::vector<std::byte> noise(kFrameBytes);
    Random random(kFrameBytes);
    for (std::size_t i = 0; i + 8 <= noise.size(); i += 8) {
      const std::uint64_t word = random.next();
      std::memcpy(&noise[i], &word, sizeof word);
    }
    return noise;
  }();
  int output[2] = {-1, -1};
  int report[2] = {-1, -1};
  if (pipe2(output, O_CLOEXEC) != 0 || pipe2(report, O_CLOEXEC) != 0) return system_trouble("pipe");
  (void)fcntl(output[1], F_SETPIPE_SZ, kPipeBytes);
  const pid_t pid = fork();
  if (pid < 0) return system_trouble("fork");
  if (pid == 0) {
    close(output[0]);
    close(report[0]);
    feed(output[1], report[1], frame, frames);
  }
  close(output[1]);
  close(report[1]);
  return std::unique_ptr<Feeder>(new Feeder(pid, output[0], report[0]));
}

Feeder::~Feeder() {
  if (output_ >= 0) close(output_);
  close(report_);
  if (pid_ < 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

int Feeder::take_output() { return std::exchange(output_, -1); }

Result<double> Feeder::rate() {
  double rate = 0;
  if (read(report_, &rate, sizeof rate) != sizeof rate) {
    return failure("the frames were not all taken");
  }
  waitpid(std::exchange(pid_, -1), nullptr, 0);
  return rate;
}

}  // namespace holdfast::bench
