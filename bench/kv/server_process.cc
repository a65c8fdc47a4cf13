#include "kv/server_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

namespace holdfast::bench {
namespace {

constexpr std::chrono::milliseconds kBetweenTries(20);
constexpr int kTriesMost = 500;  // ten seconds

struct Program {
  std::string path;
  std::vector<std::string> arguments;  // its name first
};

std::string find_in_path(const std::string& name) {
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "/usr/bin:/bin" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string candidate = folder + "/" + name;
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return {};
}

Result<Program> kv_program(const ServerSettings& settings, const std::string& socket) {
  const auto self = std::filesystem::read_symlink("/proc/self/exe");
  const std::string path = (self.parent_path() / "kv").string();
  if (access(path.c_str(), X_OK) != 0) return failure(path + " is not there: build it first");
  return Program{path,
                 {"kv", "--unixsocket", socket, "--dir", settings.directory, "--memory",
                  std::to_string(settings.memory), "--swap-dir", settings.directory}};
}

// redis-check-rdb (Debian: redis-tools) is the same program as redis-server (Debian: redis-server,
// which would start a service) and behaves as its name says.
Result<Program> redis_program(const ServerSettings& settings, const std::string& socket) {
  std::string path = find_in_path("redis-server");
  if (path.empty()) path = find_in_path("redis-check-rdb");
  if (path.empty()) return skip("redis-server is not installed (Debian: redis-tools)");
  return Program{path,
                 {"redis-server", "--port", "0", "--unixsocket", socket, "--dir",
                  settings.directory, "--save", "", "--appendonly", "no", "--rdbcompression", "yes",
                  "--daemonize", "no", "--logfile", settings.directory + "/log"}};
}

[[noreturn]] void become(Program& program, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  const int null = open("/dev/null", O_RDWR);
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
  std::vector<char*> words;
  for (auto& argument : program.arguments) words.push_back(argument.data());
  words.push_back(nullptr);
  execv(program.path.c_str(), words.data());
  _exit(127);
}

}  // namespace

Result<std::unique_ptr<ServerProcess>> ServerProcess::start(const ServerSettings& settings) {
  const std::string socket = settings.directory + "/socket";
  auto program = settings.kind == ServerKind::kv ? kv_program(settings, socket)
                                                 : redis_program(settings, socket);
  if (!program) return std::unexpected(program.error());
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(*program, parent);
  if (pid < 0) return system_trouble("fork");
  std::unique_ptr<ServerProcess> started(new ServerProcess(socket, pid));
  if (auto ready = started->wait_until_ready(); !ready) return std::unexpected(ready.error());
  return started;
}

ServerProcess::~ServerProcess() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

Result<void> ServerProcess::wait_until_ready() {
  for (int tries = 0; tries < kTriesMost; ++tries) {
    int status = 0;
    if (waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      return failure(fmt::format("the server ended at once (wait status {:#x})", status));
    }
    if (auto client = ControlClient::connect(socket_path_)) {
      if (auto answer = (*client)->ask("PING"); answer && *answer == "PONG") {
        control_ = std::move(*client);
        return {};
      }
    }
    std::this_thread::sleep_for(kBetweenTries);
  }
  return failure("the server does not answer");
}

}  // namespace holdfast::bench
