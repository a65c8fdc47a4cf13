#include "sys/cpu_follower.h"

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <array>
#include <cstring>

namespace holdfast::sys {
namespace {

constexpr int kProcessorField = 39;  // of /proc/<pid>/stat, proc_pid_stat(5)
constexpr int kNameField = 2;        // "(name)", which may itself hold blanks and brackets

// Appends the decimal digits of `value` and returns the new end.
char* append_number(char* end, unsigned value) noexcept {
  if (value >= 10) end = append_number(end, value / 10);
  *end = static_cast<char>('0' + value % 10);
  return end + 1;
}

char* append_text(char* end, const char* text) noexcept {
  const std::size_t length = std::strlen(text);
  std::memcpy(end, text, length + 1);
  return end + length;
}

}  // namespace

CpuFollower::~CpuFollower() {
  if (stat_fd_ >= 0) ::close(stat_fd_);
}

void CpuFollower::follow(int thread_id) noexcept {
  ++faults_;
  const bool stranger = thread_id != thread_id_;
  const bool first = thread_id_ == 0;
  if (!first && faults_ < (stranger ? kFaultsBeforeStranger : kFaultsBetweenLooks)) return;
  faults_ = 0;
  if (stranger) open_stat(thread_id);
  const int cpu = look();
  if (cpu < 0 || cpu == cpu_) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(cpu), &set);
  // Refused where the CPU is not ours (a cpuset changed): we stay where we are and lose only time.
  if (::sched_setaffinity(0, sizeof(set), &set) == 0) cpu_ = cpu;
}

void CpuFollower::open_stat(int thread_id) noexcept {
  if (stat_fd_ >= 0) ::close(stat_fd_);
  char path[64];
  char* end = append_text(path, whose_ == Whose::own_process ? "/proc/self/task/" : "/proc/");
  end = append_number(end, static_cast<unsigned>(thread_id));
  append_text(end, "/stat");
  stat_fd_ = ::open(path, O_RDONLY | O_CLOEXEC);
  thread_id_ = thread_id;
}

int CpuFollower::look() const noexcept {
  if (stat_fd_ < 0) return -1;
  std::array<char, 1024> text;
  const ssize_t length = ::pread(stat_fd_, text.data(), text.size() - 1, 0);
  if (length <= 0) return -1;
  text[static_cast<std::size_t>(length)] = '\0';
  const int cpu = cpu_in_stat(text.data());
  return cpu < CPU_SETSIZE ? cpu : -1;
}

int CpuFollower::cpu_in_stat(const char* text) noexcept {
  const char* at = std::strrchr(text, ')');
  for (int field = kNameField; field < kProcessorField; ++field) {
    if (at == nullptr) return -1;
    at = std::strchr(at, ' ');
    if (at != nullptr) ++at;
  }
  if (at == nullptr || *at < '0' || *at > '9') return -1;
  int cpu = 0;
  for (; *at >= '0' && *at <= '9' && cpu < 1 << 20; ++at) cpu = cpu * 10 + (*at - '0');
  return cpu;
}

}  // namespace holdfast::sys
