// Wakes a thread that waits for its page on the CPU of the thread that serves it.
//
// Why: the scheduler wakes on an idle CPU wherever there is one. The thread then changes its CPU
// at each fault, away from its handler, which follows it in vain (cpu_follower.h), and both wait
// for a halted CPU each time: 500,000 steps of a pointer chase, half of it compressed, took 10 s
// instead of 6 in a machine of two virtual CPUs.
//
// How: the thread, which sleeps, may run nowhere else while it is woken, and has its CPUs back at
// once. It cannot run in between, and so neither notice nor start another with fewer CPUs, if the
// caller is SCHED_FIFO and has that CPU; others must not use this. If a third thread changes its
// CPUs in those microseconds, that is lost. Whatever is refused costs only time.
//
// Owned by one thread; on its stack. No allocation, no stdio.
#pragma once

#include <sched.h>

namespace holdfast::sys {

class WokenHere {
 public:
  // The caller runs on `cpu`, and nowhere else. thread 0, cpu -1: nothing happens.
  WokenHere(int thread, int cpu) noexcept;
  ~WokenHere();
  WokenHere(const WokenHere&) = delete;
  WokenHere& operator=(const WokenHere&) = delete;

 private:
  int thread_ = 0;  // 0: nothing to give back
  cpu_set_t before_{};
};

}  // namespace holdfast::sys
