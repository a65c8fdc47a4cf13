#include "running/timed_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <utility>

#include "interruption.h"
#include "workload.h"

namespace holdfast::bench {
namespace {

constexpr std::size_t kBlock = 1 << 20;  // of output: hashed at once, and what the pipe holds
constexpr std::size_t kLastWords = 2000;
constexpr int kExitNoProgram = 127;  // as a shell says it

struct Pipe {
  int out = -1;
  int in = -1;
  ~Pipe() { close_all(); }
  void close_end(int& end) {
    if (end >= 0) close(end);
    end = -1;
  }
  void close_all() { close_end(out), close_end(in); }
};

Result<void> open_pipe(Pipe& both) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return system_trouble("pipe");
  both.out = ends[0];
  both.in = ends[1];
  return {};
}

// Hashes a stream by the block, so that how it was cut on its way does not matter.
class StreamHash {
 public:
  StreamHash() : block_(kBlock) {}
  [[nodiscard]] char* room() { return block_.data() + filled_; }
  [[nodiscard]] std::size_t room_bytes() const { return kBlock - filled_; }
  void added(std::size_t bytes) {
    filled_ += bytes;
    total_ += bytes;
    if (filled_ == kBlock) fold();
  }
  base::Hash128 finish() {
    fold();
    return hash_;
  }
  [[nodiscard]] std::uint64_t total() const { return total_; }

 private:
  void fold() {
    const std::array<base::Hash128, 2> chain{hash_, base::hash_bytes(block_.data(), filled_)};
    hash_ = base::hash_bytes(chain.data(), sizeof chain);
    filled_ = 0;
  }

  std::vector<char> block_;
  std::size_t filled_ = 0;
  std::uint64_t total_ = 0;
  base::Hash128 hash_;
};

// A process that is ended if it has not ended by itself.
class Child {
 public:
  explicit Child(pid_t pid) : pid_(pid) {}
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  int wait() {
    int status = 0;
    waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_;
};

struct Streams {
  Pipe gate;  // the child goes on when it is closed
  Pipe output;
  std::shared_ptr<MemoryFile> errors;
};

[[noreturn]] void become(const ProgramCommand& command, const Streams& streams, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  restore_default_signals();
  std::vector<char*> words;
  for (const std::string& word : command.words) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  // A description of its own: the next run begins at the start again.
  const std::string input =
      command.input ? fmt::format("/proc/self/fd/{}", command.input->descriptor()) : "/dev/null";
  const int source = open(input.c_str(), O_RDONLY);
  if (source < 0 || dup2(source, STDIN_FILENO) < 0) _exit(kExitNoProgram);
  if (source > STDERR_FILENO) close(source);
  dup2(streams.output.in, STDOUT_FILENO);
  dup2(streams.errors->descriptor(), STDERR_FILENO);
  close(streams.gate.in);
  char nothing = 0;
  if (read(streams.gate.out, &nothing, 1) != 0) _exit(1);
  execvp(words.front(), words.data());
  dprintf(STDERR_FILENO, "%s: %s", words.front(), std::strerror(errno));
  _exit(kExitNoProgram);
}

Result<void> read_all(int output, StreamHash& hash) {
  for (;;) {
    if (auto ready = wait_readable(output); !ready) return ready;
    const ssize_t got = read(output, hash.room(), hash.room_bytes());
    if (got < 0 && errno != EINTR) return system_trouble("reading a program's output");
    if (got == 0) return {};
    if (got > 0) hash.added(static_cast<std::size_t>(got));
  }
}

}  // namespace

Result<std::shared_ptr<MemoryFile>> MemoryFile::create(const char* name) {
  const int descriptor = memfd_create(name, MFD_CLOEXEC);
  if (descriptor < 0) return system_trouble("memfd_create");
  return std::shared_ptr<MemoryFile>(new MemoryFile(descriptor));
}

MemoryFile::~MemoryFile() { close(descriptor_); }

Result<void> MemoryFile::append(const void* bytes, std::size_t size) const {
  const auto* at = static_cast<const char*>(bytes);
  while (size > 0) {
    const ssize_t put = write(descriptor_, at, size);
    if (put < 0) return system_trouble("writing a file in memory");
    at += put;
    size -= static_cast<std::size_t>(put);
  }
  return {};
}

std::string MemoryFile::tail(std::size_t most) const {
  const off_t end = lseek(descriptor_, 0, SEEK_END);
  std::string text(std::min(most, static_cast<std::size_t>(std::max<off_t>(end, 0))), '\0');
  const ssize_t got = pread(descriptor_, text.data(), text.size(), end - off_t(text.size()));
  text.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return text;
}

std::string TimedRun::ending() const {
  std::string text = WIFSIGNALED(status) ? fmt::format("killed by signal {}", WTERMSIG(status))
                                         : fmt::format("exit status {}", WEXITSTATUS(status));
  if (!last_words.empty()) text += ": " + last_words;
  return text;
}

Result<TimedRun> run_timed(const ProgramCommand& command, const Admit& admit) {
  Streams streams;
  if (auto opened = open_pipe(streams.gate); !opened) return std::unexpected(opened.error());
  if (auto opened = open_pipe(streams.output); !opened) return std::unexpected(opened.error());
  (void)fcntl(streams.output.in, F_SETPIPE_SZ, kBlock);
  auto errors = MemoryFile::create("holdfast-bench-errors");
  if (!errors) return std::unexpected(errors.error());
  streams.errors = *errors;

  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(command, streams, parent);
  if (pid < 0) return system_trouble("fork");
  Child child(pid);
  streams.gate.close_end(streams.gate.out);
  streams.output.close_end(streams.output.in);
  if (admit) {
    if (auto admitted = admit(pid); !admitted) return std::unexpected(admitted.error());
  }
  StreamHash hash;
  const double begun = now_seconds();
  streams.gate.close_end(streams.gate.in);
  if (auto all = read_all(streams.output.out, hash); !all) return std::unexpected(all.error());
  TimedRun run;
  run.status = child.wait();
  run.seconds = now_seconds() - begun;
  run.hash = hash.finish();
  run.output_bytes = hash.total();
  run.last_words = streams.errors->tail(kLastWords);
  return run;
}

}  // namespace holdfast::bench
