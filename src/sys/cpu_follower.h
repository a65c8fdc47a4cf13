// Keeps the fault handler's thread on the CPU of the threads whose faults it serves.
//
// Why: waking a thread on an idle CPU costs an interrupt between CPUs and the wake-up of the idle
// one, twice per fault (the handler, then the faulting thread): about 70 us against 4 us on one CPU
// here (docs/adr/0003-fault-delivery-by-thread.md). On one CPU the switch is a plain one: the
// faulting thread sleeps anyway while it is served.
//
// How: every so many faults the faulting thread's CPU is looked up in /proc (field 39 of its stat;
// 5 to 10 us), and the caller's affinity set to it when it has changed.
//
// Owned by one thread, which alone calls it. No allocation, no stdio. A part of the facade because
// faults are served for other processes too (run/).
#pragma once

#include <cstdint>

namespace holdfast::sys {

class CpuFollower {
 public:
  // own_process: whose threads fault, those of this process or any that /proc shows.
  enum class Whose : std::uint8_t { own_process, any_process };
  explicit CpuFollower(Whose whose = Whose::own_process) noexcept : whose_(whose) {}
  ~CpuFollower();
  CpuFollower(const CpuFollower&) = delete;
  CpuFollower& operator=(const CpuFollower&) = delete;

  // A fault of the thread is about to be served by the calling thread.
  void follow(int thread_id) noexcept;
  // Where that was seen; -1: not yet.
  [[nodiscard]] int cpu() const noexcept { return cpu_; }

  // The CPU that the thread ran on last, by the text of its stat file; -1: the text does not say.
  // Public for its test.
  [[nodiscard]] static int cpu_in_stat(const char* text) noexcept;

 private:
  // The same thread again: it moves rarely, so a look costs little per fault. Another thread: it
  // may be alone now, or two take turns and both cannot be followed; looked at a bit sooner.
  static constexpr std::uint32_t kFaultsBetweenLooks = 64;
  static constexpr std::uint32_t kFaultsBeforeStranger = 32;

  void open_stat(int thread_id) noexcept;
  [[nodiscard]] int look() const noexcept;

  Whose whose_;
  int stat_fd_ = -1;          // the stat file of thread_id_
  int thread_id_ = 0;         // whom we follow; 0: nobody yet
  int cpu_ = -1;              // where we are pinned; -1: nowhere yet
  std::uint32_t faults_ = 0;  // since the last look
};

}  // namespace holdfast::sys
