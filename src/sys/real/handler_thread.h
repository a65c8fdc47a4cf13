// Delivery by thread: one thread that reads a userfaultfd's messages and lets the sink serve them.
// Transparent to system calls, as the kernel's own accesses wait too.
//
// Flow: 1. poll; 2. read messages until there are none; 3. for each: sink.on_fault, then wake the
// page's waiters; 4. close to the faulting thread: see cpu_follower.h.
//
// Contexts: the thread has all asynchronous signals blocked and must never fault on managed memory
// itself: nobody would serve it. It touches its stack, the sink and pool memory only. No EVENT
// feature is enabled, so there are no messages but page faults and no call waits for us to read.
//
// A fault that cannot be served poisons its page: the faulting thread gets SIGBUS, a system call
// EFAULT. Kernels before 6.6 cannot; there the thread is sent SIGBUS.
#pragma once

#include <linux/userfaultfd.h>

#include <memory>

#include "sys/cpu_follower.h"
#include "sys/machine.h"
#include "sys/real/userfault.h"

namespace holdfast::sys::real {

class HandlerThread {
 public:
  HandlerThread(const Userfault& userfault, FaultSink& sink) noexcept
      : userfault_(userfault), sink_(sink) {}
  ~HandlerThread();
  HandlerThread(const HandlerThread&) = delete;
  HandlerThread& operator=(const HandlerThread&) = delete;

  // Once. Task context.
  [[nodiscard]] Expected<void> start();

 private:
  static void main(void* self);
  void serve_until_stopped() noexcept;
  void drain() noexcept;
  void serve(const uffd_msg& message) noexcept;
  void refuse(Address page, int thread_id) noexcept;

  const Userfault& userfault_;
  FaultSink& sink_;
  int stop_fd_ = -1;  // eventfd; readable: stop
  CpuFollower follower_;
  std::unique_ptr<Thread> thread_;
};

}  // namespace holdfast::sys::real
