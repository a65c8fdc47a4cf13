#include "run/program.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "run/process_files.h"
#include "run/remote_memory.h"

namespace holdfast::run {
namespace {

constexpr int kExecFailed = 127;
constexpr const char* kShimName = "libholdfast_run.so";

std::string directory_of_self() {
  std::string path = program_of(::getpid());
  path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  return path;
}

// The environment with the shim in front of what is preloaded anyway.
std::vector<std::string> environment_with(const std::string& shim, const std::string& pager) {
  const std::string preload = "LD_PRELOAD=";
  const std::string name = pager.substr(0, pager.find('=') + 1);
  std::vector<std::string> all;
  std::string preloaded = preload + shim;
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string variable = *each;
    if (variable.starts_with(name)) continue;
    if (!variable.starts_with(preload)) {
      all.push_back(variable);
    } else if (variable.find(kShimName) == std::string::npos) {
      preloaded += ":" + variable.substr(preload.size());
    }
  }
  all.push_back(preloaded);
  all.push_back(pager);
  return all;
}

std::vector<char*> pointers(const std::vector<std::string>& strings) {
  std::vector<char*> all;
  for (const std::string& each : strings) all.push_back(const_cast<char*>(each.c_str()));
  all.push_back(nullptr);
  return all;
}

}  // namespace

std::string find_shim(const std::string& asked) {
  if (!asked.empty()) return asked;
  const std::string here = directory_of_self();
  for (const std::string& folder : {here, here + "/../lib/holdfast", here + "/../lib"}) {
    const std::string path = folder + "/" + kShimName;
    if (::access(path.c_str(), R_OK) == 0) return path;
  }
  return {};
}

int start_program(const std::vector<std::string>& command, const std::string& shim,
                  const std::string& pager) {
  std::array<int, 2> report{-1, -1};
  if (::pipe2(report.data(), O_CLOEXEC) != 0) return -errno;
  const std::vector<std::string> environment = environment_with(shim, pager);
  const std::vector<char*> variables = pointers(environment);
  const std::vector<char*> arguments = pointers(command);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::execvpe(arguments[0], arguments.data(), variables.data());
    const int error = errno;
    [[maybe_unused]] const ssize_t written = ::write(report[1], &error, sizeof error);
    ::_exit(kExecFailed);
  }
  const int fork_error = errno;
  ::close(report[1]);
  int error = 0;
  const bool failed = pid > 0 && ::read(report[0], &error, sizeof error) == sizeof error;
  ::close(report[0]);
  if (pid < 0) return -fork_error;
  if (!failed) return pid;
  ::waitpid(pid, nullptr, 0);
  return -error;
}

int fix_addresses() {
  constexpr unsigned long kAsk = 0xffffffff;
  const int now = ::personality(kAsk);
  if (now < 0) return errno;
  return ::personality(static_cast<unsigned long>(now) | ADDR_NO_RANDOMIZE) < 0 ? errno : 0;
}

int open_userfault(int& descriptor) {
  constexpr unsigned long kUserfaultNew = _IO(0xAA, 0x00);
  const int device = ::open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
  if (device >= 0) {
    descriptor = ::ioctl(device, kUserfaultNew, O_CLOEXEC | O_NONBLOCK);
    ::close(device);
  } else {
    descriptor = static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
  }
  return descriptor < 0 ? errno : 0;
}

int userfault_refusal() {
  int descriptor = -1;
  if (const int error = open_userfault(descriptor); error != 0) return error;
  RemoteMemory memory(descriptor);
  return memory.agree();
}

void kill_descendants() {
  for (;;) {
    for (const int pid : descendants(::getpid())) ::kill(pid, SIGKILL);
    const pid_t gone = ::waitpid(-1, nullptr, WNOHANG);
    if (gone < 0 && errno == ECHILD) return;
    if (gone == 0) ::usleep(1000);
  }
}

}  // namespace holdfast::run
