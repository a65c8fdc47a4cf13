// The simulated userfaultfd: what resolves faults, with the errnos of the real one (FACTS 4 A, B).
//
// Under signal delivery the faulting thread calls the sink itself, with signals blocked. Under
// thread delivery it queues a message and waits; a handler thread of the source calls the sink.
// A waiter goes on when a copy or move puts something at its page, when somebody wakes the range,
// or when the sink has answered; it then tries its access again.
#pragma once

#include <deque>
#include <vector>

#include "sys/machine.h"
#include "sys/sim/sim_core.h"

namespace holdfast::sys {

class SimFaultSource final : public FaultSource {
 public:
  SimFaultSource(SimCore& core, const FaultSourceOptions& options, FaultSink& sink);
  // Unregisters what is registered, wakes who waits, and joins the handler thread; with thread
  // delivery, from a simulated thread only.
  ~SimFaultSource() override;

  int register_range(Address address, std::uint64_t bytes) noexcept override;
  int unregister_range(Address address, std::uint64_t bytes) noexcept override;
  Transfer copy(Address to, const std::byte* from, std::uint64_t bytes,
                Protection protection) noexcept override;
  int protect(Address address, std::uint64_t bytes, Protection protection) noexcept override;
  [[nodiscard]] bool can_protect() const noexcept override { return true; }
  Transfer move(Address to, Address from, std::uint64_t bytes) noexcept override;
  [[nodiscard]] bool can_move() const noexcept override;
  void wake(Address address, std::uint64_t bytes) noexcept override;
  [[nodiscard]] const char* description() const noexcept override;

  // The running thread has touched a missing or protected registered page: delivers that, and
  // returns what came of it. For SimMachine::load and store.
  FaultOutcome deliver(Address address, Access access) noexcept;

 private:
  // A thread that waits for the handler; stands on its own stack.
  struct Waiter {
    Address address;
    Access access;
    SimThreadState* thread;
    FaultOutcome outcome;
    bool unread;       // the handler has not taken it up yet
    bool far = false;  // unread, for a thread that may wait for what is beyond this machine
  };
  // A thread that serves messages; the first leaves to the others what is far.
  struct Handler {
    SimThreadState* thread = nullptr;
    bool far = false;
    bool idle = false;  // it waits for a message, and for nothing else
  };

  FaultOutcome deliver_by_thread(Address address, Access access) noexcept;
  void serve_messages(Handler& self) noexcept;
  void wake_handlers(bool far) noexcept;
  [[nodiscard]] Waiter* next_message(bool far) noexcept;
  void hand_over(Waiter* waiter, Address address) noexcept;
  void answer(Waiter* waiter, Address page, FaultOutcome outcome) noexcept;
  void wake_waiters(Address begin, Address end) noexcept;
  [[nodiscard]] bool is_mine(Address address) const noexcept;
  int copy_one(Address to, const std::byte* from, Protection protection) noexcept;
  int move_one(Address to, Address from) noexcept;
  Transfer finish(SimEvent event, Address to, std::uint64_t done, int error) noexcept;

  SimCore& core_;
  const FaultSourceOptions options_;
  FaultSink& sink_;
  std::vector<Waiter*> waiters_;
  std::deque<Handler> handlers_;  // thread delivery only
  bool stopping_ = false;
};

}  // namespace holdfast::sys
