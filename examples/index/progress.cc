#include "progress.h"

#include <unistd.h>

#include <cstdio>

#include "resident.h"

namespace {
double mib(std::uint64_t bytes) { return static_cast<double>(bytes) / (1 << 20); }
}  // namespace

Progress::Progress() : terminal_(isatty(STDOUT_FILENO) == 1) {}

bool Progress::due() {
  const auto pause = terminal_ ? std::chrono::milliseconds(500) : std::chrono::seconds(5);
  return Clock::now() - last_ >= pause;
}

void Progress::show(std::uint64_t documents, std::uint64_t postings, std::uint64_t index_bytes,
                    std::uint64_t faults) {
  const auto now = Clock::now();
  const double passed = std::chrono::duration<double>(now - last_).count();
  const double rate = passed > 0 ? static_cast<double>(faults - last_faults_) / passed : 0;
  last_ = now;
  last_faults_ = faults;
  shown_ = terminal_;
  std::printf(
      "%s%8.1f s  %llu documents, %.2f M postings, index %.1f MiB, resident %.1f MiB, "
      "%.0f faults/s%s",
      terminal_ ? "\r\033[K" : "", seconds(), static_cast<unsigned long long>(documents),
      static_cast<double>(postings) / 1e6, mib(index_bytes), mib(resident_bytes()), rate,
      terminal_ ? "" : "\n");
  std::fflush(stdout);
}

void Progress::finish() {
  if (shown_) std::printf("\n");
  shown_ = false;
}

double Progress::seconds() const {
  return std::chrono::duration<double>(Clock::now() - start_).count();
}
