#include "aio/queue.h"

#include <algorithm>
#include <utility>

namespace holdfast::aio {
namespace {

constexpr std::uint32_t kThreadsMax = 64;

std::unexpected<Error> too_late(const char* doing) noexcept {
  return fail({.code = Errc::timed_out, .doing = doing});
}

Expected<void> check_options(const AioOptions& options) noexcept {
  if (options.queue_limit == 0 || options.queue_limit > Aio::kQueueLimitMax) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create I/O queue",
                 .what = "queue_limit",
                 .value = options.queue_limit,
                 .limit = Aio::kQueueLimitMax,
                 .remedy = "give 1 to 4096 operations"});
  }
  if (options.threads == 0 || options.threads > kThreadsMax) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create I/O queue",
                 .what = "threads",
                 .value = options.threads,
                 .limit = kThreadsMax,
                 .remedy = "give 1 to 64 threads"});
  }
  return {};
}

sys::AsyncBackend backend_of(AioBackend backend) noexcept {
  switch (backend) {
    case AioBackend::automatic:
      return sys::AsyncBackend::automatic;
    case AioBackend::ring:
      return sys::AsyncBackend::ring;
    case AioBackend::threads:
      return sys::AsyncBackend::threads;
  }
  return sys::AsyncBackend::automatic;
}

}  // namespace

Expected<std::unique_ptr<Aio>> create_on(sys::Machine& machine, Engine& engine,
                                         const AioOptions& options) {
  return TRY(Queue::create(machine, engine, options));
}

Expected<std::unique_ptr<Queue>> Queue::create(sys::Machine& machine, Engine& engine,
                                               const AioOptions& options) {
  TRY_VOID(sync::check_task_context("create I/O queue"));
  TRY_VOID(check_options(options));
  std::unique_ptr<Queue> queue(new Queue(machine, engine, options));
  for (std::uint32_t place = options.queue_limit; place-- > 0;) {
    queue->free_.push(queue->all(), place);
  }
  queue->io_ =
      TRY(machine.open_async_io({.backend = backend_of(options.backend),
                                 .depth = options.queue_limit,
                                 .threads = options.threads,
                                 .reaped_by_submitter = options.drain == AioDrain::caller}));
  if (options.drain == AioDrain::thread) {
    queue->thread_ = TRY(machine.start_thread("hf-aio", &Queue::run_thread, queue.get()));
  }
  return queue;
}

Queue::~Queue() {
  HF_CHECK(!sync::in_interrupt());  // a destructor cannot refuse
  if (!io_) return;
  closing_.store(true);
  cancel_all();
  // What was accepted in the meantime is seen here at the latest: its submitter has to be done.
  (void)wait_idle(0);
  stop_.store(true);
  if (thread_ == nullptr) return;
  io_->wake();
  thread_->join();
}

// --- submission ---

Expected<void> Queue::submit(std::span<const AioRequest> requests, std::span<AioTicket> tickets) {
  return accept(requests, {.tickets = tickets});
}

Expected<void> Queue::submit_waiting(std::span<const AioRequest> requests, std::uint64_t timeout_ns,
                                     std::span<AioTicket> tickets) {
  const std::uint64_t end = end_of(timeout_ns);
  for (;;) {
    auto accepted = accept(requests, {.tickets = tickets});
    if (accepted || accepted.error().code != Errc::would_block) return accepted;
    const auto has_places = [&] { return free_.size() >= requests.size(); };
    if (!wait_until(has_places, end)) return too_late("submit I/O");
  }
}

Expected<AioFuture> Queue::start(const AioRequest& request) {
  AioTicket ticket;
  TRY_VOID(accept(std::span(&request, 1), {.tickets = std::span(&ticket, 1), .future = true}));
  return AioFuture(this, ticket);
}

Expected<void> Queue::submit_for(const AioRequest& request, std::coroutine_handle<> waiter,
                                 Expected<std::uint64_t>& result) {
  return accept(std::span(&request, 1), {.waiter = waiter, .waiter_result = &result});
}

// --- cancellation: any context ---

Operation* Queue::find(AioTicket ticket) noexcept {
  const bool known = ticket.turn != 0 && ticket.place < operations_.size();
  return known ? &operations_[ticket.place] : nullptr;
}

bool Queue::cancel(AioTicket ticket) noexcept {
  Operation* const operation = find(ticket);
  if (operation == nullptr || !operation->ask_to_end(ticket.turn, CancelReason::asked)) {
    return false;
  }
  attention_.store(true);
  io_->wake();
  return true;
}

void Queue::cancel_all() noexcept {
  for (Operation& operation : operations_) {
    (void)operation.ask_to_end(operation.turn(), CancelReason::asked);
  }
  attention_.store(true);
  io_->wake();
}

// --- waiting ---

// Until done() or the end of time; drains meanwhile where the queue has no thread of its own.
template <class Done>
bool Queue::wait_until(Done done, std::uint64_t end_ns) noexcept {
  for (;;) {
    const std::uint32_t seen = events_.load();
    if (done()) return true;
    const std::uint64_t now = end_ns == kNever ? 0 : machine_.now_ns();
    if (now >= end_ns) return false;
    const std::uint64_t left = end_ns == kNever ? sys::AsyncIo::kForever : end_ns - now;
    if (thread_ == nullptr && claim_drain()) {
      // Nothing completes but under this claim: what is not done now needs the drain to be so.
      (void)drain_claimed(done() ? 0 : left);
      continue;
    }
    waiters_.fetch_add(1);
    if (!done()) {
      sync::parking().wait(events_, seen, left == sys::AsyncIo::kForever ? 0 : left);
    }
    waiters_.fetch_sub(1);
  }
}

Expected<std::uint64_t> Queue::wait(AioTicket ticket, std::uint64_t timeout_ns) {
  TRY_VOID(sync::check_task_context("wait for I/O"));
  const Operation& operation = operations_[ticket.place];
  const auto is_over = [&] { return operation.state() == OperationState::done; };
  if (!wait_until(is_over, end_of(timeout_ns))) return too_late("wait for I/O");
  return operation.outcome.bytes;
}

bool Queue::is_done(AioTicket ticket) const noexcept {
  return operations_[ticket.place].is_done(ticket.turn);
}

void Queue::let_go(AioTicket ticket) noexcept {
  drop_holder(ticket.place);
  tell_of_places();
}

// Places have become free outside of a drain: somebody may wait for them. Any context.
void Queue::tell_of_places() noexcept {
  if (waiters_.load() == 0 && !draining_.load()) return;
  tell_waiters();
  if (thread_ == nullptr) io_->wake();
}

Expected<std::uint32_t> Queue::poll(std::uint32_t least, std::uint64_t timeout_ns) {
  TRY_VOID(sync::check_task_context("poll I/O"));
  if (thread_ != nullptr) {
    return fail({.code = Errc::unsupported,
                 .doing = "poll I/O",
                 .remedy = "a thread of the queue drains: create it with AioDrain::caller"});
  }
  const std::uint64_t end = end_of(timeout_ns);
  std::uint32_t taken = claim_drain() ? drain_claimed(0) : 0;
  while (taken < least && in_flight_.load() != 0) {
    const std::uint64_t now = end == kNever ? 0 : machine_.now_ns();
    if (now >= end) break;
    const std::uint64_t left = end == kNever ? sys::AsyncIo::kForever : end - now;
    const std::uint32_t seen = events_.load();
    if (claim_drain()) {
      const std::uint64_t flying = in_flight_.load();
      const auto worth = static_cast<std::uint32_t>(std::min<std::uint64_t>(least - taken, flying));
      taken += drain_claimed(flying == 0 ? 0 : left, std::max(worth, 1U));
      continue;
    }
    waiters_.fetch_add(1);  // somebody else drains: until he is done
    if (draining_.load()) sync::parking().wait(events_, seen, end == kNever ? 0 : left);
    waiters_.fetch_sub(1);
  }
  return taken;
}

Expected<void> Queue::wait_idle(std::uint64_t timeout_ns) {
  TRY_VOID(sync::check_task_context("wait for I/O"));
  const auto is_idle = [this] { return in_flight_.load() == 0; };
  if (!wait_until(is_idle, end_of(timeout_ns))) return too_late("wait for I/O");
  return {};
}

AioStats Queue::stats() const noexcept {
  return {.submitted = submitted_.load(),
          .completed = completed_.load(),
          .failed = failed_.load(),
          .cancelled = cancelled_.load(),
          .timed_out = timed_out_.load(),
          .short_transfers = short_.load(),
          .refused_full = refused_.load(),
          .in_flight = in_flight_.load(),
          .in_flight_max = in_flight_max_.load()};
}

}  // namespace holdfast::aio
