#include "program/program.h"

#include <cstdio>

#include "engine/engine_on.h"
#include "program/actor.h"
#include "sync/sync.h"

namespace holdfast::tests {
namespace {

constexpr std::size_t kLogKept = 60;
constexpr int kRetriesMax = 2;  // how often in a row the error handler says "run it again"

}  // namespace

void ProgramProbes::add(const Stats& s) {
  faults_swap += s.faults_swap;
  faults_rescued += s.faults_rescued;
  faults_same_filled += s.faults_same_filled;
  faults_spurious += s.faults_spurious;
  faults_waited += s.faults_waited;
  runs += s.runs;
  runs_moved += s.runs_moved;
  evicted_clean += s.evicted_clean;
  evicted_written += s.evicted_written;
  skipped_pinned += s.skipped_pinned;
  orphans_freed += s.orphans_freed;
  cow_copied += s.cow_copied;
  cow_lifted += s.cow_lifted;
  written_back += s.written_back;
  hash_mismatches += s.hash_mismatches;
  write_out_failed += s.write_out_failed;
}

Program::Program(const ProgramShape& shape)
    : shape_(shape), machine_(shape.machine), random_(shape.seed ^ 0xa0761d6478bd642fULL) {
  if (shape_.exact.n != 0) {
    machine_.failures().fail_at(shape_.exact.kind, shape_.exact.n, shape_.exact.repeat);
  }
}

Program::~Program() = default;

void Program::run() {
  machine_.set_interrupt_handler([this] { on_interrupt(); });
  const sys::RunOutcome outcome = machine_.run([this] { main_thread(); });
  if (outcome != sys::RunOutcome::finished) {
    fail_with("the program did not come to its end");
    // Threads stand where they stood: what they hold cannot be given back.
    static_cast<void>(owned_engine_.release());
    for (Slot& slot : slots_) new (&slot.region) Region();
    for (HeldPin& held : pins_) new (&held.pin) Pin();
    for (auto& held : copies_) new (&held->snapshot) Snapshot();
    return;
  }
  check_nothing_left();
  ++probes_.programs;
  const sys::SimStats& stats = machine_.sim_stats();
  probes_.loads += stats.loads;
  probes_.stores += stats.stores;
  probes_.interrupts_inside += stats.interrupts_inside;
  probes_.faults_again += stats.faults_again;
}

void Program::main_thread() {
  if (!create_engine()) return;
  for (std::uint32_t phase = 0; phase < shape_.phases && !failed(); ++phase) {
    run_phase(shape_.operations / shape_.phases + 1);
    check_quiet("after a phase");
  }
  finish();
}

bool Program::create_engine() {
  Options options = shape_.engine;
  options.on_error = &Program::on_error;
  options.on_error_context = this;
  auto engine = engine::create_on(machine_, options);
  if (!engine) {
    ++probes_.creations_failed;
    judge(engine.error(), "create");
    return false;
  }
  owned_engine_ = std::move(*engine);
  engine_ = owned_engine_.get();
  return true;
}

void Program::run_phase(std::uint32_t operations) {
  std::vector<sys::SimThreadState*> threads;
  const std::uint32_t share = operations / shape_.threads + 1;
  for (std::uint32_t i = 1; i < shape_.threads; ++i) {
    const std::uint64_t seed = random_.next();
    threads.push_back(
        &machine_.spawn("actor", [this, i, seed, share] { Actor(*this, i, seed).run(share); }));
  }
  Actor(*this, 0, random_.next()).run(share);
  for (sys::SimThreadState* thread : threads) machine_.join(*thread);
}

void Program::finish() {
  if (!failed()) verify_everything();
  // What was deferred runs soon; there is a thread for it only with background reclaim.
  for (int i = 0; i < 1000 && shape_.engine.background_reclaim && deferred_run_ < deferred_; ++i) {
    machine_.sleep_ns(10'000'000);
  }
  if (shape_.engine.background_reclaim && deferred_run_ != deferred_) {
    fail_with("%llu of %llu deferred calls ran", static_cast<unsigned long long>(deferred_run_),
              static_cast<unsigned long long>(deferred_));
  }
  drop_holdings();
  check_quiet("when all pins are gone");
  if (!failed() && engine_->stats().pins != 0) fail_with("pins are left that nobody holds");
  unmap_everything();
  check_quiet("when all regions are gone");
  check_budget();
  check_no_corruption();
  probes_.add(engine_->stats());
  engine_ = nullptr;
  owned_engine_.reset();
}

void Program::drop_holdings() {
  while (!pins_.empty()) release_pin(pins_.size() - 1);
  while (!blocks_.empty()) release_block(blocks_.size() - 1);
  // Some copies go before the regions they are of, some after.
  while (copies_.size() > 1) release_copy(random_.below(copies_.size()));
}

void Program::unmap_everything() {
  for (Slot& slot : slots_) {
    if (!slot.model) continue;
    slot.model.reset();
    if (random_.chance(1, 2)) {
      slot.region = Region();  // the destructor's way
      continue;
    }
    if (auto done = slot.region.unmap(); !done) judge(done.error(), "unmap");
  }
  while (!copies_.empty()) {
    for (std::uint64_t page = 0; page < copies_.back()->model.pages() && !failed(); ++page) {
      if (!read_copy(*copies_.back(), page, 1)) break;
    }
    release_copy(copies_.size() - 1);
  }
}

// --- what an asynchronous signal handler may do, and what it may not ---

void Program::on_interrupt() {
  if (engine_ == nullptr || failed()) return;
  switch (random_.below(4)) {
    case 0:
      if (pins_.empty()) return;
      ++probes_.unpins_in_interrupt;
      return release_pin(random_.below(pins_.size()));
    case 1:
      if (blocks_.empty()) return;
      ++probes_.frees_in_interrupt;
      return release_block(random_.below(blocks_.size()));
    case 2: {
      const auto count = [](void* program) noexcept {
        auto* self = static_cast<Program*>(program);
        if (sync::this_thread().interrupt_depth != 0) self->fail_with("deferred to an interrupt");
        ++self->deferred_run_;
      };
      ++deferred_;
      if (!engine_->defer(count, this)) --deferred_;
      ++probes_.deferred;
      return;
    }
    default:
      return try_forbidden();
  }
}

void Program::try_forbidden() {
  if (!sync::in_interrupt()) return;
  ++probes_.refusals_in_interrupt;
  const auto expect = [this](const char* operation, bool done, Errc code) {
    if (done || code != Errc::interrupt_context) {
      fail_with("%s in interrupt context: %s", operation, done ? "done" : name(code));
    }
  };
  if (random_.chance(1, 2)) {
    const auto region = engine_->map_anonymous(kPageSize);
    expect("map", region.has_value(), region ? Errc::system : region.error().code);
    return;
  }
  Slot& slot = slots_[random_.below(kSlots)];
  if (!slot.model || slot.changing || slot.pages == 0) return;
  if (random_.chance(1, 2)) {
    const auto advised = slot.region.advise(0, kPageSize, Advice::free);
    return expect("advise", advised.has_value(), advised ? Errc::system : advised.error().code);
  }
  // What is resident an interrupt can pin; and the region may be gone by the time it looks.
  const auto pin = engine_->pin(reinterpret_cast<const void*>(slot.base), 1);
  if (pin || pin.error().code == Errc::not_mapped) return;
  expect("pin", false, pin.error().code);
}

// --- errors ---

OnError Program::on_error(const Error& error, std::uintptr_t address, void* program) noexcept {
  auto* self = static_cast<Program*>(program);
  self->told_[address & ~(kPageSize - 1)] = error;
  self->log("on_error %s at %#llx", name(error.code), static_cast<unsigned long long>(address));
  if (self->retries_ < kRetriesMax && self->random_.chance(1, 2)) {
    ++self->retries_;
    return OnError::retry;
  }
  self->retries_ = 0;
  return OnError::terminate;
}

// Failures that the machine was made to have and that a program may get to see. EAGAIN and EBUSY
// of copy and move are not among them: the engine has to ride them out.
std::uint64_t Program::visible_failures() {
  using Kind = sys::FailureKind;
  sys::Failures& failures = machine_.failures();
  return failures.injected_in_all() - failures.injected(Kind::copy_again) -
         failures.injected(Kind::move_again) - failures.injected(Kind::move_busy) -
         failures.injected(Kind::protect_again);
}

bool Program::is_excused(Errc code) {
  using Kind = sys::FailureKind;
  sys::Failures& failures = machine_.failures();
  switch (code) {
    case Errc::out_of_memory:
    case Errc::swap_full:
    case Errc::budget_exceeded:
      return shape_.may_run_out || visible_failures() > 0;
    case Errc::io_error:
      return failures.injected(Kind::file_read) + failures.injected(Kind::file_write) +
                     failures.injected(Kind::file_full) + failures.injected(Kind::file_corrupt) >
                 0 ||
             shape_.machine.file_limit_bytes != 0;
    case Errc::corrupted:
      return failures.injected(Kind::file_corrupt) > 0;
    case Errc::system:
    case Errc::permission:
      return visible_failures() > 0;
    default:
      return false;
  }
}

void Program::judge(const Error& error, const char* operation) {
  log("%s: %s", operation, name(error.code));
  if (is_excused(error.code)) {
    ++probes_.errors_excused;
    return;
  }
  fail_with("%s failed for no reason: %s", operation, error.message().c_str());
}

// --- telling ---

void Program::fail_with(const char* format, ...) {
  if (failed()) return;
  char text[400];
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  failure_ = text;
  log("FAILED: %s", text);
}

void Program::log(const char* format, ...) {
  char text[200];
  const sys::SimStats& stats = machine_.sim_stats();
  const int head =
      std::snprintf(text, sizeof text, "[%llu] ", static_cast<unsigned long long>(stats.steps));
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text + head, sizeof text - static_cast<std::size_t>(head), format, arguments);
  va_end(arguments);
  if (log_.size() < kLogKept) {
    log_.emplace_back(text);
  } else {
    log_[logged_ % kLogKept] = text;
  }
  ++logged_;
}

std::string Program::report() const {
  std::string text = "HOLDFAST_SEED=" + std::to_string(shape_.seed) + "\n" + failure_ + "\n";
  const Options& o = shape_.engine;
  char line[256];
  std::snprintf(
      line, sizeof line,
      "  %u threads, %u phases, %u operations, budget %llu pages, window %u, %s, move %d, "
      "background %d, cpus %u, tiers:",
      shape_.threads, shape_.phases, shape_.operations,
      static_cast<unsigned long long>(shape_.budget_pages), o.window_pages,
      o.delivery == FaultDelivery::thread ? "thread" : "signal",
      o.use_move && shape_.machine.can_move ? 1 : 0, o.background_reclaim ? 1 : 0,
      shape_.machine.cpus);
  text += line;
  for (const SwapTier& tier : o.swap) {
    text += tier.kind == SwapTier::Kind::ram ? " ram" : " file";
    if (tier.limit_bytes != 0) text += " <= " + std::to_string(tier.limit_bytes);
  }
  text += "\n  operations:\n";
  for (std::size_t i = 0; i < log_.size(); ++i) {
    text += "  " + log_[log_.size() < kLogKept ? i : (logged_ + i) % kLogKept] + "\n";
  }
  return text + machine_.report();
}

}  // namespace holdfast::tests
