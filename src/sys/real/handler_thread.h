// Delivery by thread: one thread that reads a userfaultfd's messages and lets the sink serve them.
// Transparent to system calls, as the kernel's own accesses wait too.
//
// Flow: 1. poll; 2. read messages until there are none; 3. for each: sink.on_fault, then wake the
// page's waiters; 4. close to the faulting thread: see cpu_follower.h. A fault that would wait for
// what is beyond this machine (FaultOutcome::far) goes on to one of a few threads more, so that it
// holds up no other; while their queue is full it is woken instead, and faults again.
//
// Contexts: the thread has all asynchronous signals blocked and must never fault on managed memory
// itself: nobody would serve it. It touches its stack, the sink and pool memory only. No EVENT
// feature is enabled, so there are no messages but page faults and no call waits for us to read.
//
// A fault that cannot be served poisons its page: the faulting thread gets SIGBUS, a system call
// EFAULT. Kernels before 6.6 cannot; there the thread is sent SIGBUS.
#pragma once

#include <linux/userfaultfd.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "sys/cpu_follower.h"
#include "sys/machine.h"
#include "sys/real/userfault.h"

namespace holdfast::sys::real {

class HandlerThread {
 public:
  HandlerThread(const Userfault& userfault, FaultSink& sink, std::uint32_t far_threads) noexcept
      : userfault_(userfault), sink_(sink), far_threads_(far_threads) {}
  ~HandlerThread();
  HandlerThread(const HandlerThread&) = delete;
  HandlerThread& operator=(const HandlerThread&) = delete;

  // Once. Task context.
  [[nodiscard]] Expected<void> start();

 private:
  struct Fault {
    Address address = 0;
    Access access = Access::read;
    int thread_id = 0;
  };
  static constexpr int kStop = -1;  // instead of a thread's id: the one that reads it ends

  [[nodiscard]] Expected<void> start_far_threads();
  static void main(void* self);
  static void far_main(void* self);
  void serve_until_stopped() noexcept;
  void serve_far() noexcept;
  void drain() noexcept;
  void serve(const uffd_msg& message) noexcept;
  void hand_over(const Fault& fault) noexcept;
  void answer(const Fault& fault, FaultOutcome outcome) noexcept;
  void refuse(Address page, int thread_id) noexcept;

  const Userfault& userfault_;
  FaultSink& sink_;
  int stop_fd_ = -1;  // eventfd; readable: stop
  CpuFollower follower_;
  std::unique_ptr<Thread> thread_;
  const std::uint32_t far_threads_;
  std::vector<std::unique_ptr<Thread>> far_;
  // A pipe of faults, each written and read whole: the handler, which takes no lock, writes without
  // waiting, and the far threads wait at the other end.
  int far_in_ = -1, far_out_ = -1;
};

}  // namespace holdfast::sys::real
