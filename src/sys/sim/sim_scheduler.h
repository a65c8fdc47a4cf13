// The scheduler of the simulated machine: which thread runs, until when, and what time it is.
//
// Threads are fibers on the OS thread that calls run(). A switch can happen at a *scheduling
// point*: every machine call, Parking::wait/wake/relax, and the HF_INTERLEAVE() points inside
// lock-free protocols. The seed decides at which of them, and who comes next. Between two points a
// thread runs alone, so that the machine's own books need no lock.
//
// Waiting: a thread that blocks names what it waits for. When no thread can run and none waits for
// a time, that is a deadlock: run() ends and report() names each thread and what it waits for. More
// steps than the limit is a livelock. The clock advances a little at each step, and jumps to the
// next timer when all threads wait.
//
// After a deadlock or a livelock the fibers that had not finished are abandoned where they stand:
// what they own is leaked, and the machine can only be destroyed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "sync/sync.h"
#include "sys/sim/sim_fiber.h"
#include "sys/sim/sim_options.h"
#include "sys/sim/sim_random.h"
#include "sys/sim/sim_stats.h"
#include "sys/sim/sim_trace.h"

namespace holdfast::sys {

enum class RunOutcome : std::uint8_t { finished, deadlock, livelock };

// Whether the interrupt handler may run on a thread.
enum class Signals : std::uint8_t { allowed, blocked };

// A simulated thread.
class SimThreadState {
 public:
  [[nodiscard]] const char* name() const noexcept { return name_; }
  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
  [[nodiscard]] bool finished() const noexcept { return state_ == State::finished; }

 private:
  friend class SimScheduler;
  enum class State : std::uint8_t { runnable, blocked, finished };

  Fiber fiber_;
  sync::ThreadContext context_;
  std::function<void()> function_;
  char name_[16] = {};
  std::uint32_t id_ = 0;
  State state_ = State::runnable;
  std::uint32_t cpu_ = 0;
  std::uint32_t priority_ = 0;
  int signals_blocked_ = 0;
  bool in_handler_ = false;
  bool timed_out_ = false;
  const char* waits_for_ = nullptr;                   // while blocked: a literal
  std::uint64_t wait_value_ = 0;                      // ... and its number
  const std::atomic<std::uint32_t>* word_ = nullptr;  // ... if a futex: its word
  const SimThreadState* joins_ = nullptr;             // ... if a thread: which
  std::uint64_t deadline_ns_ = 0;                     // ... until when; 0: no limit
};

class SimScheduler final : public sync::Parking {
 public:
  SimScheduler(const SimOptions& options, SimRandom random, SimTrace& trace,
               SimStats& stats) noexcept;
  ~SimScheduler();
  SimScheduler(const SimScheduler&) = delete;
  SimScheduler& operator=(const SimScheduler&) = delete;

  // Makes a thread; it runs from the next scheduling point on (or when run() is called).
  SimThreadState& spawn(const char* name, std::function<void()> function, Signals signals);
  // Runs all threads until they have finished, or cannot. Not from a simulated thread.
  RunOutcome run();
  // What went wrong, with each thread's name and what it waits for; empty after
  // RunOutcome::finished.
  [[nodiscard]] const std::string& report() const noexcept { return report_; }

  // The running thread; null outside run().
  [[nodiscard]] SimThreadState* current() noexcept { return current_; }
  // A scheduling point. Nothing outside run().
  void point() noexcept;
  // The same for HF_INTERLEAVE() points, with its own chance.
  void interleave() noexcept;
  // Blocks the running thread until unblock() or the deadline (ns of simulated time; 0: none).
  // Returns true if it was the deadline. waits_for: a literal for the report.
  bool block(const char* waits_for, std::uint64_t value, std::uint64_t deadline_ns) noexcept;
  void unblock(SimThreadState& thread) noexcept;
  void sleep_ns(std::uint64_t ns) noexcept { block("the clock", ns, now_ns_ + ns); }
  void join(SimThreadState& thread) noexcept;

  // Lets time pass until every other thread waits for something to happen: none can run, and none
  // has a transfer in flight or sleeps. False: they do not come to rest in a simulated minute.
  [[nodiscard]] bool settle() noexcept;

  // While > 0 no interrupt handler runs on the running thread: a fault handler's mask.
  void block_signals() noexcept;
  void unblock_signals() noexcept;
  // What plays the asynchronous signal handler; none by default.
  void set_interrupt_handler(std::function<void()> handler) { handler_ = std::move(handler); }

  [[nodiscard]] std::uint64_t now_ns() noexcept { return now_ns_ += 20; }
  [[nodiscard]] std::uint32_t current_cpu() noexcept;
  void note(SimEvent event, std::uint64_t a, std::uint64_t b) noexcept {
    trace_.add(event, current_ ? current_->id_ : 0, a, b);
  }

  // sync::Parking
  void wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
            std::uint64_t timeout_ns) noexcept override;
  void wake(const std::atomic<std::uint32_t>& word, std::uint32_t count) noexcept override;
  void relax() noexcept override;

 private:
  static void run_thread(void* thread);
  void step(std::uint32_t switch_per_1024) noexcept;
  void maybe_interrupt() noexcept;
  void reschedule(SimThreadState* avoid) noexcept;
  void expire_timers() noexcept;
  void skip_to_timer() noexcept;
  SimThreadState* pick(SimThreadState* avoid) noexcept;
  SimThreadState* choose(SimThreadState* avoid) noexcept;
  void switch_to(SimThreadState& next) noexcept;
  void finish_current() noexcept;
  void stop(RunOutcome outcome) noexcept;  // back to run(), for good
  void reap() noexcept;
  void write_report(const char* headline);

  const SimOptions options_;
  SimRandom random_;
  SimTrace& trace_;
  SimStats& stats_;
  std::function<void()> handler_;
  std::vector<std::unique_ptr<SimThreadState>> threads_;  // all there ever were
  std::vector<SimThreadState*> live_;                     // not finished, in order of starting
  std::vector<SimThreadState*> runnable_;                 // scratch of choose()
  Fiber root_;                                            // the OS thread's own stack, in run()
  SimThreadState* current_ = nullptr;
  SimThreadState* finished_ = nullptr;  // whose stack may go once another runs
  std::uint32_t timers_ = 0;            // blocked threads that have a deadline
  std::uint32_t run_length_ = 0;        // points since the last switch
  std::uint32_t starved_ = 0;           // id of the thread that SchedulePolicy::starve starves
  std::uint64_t now_ns_ = 1'000'000'000;
  RunOutcome outcome_ = RunOutcome::finished;
  bool running_ = false;
  bool dead_ = false;  // stopped: cannot run again
  std::string report_;
};

}  // namespace holdfast::sys
