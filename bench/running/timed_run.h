// A whole program, from its start to its end: how long it took, how it ended, a hash of what it
// printed.
//
// What it is for: both sides of run/* are programs that know nothing of being measured. Input and
// output are pipes and files of this process, so that no page cache is charged to the program.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/base.h"
#include "trouble.h"

namespace holdfast::bench {

// A file in memory: a program's standard input, or what it has to say.
class MemoryFile {
 public:
  [[nodiscard]] static Result<std::shared_ptr<MemoryFile>> create(const char* name);
  ~MemoryFile();
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  [[nodiscard]] int descriptor() const { return descriptor_; }
  [[nodiscard]] Result<void> append(const void* bytes, std::size_t size) const;
  // The last `most` bytes.
  [[nodiscard]] std::string tail(std::size_t most) const;

 private:
  explicit MemoryFile(int descriptor) : descriptor_(descriptor) {}

  int descriptor_;
};

struct ProgramCommand {
  std::vector<std::string> words = {};     // the program, found by PATH, and its arguments
  std::shared_ptr<MemoryFile> input = {};  // null: nothing is to be read
};

struct TimedRun {
  double seconds = 0;
  int status = 0;  // as of waitpid()
  base::Hash128 hash;
  std::uint64_t output_bytes = 0;
  std::string last_words;  // the end of standard error

  [[nodiscard]] bool succeeded() const { return status == 0; }
  // "exit status 3: what it said", "killed by signal 9"
  [[nodiscard]] std::string ending() const;
};

// Called with the process before it becomes the program and before the clock starts.
using Admit = std::function<Result<void>(pid_t)>;

// Runs it. Trouble where it cannot be run at all, or on SIGINT and the like; the program is then
// ended. How it ends by itself is told by the status.
[[nodiscard]] Result<TimedRun> run_timed(const ProgramCommand& command, const Admit& admit = {});

}  // namespace holdfast::bench
