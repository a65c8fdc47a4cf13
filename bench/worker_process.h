// A child process that does one side's work, one round at a time.
//
// What it is for: both sides of a comparison live at the same time, each in a process of its own
// with clean state; the parent lets them work in turns, and whoever has no turn sleeps in read().
//
// Who owns what: a WorkerProcess owns the child and kills it in its destructor; the Worker lives in
// the child only. The child dies with the parent (PR_SET_PDEATHSIG).
//
//     auto ours = WorkerProcess::start([] { return std::make_unique<EngineMemory>(scene); });
//     (*ours)->prepare();  (*ours)->round(0);  (*ours)->finish();
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "trouble.h"

namespace holdfast::bench {

// One side's work, in the child.
class Worker {
 public:
  virtual ~Worker() = default;
  // Sets up, fills, warms up.
  [[nodiscard]] virtual Result<void> prepare() = 0;
  // One measured interval; its figure. `part`: which loop, where a worker has more than one.
  [[nodiscard]] virtual Result<double> round(unsigned part) = 0;
  // What the side says about its state, for --verbose.
  [[nodiscard]] virtual std::string report() = 0;
};

class WorkerProcess {
 public:
  using Factory = std::function<std::unique_ptr<Worker>()>;

  // Forks. The child does nothing before prepare(), so that it can be put in a cgroup first.
  [[nodiscard]] static Result<std::unique_ptr<WorkerProcess>> start(const Factory& factory);
  ~WorkerProcess();
  WorkerProcess(const WorkerProcess&) = delete;
  WorkerProcess& operator=(const WorkerProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  // What the Worker answers; failed if the child dies, interrupted if a signal comes.
  [[nodiscard]] Result<void> prepare();
  [[nodiscard]] Result<double> round(unsigned part);
  [[nodiscard]] Result<std::string> report();
  // Lets the worker take its things down and leave; failed if it cannot leave cleanly.
  [[nodiscard]] Result<void> finish();

 private:
  struct Reply {
    double figure = 0;
    std::string text;
  };
  WorkerProcess(pid_t pid, int commands, int replies)
      : pid_(pid), commands_(commands), replies_(replies) {}
  Result<Reply> ask(std::uint32_t verb, std::uint32_t part);
  Result<void> receive(void* bytes, std::size_t size);
  Trouble death();

  pid_t pid_;  // -1: reaped
  int commands_;
  int replies_;
};

}  // namespace holdfast::bench
