// The queue: places for operations, their way to the machine and back.
//
// Threads: anybody submits (task context); one thread at a time drains, whether it is the queue's
// own or a caller that waits. Whoever drains runs callbacks in interrupt context, cancels what is
// late or was asked to end, begins what was linked, and resumes coroutines afterwards.
//
// Locks: none of its own; sys::AsyncIo has one of rank device.
#pragma once

#include <atomic>
#include <coroutine>
#include <memory>
#include <vector>

#include "aio/aio.h"
#include "aio/operation.h"
#include "sync/sync.h"

namespace holdfast::aio {

class Queue final : public Aio {
 public:
  [[nodiscard]] static Expected<std::unique_ptr<Queue>> create(sys::Machine& machine,
                                                               Engine& engine,
                                                               const AioOptions& options);
  ~Queue() override;
  Queue(const Queue&) = delete;
  Queue& operator=(const Queue&) = delete;

  Expected<void> submit(std::span<const AioRequest> requests,
                        std::span<AioTicket> tickets) override;
  Expected<void> submit_waiting(std::span<const AioRequest> requests, std::uint64_t timeout_ns,
                                std::span<AioTicket> tickets) override;
  Expected<AioFuture> start(const AioRequest& request) override;
  bool cancel(AioTicket ticket) noexcept override;
  void cancel_all() noexcept override;
  Expected<std::uint32_t> poll(std::uint32_t least, std::uint64_t timeout_ns) override;
  Expected<void> wait_idle(std::uint64_t timeout_ns) override;
  [[nodiscard]] AioStats stats() const noexcept override;
  [[nodiscard]] const char* backend() const noexcept override { return io_->description(); }

 private:
  // What a submission wants besides its completion.
  struct Claim {
    std::span<AioTicket> tickets = {};
    bool future = false;  // one more holder of the (only) place
    std::coroutine_handle<> waiter = {};
    Expected<std::uint64_t>* waiter_result = nullptr;
  };
  static constexpr std::uint64_t kNever = ~std::uint64_t{0};
  static constexpr std::uint32_t kBatch = 64;  // completions taken at once

  Queue(sys::Machine& machine, Engine& engine, const AioOptions& options)
      : machine_(machine), engine_(engine), options_(options), operations_(options.queue_limit) {}

  Expected<std::uint64_t> wait(AioTicket ticket, std::uint64_t timeout_ns) override;
  [[nodiscard]] bool is_done(AioTicket ticket) const noexcept override;
  void let_go(AioTicket ticket) noexcept override;
  Expected<void> submit_for(const AioRequest& request, std::coroutine_handle<> waiter,
                            Expected<std::uint64_t>& result) override;

  // admission.cc
  Expected<void> accept(std::span<const AioRequest> requests, const Claim& claim);
  [[nodiscard]] Expected<void> check(std::span<const AioRequest> requests,
                                     const Claim& claim) const noexcept;
  [[nodiscard]] Expected<void> take_places(std::uint32_t count, std::uint32_t& first) noexcept;
  void give_back_places(std::uint32_t first) noexcept;
  void tell_of_places() noexcept;
  Expected<void> fill(Operation& operation, const AioRequest& request);
  Expected<void> pin_buffers(Operation& operation, const AioRequest& request);
  void launch(std::uint32_t first, std::span<const AioRequest> requests,
              const Claim& claim) noexcept;
  void begin(std::span<const std::uint32_t> places) noexcept;
  void note_deadline(std::uint64_t deadline_ns) noexcept;

  // drain.cc
  static void run_thread(void* self) noexcept;
  void drain_forever() noexcept;
  std::uint32_t drain_once(std::uint64_t timeout_ns, std::uint32_t least) noexcept;
  void complete(const sys::AsyncCompletion& completion) noexcept;
  bool goes_on(Operation& operation, std::int64_t result) noexcept;
  struct Ended {
    std::uint32_t linked;  // the place that follows, if any
    bool whole;
  };
  void finish(std::uint32_t place, std::int64_t result) noexcept;
  Ended finish_one(std::uint32_t place, std::int64_t result) noexcept;
  void publish(std::uint32_t place) noexcept;
  void drop_holder(std::uint32_t place) noexcept;
  void count_outcome(const AioCompletion& outcome) noexcept;
  void attend() noexcept;
  void look_for_late() noexcept;
  [[nodiscard]] bool claim_drain() noexcept { return !draining_.exchange(true); }
  std::uint32_t drain_claimed(std::uint64_t timeout_ns, std::uint32_t least = 1) noexcept;
  void tell_waiters() noexcept;
  static void resume(std::span<const std::coroutine_handle<>> ready) noexcept;
  [[nodiscard]] std::uint64_t until_deadline(std::uint64_t timeout_ns) noexcept;

  // waiting.cc
  template <class Done>
  bool wait_until(Done done, std::uint64_t timeout_ns) noexcept;
  [[nodiscard]] std::uint64_t end_of(std::uint64_t timeout_ns) noexcept {
    return timeout_ns == 0 ? kNever : machine_.now_ns() + timeout_ns;
  }

  [[nodiscard]] std::span<Operation> all() noexcept { return operations_; }
  [[nodiscard]] Operation* find(AioTicket ticket) noexcept;

  sys::Machine& machine_;
  Engine& engine_;
  const AioOptions options_;
  std::vector<Operation> operations_;  // constant in number
  sync::IndexStack<Operation, OperationLinks> free_;
  std::unique_ptr<sys::AsyncIo> io_;
  std::unique_ptr<sys::Thread> thread_;  // AioDrain::thread

  std::atomic<bool> draining_{false};      // somebody drains
  std::atomic<std::uint32_t> events_{0};   // bumped after each drain: what waiters park on
  std::atomic<std::uint32_t> waiters_{0};  // of events_
  std::atomic<bool> attention_{false};     // something was asked to end
  std::atomic<std::uint64_t> next_deadline_ns_{kNever};
  std::atomic<bool> closing_{false};
  std::atomic<bool> stop_{false};

  // The drain's own: coroutines whose operations have completed, resumed when it is over.
  std::vector<std::coroutine_handle<>> ready_;

  std::atomic<std::uint64_t> in_flight_{0}, in_flight_max_{0}, submitted_{0}, completed_{0};
  std::atomic<std::uint64_t> failed_{0}, cancelled_{0}, timed_out_{0}, short_{0}, refused_{0};
};

}  // namespace holdfast::aio
