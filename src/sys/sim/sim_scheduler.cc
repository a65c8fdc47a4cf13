#include "sys/sim/sim_scheduler.h"

#include <algorithm>
#include <cstdio>

#include "base/base.h"

namespace holdfast::sys {
namespace {

// A thread that has passed so many points while others could run gives way: no fair kernel would
// let it spin for ever, whatever its priority.
constexpr std::uint32_t kRunLengthMax = 2000;

thread_local SimScheduler* running_scheduler = nullptr;

void interleave_hook() noexcept {
  if (running_scheduler != nullptr) running_scheduler->interleave();
}

}  // namespace

SimScheduler::SimScheduler(const SimOptions& options, SimRandom random, SimTrace& trace,
                           SimStats& stats) noexcept
    : options_(options), random_(random), trace_(trace), stats_(stats) {
  HF_CHECK(options.cpus >= 1 && options.cpus <= 64);
  starved_ = static_cast<std::uint32_t>(random_.between(1, 4));
}

SimScheduler::~SimScheduler() { HF_CHECK(!running_); }

SimThreadState& SimScheduler::spawn(const char* name, std::function<void()> function,
                                    Signals signals) {
  HF_CHECK(!dead_);
  auto thread = std::make_unique<SimThreadState>();
  std::snprintf(thread->name_, sizeof thread->name_, "%s", name);
  thread->id_ = static_cast<std::uint32_t>(threads_.size() + 1);
  thread->function_ = std::move(function);
  thread->cpu_ = static_cast<std::uint32_t>(random_.below(options_.cpus));
  thread->priority_ = static_cast<std::uint32_t>(random_.next() >> 32);
  thread->signals_blocked_ = signals == Signals::blocked ? 1 : 0;
  thread->context_.parking = this;
  thread->context_.random_state = static_cast<std::uint32_t>(random_.next()) | 1U;
  thread->fiber_.start(&SimScheduler::run_thread, thread.get());
  ++stats_.threads;
  note(SimEvent::start, thread->id_, thread->cpu_);
  live_.push_back(thread.get());
  threads_.push_back(std::move(thread));
  return *threads_.back();
}

RunOutcome SimScheduler::run() {
  HF_CHECK(current_ == nullptr && !dead_ && running_scheduler == nullptr);
  if (live_.empty()) return RunOutcome::finished;
  running_ = true;
  running_scheduler = this;
  sync::set_interleave_hook(&interleave_hook);
  outcome_ = RunOutcome::finished;
  SimThreadState* first = pick(nullptr);
  if (first != nullptr) {
    current_ = first;
    sync::swap_thread_context(&first->context_);
    root_.switch_to(first->fiber_, Leaving::for_now);
  }
  sync::swap_thread_context(nullptr);
  sync::set_interleave_hook(nullptr);
  running_scheduler = nullptr;
  current_ = nullptr;
  running_ = false;
  reap();
  return outcome_;
}

void SimScheduler::run_thread(void* thread) {
  auto* self = static_cast<SimThreadState*>(thread);
  SimScheduler* scheduler = running_scheduler;
  scheduler->reap();
  self->function_();
  self->function_ = nullptr;
  scheduler->finish_current();
}

void SimScheduler::finish_current() noexcept {
  SimThreadState* self = current_;
  HF_CHECK2(self->context_.engine_depth == 0 && self->context_.held_locks == 0,
            self->context_.engine_depth, self->context_.held_locks);
  note(SimEvent::finish, self->id_, 0);
  self->state_ = SimThreadState::State::finished;
  std::erase(live_, self);
  for (SimThreadState* other : live_) {
    if (other->joins_ == self) unblock(*other);
  }
  finished_ = self;
  SimThreadState* next = pick(nullptr);
  if (next == nullptr) {  // all done, or a deadlock
    self->fiber_.switch_to(root_, Leaving::for_good);
    return;
  }
  current_ = next;
  run_length_ = 0;
  ++stats_.switches;
  note(SimEvent::switch_to, next->id_, stats_.steps);
  sync::swap_thread_context(&next->context_);
  self->fiber_.switch_to(next->fiber_, Leaving::for_good);
}

void SimScheduler::reap() noexcept {
  if (finished_ != nullptr) finished_->fiber_.drop_stack();
  finished_ = nullptr;
}

void SimScheduler::stop(RunOutcome outcome) noexcept {
  outcome_ = outcome;
  dead_ = true;
  write_report(outcome == RunOutcome::deadlock ? "deadlock: no thread can run"
                                               : "livelock: the step limit is reached");
}

void SimScheduler::write_report(const char* headline) {
  char line[256];
  std::snprintf(line, sizeof line, "%s (seed %llu, step %llu)\n", headline,
                static_cast<unsigned long long>(options_.seed),
                static_cast<unsigned long long>(stats_.steps));
  report_ = line;
  for (const SimThreadState* t : live_) {
    if (t->state_ != SimThreadState::State::blocked) {
      std::snprintf(line, sizeof line, "  thread %u \"%s\" can run\n", t->id_, t->name_);
    } else if (t->word_ != nullptr) {
      std::snprintf(line, sizeof line,
                    "  thread %u \"%s\" waits for a word to change from %#llx (it is %#x)\n",
                    t->id_, t->name_, static_cast<unsigned long long>(t->wait_value_),
                    t->word_->load(std::memory_order_relaxed));
    } else {
      std::snprintf(line, sizeof line, "  thread %u \"%s\" waits for %s %#llx\n", t->id_, t->name_,
                    t->waits_for_, static_cast<unsigned long long>(t->wait_value_));
    }
    report_ += line;
  }
  report_ += trace_.tail(48);
}

void SimScheduler::point() noexcept { step(options_.switch_per_1024); }

void SimScheduler::interleave() noexcept {
  const std::uint64_t before = stats_.switches;
  step(options_.interleave_per_1024);
  stats_.interleaved += stats_.switches != before ? 1 : 0;
}

void SimScheduler::step(std::uint32_t switch_per_1024) noexcept {
  if (current_ == nullptr) return;
  if (++stats_.steps > options_.step_limit) {
    stop(RunOutcome::livelock);
    current_->fiber_.switch_to(root_, Leaving::for_now);
    HF_CHECK(false);  // nobody comes back here
  }
  const std::uint64_t draw = random_.next();
  now_ns_ += 50 + (draw & 255);
  maybe_interrupt();
  if (++run_length_ > kRunLengthMax) {
    run_length_ = 0;
    ++stats_.forced_switches;
    reschedule(current_);
  } else if (((draw >> 8) & 1023) < switch_per_1024) {
    reschedule(nullptr);
  }
}

void SimScheduler::maybe_interrupt() noexcept {
  SimThreadState* self = current_;
  if (options_.interrupt_per_1024 == 0 || !handler_ || self->signals_blocked_ > 0 ||
      self->in_handler_ || !random_.chance(options_.interrupt_per_1024, 1024)) {
    return;
  }
  self->in_handler_ = true;
  ++stats_.interrupts;
  stats_.interrupts_inside += self->context_.engine_depth > 0 ? 1 : 0;
  note(SimEvent::interrupt, self->id_, static_cast<std::uint64_t>(self->context_.engine_depth));
  handler_();
  self->in_handler_ = false;
}

// Lets another thread run, or goes on. avoid: not this one, if any other can run.
void SimScheduler::reschedule(SimThreadState* avoid) noexcept {
  SimThreadState* next = pick(avoid);
  HF_DCHECK(next != nullptr);  // the running thread can run
  if (next != current_) switch_to(*next);
}

void SimScheduler::switch_to(SimThreadState& next) noexcept {
  SimThreadState* self = current_;
  ++stats_.switches;
  run_length_ = 0;
  if (random_.chance(options_.migrate_per_1024, 1024)) {
    next.cpu_ = static_cast<std::uint32_t>(random_.below(options_.cpus));
    ++stats_.migrations;
  }
  note(SimEvent::switch_to, next.id_, stats_.steps);
  current_ = &next;
  sync::swap_thread_context(&next.context_);
  self->fiber_.switch_to(next.fiber_, Leaving::for_now);
  reap();
}

void SimScheduler::expire_timers() noexcept {
  if (timers_ == 0) return;
  for (SimThreadState* t : live_) {
    if (t->state_ == SimThreadState::State::blocked && t->deadline_ns_ != 0 &&
        t->deadline_ns_ <= now_ns_) {
      t->timed_out_ = true;
      ++stats_.timeouts;
      note(SimEvent::timeout, t->id_, 0);
      unblock(*t);
    }
  }
}

void SimScheduler::skip_to_timer() noexcept {
  std::uint64_t earliest = ~std::uint64_t{0};
  for (const SimThreadState* t : live_) {
    if (t->deadline_ns_ != 0) earliest = std::min(earliest, t->deadline_ns_);
  }
  now_ns_ = std::max(now_ns_, earliest);
}

// Who runs next; null: nobody can, and outcome_ says why.
SimThreadState* SimScheduler::pick(SimThreadState* avoid) noexcept {
  expire_timers();
  SimThreadState* next = choose(avoid);
  if (next != nullptr) return next;
  if (timers_ > 0) {
    skip_to_timer();
    expire_timers();
    return choose(avoid);
  }
  if (!live_.empty()) stop(RunOutcome::deadlock);
  return nullptr;
}

SimThreadState* SimScheduler::choose(SimThreadState* avoid) noexcept {
  runnable_.clear();
  for (SimThreadState* t : live_) {
    if (t->state_ == SimThreadState::State::runnable) runnable_.push_back(t);
  }
  if (runnable_.empty()) return nullptr;
  if (avoid != nullptr && runnable_.size() > 1) std::erase(runnable_, avoid);
  SimThreadState* next = runnable_[random_.below(runnable_.size())];
  if (options_.policy == SchedulePolicy::starve && next->id_ == starved_ &&
      !random_.chance(1, 32)) {
    next = runnable_[random_.below(runnable_.size())];
    if (next->id_ == starved_)
      next = runnable_.front() != next ? runnable_.front() : runnable_.back();
  }
  // A thread that was told to give way is weighed by chance alone, so that a spinner of high
  // priority does not shut out whom it spins for.
  if (options_.policy == SchedulePolicy::priority && avoid == nullptr) {
    for (SimThreadState* t : runnable_) {
      if (t->priority_ > next->priority_) next = t;
    }
    if (random_.chance(1, 64)) next->priority_ = static_cast<std::uint32_t>(random_.next() >> 32);
  }
  return next;
}

bool SimScheduler::block(const char* waits_for, std::uint64_t value,
                         std::uint64_t deadline_ns) noexcept {
  SimThreadState* self = current_;
  HF_CHECK(self != nullptr);     // only a simulated thread can wait
  HF_CHECK(!self->in_handler_);  // an interrupt handler must not
  self->state_ = SimThreadState::State::blocked;
  self->waits_for_ = waits_for;
  self->wait_value_ = value;
  self->deadline_ns_ = deadline_ns;
  self->timed_out_ = false;
  timers_ += deadline_ns != 0 ? 1 : 0;
  SimThreadState* next = pick(nullptr);
  if (next == nullptr) {
    self->fiber_.switch_to(root_, Leaving::for_now);
    HF_CHECK(false);  // a deadlock: nobody comes back here
  }
  if (next != self) switch_to(*next);
  HF_DCHECK(self->state_ == SimThreadState::State::runnable);
  return self->timed_out_;
}

void SimScheduler::unblock(SimThreadState& thread) noexcept {
  if (thread.state_ != SimThreadState::State::blocked) return;
  timers_ -= thread.deadline_ns_ != 0 ? 1 : 0;
  thread.deadline_ns_ = 0;
  thread.word_ = nullptr;
  thread.joins_ = nullptr;
  thread.state_ = SimThreadState::State::runnable;
}

void SimScheduler::join(SimThreadState& thread) noexcept {
  HF_CHECK(current_ != nullptr && current_ != &thread);
  point();
  if (thread.finished()) return;
  current_->joins_ = &thread;
  block("the end of thread", thread.id_, 0);
}

bool SimScheduler::settle() noexcept {
  const std::uint64_t give_up = now_ns_ + 60'000'000'000;
  while (now_ns_ < give_up) {
    // Waiting for a word with a time limit is resting too: that is how a daemon idles.
    const bool busy = std::any_of(live_.begin(), live_.end(), [&](const SimThreadState* t) {
      return t != current_ && (t->state_ == SimThreadState::State::runnable ||
                               (t->deadline_ns_ != 0 && t->word_ == nullptr));
    });
    if (!busy) return true;
    sleep_ns(100'000);
  }
  return false;
}

void SimScheduler::block_signals() noexcept {
  if (current_ != nullptr) ++current_->signals_blocked_;
}

void SimScheduler::unblock_signals() noexcept {
  if (current_ == nullptr) return;
  HF_CHECK(current_->signals_blocked_ > 0);
  --current_->signals_blocked_;
}

std::uint32_t SimScheduler::current_cpu() noexcept {
  if (current_ == nullptr) return 0;
  if (random_.chance(options_.migrate_per_1024, 1024)) {
    current_->cpu_ = static_cast<std::uint32_t>(random_.below(options_.cpus));
    ++stats_.migrations;
  }
  const std::uint32_t cpu = current_->cpu_;
  interleave();  // the answer may be stale when the caller uses it
  return cpu;
}

void SimScheduler::wait(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                        std::uint64_t timeout_ns) noexcept {
  HF_CHECK(current_ != nullptr && !current_->in_handler_);
  point();
  if (word.load(std::memory_order_acquire) != expected) return;
  if (random_.chance(options_.spurious_wake_per_1024, 1024)) {
    ++stats_.waits_spurious;
    reschedule(current_);
    return;
  }
  ++stats_.waits;
  note(SimEvent::wait, expected, timeout_ns);
  current_->word_ = &word;
  block("a word", expected, timeout_ns == 0 ? 0 : now_ns_ + timeout_ns);
}

void SimScheduler::wake(const std::atomic<std::uint32_t>& word, std::uint32_t count) noexcept {
  if (current_ != nullptr) point();
  std::uint32_t woken = 0;
  while (woken < count) {
    runnable_.clear();  // here: who waits for the word; any of them may be first
    for (SimThreadState* t : live_) {
      if (t->state_ == SimThreadState::State::blocked && t->word_ == &word) runnable_.push_back(t);
    }
    if (runnable_.empty()) break;
    SimThreadState* t = runnable_[random_.below(runnable_.size())];
    note(SimEvent::wake, t->id_, 0);
    unblock(*t);
    ++woken;
  }
  stats_.wakes += woken;
}

void SimScheduler::relax() noexcept {
  if (current_ == nullptr) return;
  step(0);
  SimThreadState* self = current_;
  const std::uint64_t switches = stats_.switches;
  reschedule(self);
  // Alone, and others wait for a time: what is spun for is theirs to do, so let the time pass.
  if (stats_.switches == switches && timers_ > 0 && random_.chance(1, 8)) skip_to_timer();
}

}  // namespace holdfast::sys
