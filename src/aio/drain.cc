// The way back: completions are taken from the machine, and everybody concerned is told.
//
// One thread at a time drains (draining_). Callbacks run in interrupt context with the buffers
// still pinned; then the pins go, then the place. Coroutines go on when the drain is over, in task
// context, and may submit or drain themselves.
#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "aio/queue.h"

namespace holdfast::aio {
namespace {

// The system may end a transfer by itself: with the thread that submitted it, or for a signal. It
// is begun again so often.
constexpr std::uint32_t kRetriesMax = 8;

Error error_of(std::int64_t result, CancelReason reason) noexcept {
  const int error = static_cast<int>(-result);
  Error made{.code = Errc::system, .os_errno = error, .doing = "transfer"};
  switch (error) {
    case ECANCELED: {
      const bool late = reason == CancelReason::timed_out || reason == CancelReason::sent_timed_out;
      made.code = late ? Errc::timed_out : Errc::cancelled;
      made.os_errno = 0;
      break;
    }
    case EIO:
      made.code = Errc::io_error;
      break;
    case EINVAL:
      made.code = Errc::invalid_argument;
      made.remedy = "O_DIRECT wants address, length and offset in blocks of the device";
      break;
    case EAGAIN:
      made.code = Errc::would_block;
      made.remedy = "the descriptor is O_NONBLOCK: clear that, and the operation waits";
      break;
    case EFAULT:
      made.remedy = "memory outside the engine's regions must be mapped, and writable for a read";
      break;
    default:
      break;
  }
  return made;
}

}  // namespace

void Queue::run_thread(void* self) noexcept { static_cast<Queue*>(self)->drain_forever(); }

void Queue::drain_forever() noexcept {
  while (!stop_.load()) {
    (void)drain_once(sys::AsyncIo::kForever, 1);
    const std::vector<std::coroutine_handle<>> ready = std::exchange(ready_, {});
    tell_waiters();
    resume(ready);
  }
}

// Drains once and gives the drain back; the caller has it.
std::uint32_t Queue::drain_claimed(std::uint64_t timeout_ns, std::uint32_t least) noexcept {
  const std::uint32_t taken = drain_once(timeout_ns, least);
  const std::vector<std::coroutine_handle<>> ready = std::exchange(ready_, {});
  draining_.store(false);
  tell_waiters();  // also that somebody else may drain now
  resume(ready);
  return taken;
}

void Queue::tell_waiters() noexcept {
  events_.fetch_add(1);
  if (waiters_.load() != 0) sync::parking().wake(events_, sync::kWakeAll);
}

// Foreign code, in task context: it may submit, wait by co_await, or drain.
void Queue::resume(std::span<const std::coroutine_handle<>> ready) noexcept {
  for (const std::coroutine_handle<> waiter : ready) waiter.resume();
}

// How long the drain may wait: as long as it is told to, or until the next deadline.
std::uint64_t Queue::until_deadline(std::uint64_t timeout_ns) noexcept {
  if (attention_.load()) return 0;
  const std::uint64_t deadline = next_deadline_ns_.load();
  if (deadline == kNever || timeout_ns == 0) return timeout_ns;
  const std::uint64_t now = machine_.now_ns();
  return deadline <= now ? 0 : std::min(timeout_ns, deadline - now);
}

// Takes what is there, or waits for it. The caller alone drains.
std::uint32_t Queue::drain_once(std::uint64_t timeout_ns, std::uint32_t least) noexcept {
  const sync::EngineScope scope;
  std::array<sys::AsyncCompletion, kBatch> completions;
  const std::uint32_t taken = io_->reap(completions, until_deadline(timeout_ns), least);
  for (std::uint32_t i = 0; i < taken; ++i) complete(completions[i]);
  look_for_late();
  attend();
  return taken;
}

void Queue::complete(const sys::AsyncCompletion& completion) noexcept {
  const auto place = static_cast<std::uint32_t>(completion.id);
  HF_CHECK2(place < operations_.size(), completion.id, operations_.size());
  Operation& operation = operations_[place];
  // The submitter filled it before it stored this word: what came through the kernel is ordered
  // too.
  HF_CHECK2(operation.turn() == completion.id >> 32, operation.turn(), completion.id);
  if (!goes_on(operation, completion.result)) finish(place, completion.result);
}

// True if the system ended it without being asked to: then it is begun again.
bool Queue::goes_on(Operation& operation, std::int64_t result) noexcept {
  if (result != -ECANCELED && result != -EINTR) return false;
  if (operation.reason() != CancelReason::none || closing_.load()) return false;
  if (++operation.retries > kRetriesMax) return false;
  operation.to(OperationState::submitting);
  const auto place = static_cast<std::uint32_t>(&operation - operations_.data());
  begin(std::span(&place, 1));
  return true;
}

// The operation has ended, and with it what was linked behind it, unless it was whole.
void Queue::finish(std::uint32_t place, std::int64_t result) noexcept {
  for (;;) {
    const Ended ended = finish_one(place, result);
    if (ended.linked == base::kNoLink) return;
    Operation& next = operations_[ended.linked];
    if (ended.whole && next.reason() == CancelReason::none) {
      next.to(OperationState::submitting);
      return begin(std::span(&ended.linked, 1));
    }
    place = ended.linked;
    result = -ECANCELED;
  }
}

Queue::Ended Queue::finish_one(std::uint32_t place, std::int64_t result) noexcept {
  Operation& operation = operations_[place];
  AioCompletion& outcome = operation.outcome;
  const CancelReason reason = operation.reason();
  if (result == -EINTR && reason != CancelReason::none) result = -ECANCELED;
  if (result >= 0) {
    outcome.bytes = static_cast<std::uint64_t>(result);
  } else {
    outcome.bytes = fail(error_of(result, reason));
  }
  count_outcome(outcome);
  const Ended ended{.linked = operation.linked, .whole = outcome.is_whole()};
  {
    const sync::InterruptScope interrupt;
    if (operation.callback != nullptr) operation.callback(outcome, operation.context);
    for (std::uint32_t i = 0; i < operation.request.count; ++i) operation.pins[i].reset();
  }
  publish(place);
  return ended;
}

void Queue::count_outcome(const AioCompletion& outcome) noexcept {
  completed_.fetch_add(1, std::memory_order_relaxed);
  if (outcome.bytes) {
    if (!outcome.is_whole()) short_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  switch (outcome.bytes.error().code) {
    case Errc::cancelled:
      cancelled_.fetch_add(1, std::memory_order_relaxed);
      break;
    case Errc::timed_out:
      timed_out_.fetch_add(1, std::memory_order_relaxed);
      break;
    default:
      failed_.fetch_add(1, std::memory_order_relaxed);
      break;
  }
}

// The outcome stands. Nothing of the operation may be touched after the last holder has let go.
void Queue::publish(std::uint32_t place) noexcept {
  Operation& operation = operations_[place];
  if (operation.waiter) {
    *operation.waiter_result = operation.outcome.bytes;
    ready_.push_back(std::exchange(operation.waiter, {}));
  }
  operation.deadline_ns.store(0);
  operation.to(OperationState::done);
  drop_holder(place);
  in_flight_.fetch_sub(1);
}

void Queue::drop_holder(std::uint32_t place) noexcept {
  Operation& operation = operations_[place];
  if (operation.holders.fetch_sub(1) != 1) return;
  operation.to(OperationState::free);
  free_.push(all(), place);
}

// Tells the machine what was asked to end. What is queued ends when its turn comes; what is being
// submitted is looked at again by its submitter.
void Queue::attend() noexcept {
  if (!attention_.exchange(false)) return;
  for (Operation& operation : operations_) {
    if (operation.state() != OperationState::in_flight) continue;
    if (operation.take_request_to_end()) io_->cancel(operation.request.id);
  }
}

void Queue::look_for_late() noexcept {
  if (next_deadline_ns_.load() == kNever) return;
  const std::uint64_t now = machine_.now_ns();
  if (next_deadline_ns_.load() > now) return;
  next_deadline_ns_.store(kNever);
  for (Operation& operation : operations_) {
    const std::uint32_t turn = operation.turn();
    const std::uint64_t deadline = operation.deadline_ns.load();
    if (deadline == 0 || operation.is_done(turn)) continue;
    if (deadline > now) {
      note_deadline(deadline);
    } else if (operation.ask_to_end(turn, CancelReason::timed_out)) {
      attention_.store(true);
    }
  }
}

}  // namespace holdfast::aio
