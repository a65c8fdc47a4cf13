#include "sys/sim/sim_faults.h"

#include <algorithm>
#include <cerrno>

namespace holdfast::sys {

SimFaultSource::SimFaultSource(SimCore& core, const FaultSourceOptions& options, FaultSink& sink)
    : core_(core), options_(options), sink_(sink) {
  if (options_.delivery == Delivery::thread) {
    for (std::uint32_t i = 0; i <= options_.far_threads; ++i) {
      Handler& handler = handlers_.emplace_back(Handler{.far = i > 0});
      handler.thread = &core_.scheduler.spawn(
          "fault-handler", [this, &handler] { serve_messages(handler); }, Signals::blocked);
    }
  }
}

SimFaultSource::~SimFaultSource() {
  std::vector<std::pair<Address, Address>> mine;
  for (const auto& range : core_.registered.all()) {
    if (range.value == this) mine.emplace_back(range.begin, range.end);
  }
  for (const auto& [begin, end] : mine) {
    core_.registered.cut(begin, end);
    wake_waiters(begin, end);
  }
  stopping_ = true;
  wake_handlers(false);
  wake_handlers(true);
  for (const Handler& handler : handlers_) core_.scheduler.join(*handler.thread);
}

void SimFaultSource::wake_handlers(bool far) noexcept {
  for (const Handler& handler : handlers_) {
    if (handler.far == far && handler.idle) core_.scheduler.unblock(*handler.thread);
  }
}

bool SimFaultSource::can_move() const noexcept {
  return options_.allow_move && core_.options.can_move;
}

const char* SimFaultSource::description() const noexcept {
  return can_move() ? "simulated, MOVE" : "simulated";
}

bool SimFaultSource::is_mine(Address address) const noexcept {
  const auto* range = core_.registered.find(address);
  return range != nullptr && range->value == this;
}

int SimFaultSource::register_range(Address address, std::uint64_t bytes) noexcept {
  core_.scheduler.point();
  if (core_.failures.hit(FailureKind::register_range)) return ENOMEM;
  if (!core_.memory.is_reserved(address, bytes)) return EINVAL;
  if (core_.memory.purpose_of(address) == Purpose::table) return EINVAL;
  for (const auto& range : core_.registered.all()) {
    if (range.begin < address + bytes && range.end > address && range.value != this) return EBUSY;
  }
  core_.scheduler.note(SimEvent::register_range, address, bytes);
  core_.registered.cut(address, address + bytes);  // again is harmless
  core_.registered.add(address, address + bytes, this);
  return 0;
}

int SimFaultSource::unregister_range(Address address, std::uint64_t bytes) noexcept {
  core_.scheduler.point();
  if (!core_.memory.is_reserved(address, bytes)) return EINVAL;
  core_.scheduler.note(SimEvent::unregister_range, address, bytes);
  core_.registered.cut(address, address + bytes);
  wake_waiters(address, address + bytes);
  return 0;
}

int SimFaultSource::copy_one(Address to, const std::byte* from, Protection protection) noexcept {
  if (core_.failures.hit(FailureKind::copy_again)) return EAGAIN;
  if (core_.failures.hit(FailureKind::copy_memory)) return ENOMEM;
  if (!is_mine(to)) return ENOENT;
  if (core_.memory.find(to) != nullptr) return EEXIST;
  core_.memory.add(to, from);
  core_.memory.protect(to, kPageSize, protection == Protection::read_only);
  ++core_.stats.pages_copied;
  return 0;
}

int SimFaultSource::move_one(Address to, Address from) noexcept {
  if (core_.failures.hit(FailureKind::move_again)) return EAGAIN;
  if (!is_mine(to)) return EINVAL;
  if (core_.memory.find(to) != nullptr) return EEXIST;
  if (core_.memory.find(from) == nullptr) return ENOENT;
  if (core_.failures.hit(FailureKind::move_busy)) return EBUSY;
  core_.memory.carry(to, from);
  ++core_.stats.pages_moved;
  return 0;
}

Transfer SimFaultSource::finish(SimEvent event, Address to, std::uint64_t done,
                                int error) noexcept {
  core_.stats.stopped_exists += error == EEXIST ? 1 : 0;
  core_.stats.stopped_missing += event == SimEvent::move && error == ENOENT ? 1 : 0;
  core_.scheduler.note(event, to, done << 8 | static_cast<unsigned>(error));
  if (done > 0) wake_waiters(to, to + done);
  return {done, error};
}

// Pages come one by one: other threads may run between them and put a page in the way, as on the
// real machine.
Transfer SimFaultSource::copy(Address to, const std::byte* from, std::uint64_t bytes,
                              Protection protection) noexcept {
  HF_CHECK2(is_page_aligned(to) && is_page_aligned(bytes) && bytes > 0, to, bytes);
  core_.scheduler.point();
  std::uint64_t done = 0;
  int error = 0;
  while (done < bytes && error == 0) {
    error = copy_one(to + done, from + done, protection);
    if (error == 0) done += kPageSize;
    if (error == 0 && done < bytes) core_.scheduler.interleave();
  }
  return finish(SimEvent::copy, to, done, error);
}

Transfer SimFaultSource::move(Address to, Address from, std::uint64_t bytes) noexcept {
  HF_CHECK2(is_page_aligned(to) && is_page_aligned(bytes) && bytes > 0, to, bytes);
  HF_CHECK(can_move());
  core_.scheduler.point();
  std::uint64_t done = 0;
  int error = 0;
  while (done < bytes && error == 0) {
    error = move_one(to + done, from + done);
    if (error == 0) done += kPageSize;
    if (error == 0 && done < bytes) core_.scheduler.interleave();
  }
  return finish(SimEvent::move, to, done, error);
}

// In one piece: on the real machine a page's protection changes at some moment within the call, and
// so it does among the calls of simulated threads.
int SimFaultSource::protect(Address address, std::uint64_t bytes, Protection protection) noexcept {
  HF_CHECK2(is_page_aligned(address) && is_page_aligned(bytes) && bytes > 0, address, bytes);
  core_.scheduler.point();
  if (core_.failures.hit(FailureKind::protect_again)) return EAGAIN;
  if (!is_mine(address)) return ENOENT;
  const bool read_only = protection == Protection::read_only;
  const std::uint64_t changed = core_.memory.protect(address, bytes, read_only);
  (read_only ? core_.stats.pages_protected : core_.stats.pages_unprotected) += changed;
  core_.scheduler.note(SimEvent::protect, address, bytes | (read_only ? 1 : 0));
  if (!read_only) wake_waiters(address, address + bytes);
  return 0;
}

void SimFaultSource::wake(Address address, std::uint64_t bytes) noexcept {
  core_.scheduler.point();
  wake_waiters(address, address + bytes);
}

void SimFaultSource::wake_waiters(Address begin, Address end) noexcept {
  for (Waiter* waiter : waiters_) {
    if (waiter->address < begin || waiter->address >= end) continue;
    waiter->unread = false;  // the kernel forgets the message of a waiter that it wakes
    core_.scheduler.unblock(*waiter->thread);
  }
}

FaultOutcome SimFaultSource::deliver(Address address, Access access) noexcept {
  core_.scheduler.note(SimEvent::fault, address, static_cast<std::uint64_t>(access));
  FaultOutcome outcome = FaultOutcome::served;
  if (options_.delivery == Delivery::thread) {
    ++core_.stats.faults_thread;
    outcome = deliver_by_thread(address, access);
  } else {
    ++core_.stats.faults_signal;
    core_.scheduler.block_signals();
    outcome = sink_.on_fault(address, access);
    core_.scheduler.unblock_signals();
  }
  core_.scheduler.note(SimEvent::served, address, static_cast<std::uint64_t>(outcome));
  return outcome;
}

FaultOutcome SimFaultSource::deliver_by_thread(Address address, Access access) noexcept {
  HF_CHECK(!stopping_);
  Waiter self{address, access, core_.scheduler.current(), FaultOutcome::served, true};
  waiters_.push_back(&self);
  wake_handlers(false);
  core_.scheduler.block("a fault to be served at", address, 0);
  std::erase(waiters_, &self);
  return self.outcome;
}

SimFaultSource::Waiter* SimFaultSource::next_message(bool far) noexcept {
  Waiter* chosen = nullptr;
  std::uint64_t seen = 0;
  for (Waiter* waiter : waiters_) {
    if (waiter->unread && waiter->far == far && core_.random.below(++seen) == 0) chosen = waiter;
  }
  return chosen;
}

void SimFaultSource::serve_messages(Handler& self) noexcept {
  while (!stopping_) {
    Waiter* message = next_message(self.far);
    if (message == nullptr) {
      self.idle = true;
      core_.scheduler.block("a fault message", 0, 0);
      self.idle = false;
      continue;
    }
    message->unread = false;
    const Address address = message->address;  // the waiter may be gone before the sink answers
    const bool hands_over = options_.far_threads > 0 && !self.far;
    const FaultOutcome outcome = hands_over ? sink_.on_near_fault(address, message->access)
                                            : sink_.on_fault(address, message->access);
    if (outcome == FaultOutcome::far) {
      hand_over(message, address);
    } else {
      answer(message, address & ~(kPageSize - 1), outcome);
    }
  }
}

// Unless the waiter has been woken meanwhile: then it looks again, and there is a new message.
void SimFaultSource::hand_over(Waiter* waiter, Address address) noexcept {
  if (std::find(waiters_.begin(), waiters_.end(), waiter) == waiters_.end()) return;
  if (waiter->address != address) return;
  waiter->unread = waiter->far = true;
  wake_handlers(true);
}

void SimFaultSource::answer(Waiter* waiter, Address page, FaultOutcome outcome) noexcept {
  if (outcome == FaultOutcome::served) {
    wake_waiters(page, page + kPageSize);
    return;
  }
  // The waiter's place on its stack may serve another fault by now; the address tells.
  if (std::find(waiters_.begin(), waiters_.end(), waiter) == waiters_.end()) return;
  if ((waiter->address & ~(kPageSize - 1)) != page) return;
  waiter->outcome = outcome;
  core_.scheduler.unblock(*waiter->thread);
}

}  // namespace holdfast::sys
