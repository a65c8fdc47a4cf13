#include "reclaim/reclaimer.h"

#include <algorithm>

namespace holdfast::reclaim {
namespace {

// Steps without progress in a row, beyond those that look at everything once, after which nothing
// can leave: others have run in between.
constexpr std::uint64_t kIdleStepsMore = 14;
// Steps in a row that found nothing to try at all, after which nothing can leave: what others had
// in hand meanwhile has come to its place.
constexpr int kHopelessMax = 3;
// While others are at work on pages or frames there is something to wait for: that many short waits
// count as one idle step. (A device that fails for all must still come to an end.)
constexpr int kWaitsPerIdleStep = 64;
constexpr std::uint64_t kShortWaitNs = 100'000;
// How long at most somebody waits for others to have written to a file, before he takes it that
// nothing can leave: as long as Linux gives a disk for one command, by default.
constexpr std::uint64_t kTurnMaxNs = 30'000'000'000;
// How long the thread sleeps at most: zombies and tiers are looked after even if nobody wakes it.
constexpr std::uint64_t kNapNs = 100'000'000;
// After this many steps in a row the thread does its chores before it goes on.
constexpr int kStepsBetweenChores = 32;

}  // namespace

Expected<void> Reclaimer::start() {
  thread_ = TRY(parts_.machine.start_thread("hf-reclaim", &Reclaimer::run_thread, this));
  return {};
}

void Reclaimer::stop() noexcept {
  if (thread_ == nullptr) return;
  stop_.store(true, std::memory_order_seq_cst);
  wakes_.fetch_add(1, std::memory_order_seq_cst);
  sync::parking().wake(wakes_, sync::kWakeAll);
  thread_->join();
  thread_.reset();
}

void Reclaimer::wake() noexcept {
  wakes_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.exchange(0, std::memory_order_seq_cst) != 0) {
    sync::parking().wake(wakes_, sync::kWakeAll);
  }
}

bool Reclaimer::defer(void (*fn)(void*) noexcept, void* argument) noexcept {
  if (!deferred_.push(fn, argument)) return false;
  wake();
  return true;
}

void Reclaimer::run_thread(void* self) noexcept {
  auto* reclaimer = static_cast<Reclaimer*>(self);
  reclaimer->loop();
}

void Reclaimer::loop() noexcept {
  while (!stop_.load(std::memory_order_seq_cst)) {
    const std::uint32_t seen = wakes_.load(std::memory_order_seq_cst);
    busy_.store(1, std::memory_order_seq_cst);
    if (pauses_.load(std::memory_order_seq_cst) == 0) {
      work();
      chore();
    }
    busy_.store(0, std::memory_order_seq_cst);
    sleeping_.store(1, std::memory_order_seq_cst);
    if (wakes_.load(std::memory_order_seq_cst) == seen && !stop_.load(std::memory_order_seq_cst)) {
      const std::uint64_t nap = nap_ns();
      if (nap > 0) sync::parking().wait(wakes_, seen, nap);
    }
    sleeping_.store(0, std::memory_order_seq_cst);
  }
}

void Reclaimer::work() noexcept {
  chores();
  const std::uint64_t high = parts_.pool.watermarks().high;
  parts_.counters.add(space::Count::reclaim_background);
  const std::uint64_t idle_max = scanner_.steps_for_all() + kIdleStepsMore;
  std::uint64_t idle = 0;
  for (int steps = 1; idle < idle_max; ++steps) {
    if (stop_.load(std::memory_order_relaxed) || pauses_.load(std::memory_order_relaxed) != 0) {
      return;
    }
    if (parts_.pool.free_count() >= high && !orphans_wait() && !stream_waits(high)) return;
    const StepResult result = step_in_background();
    if (result.hopeless) return;
    idle = result.progress ? 0 : idle + 1;
    if (!result.progress) sync::parking().relax();
    // Outside of the engine's scope: what was deferred runs in task context.
    if (steps % kStepsBetweenChores == 0) {
      chores();
      chore();
    }
  }
}

// What is left of memory comes first, so it is called when that is enough, or now and then.
void Reclaimer::chore() noexcept {
  if (chore_ == nullptr || !chore_->is_wanted()) return;
  if (parts_.machine.now_ns() < chore_due_ns_) return;
  chore_due_ns_ = chore_->do_some();
}

// How long the thread may sleep. 0: not at all.
std::uint64_t Reclaimer::nap_ns() noexcept {
  const bool none = chore_ == nullptr || !chore_->is_wanted();
  if (none || pauses_.load(std::memory_order_relaxed) != 0) return kNapNs;
  const std::uint64_t now = parts_.machine.now_ns();
  return now >= chore_due_ns_ ? 0 : std::min(kNapNs, chore_due_ns_ - now);
}

StepResult Reclaimer::step_in_background() noexcept {
  const sync::EngineScope scope;
  return scanner_.step(false);
}

// Pages of regions that are gone are freed whatever the watermarks say.
bool Reclaimer::orphans_wait() noexcept {
  FrameIndex first[1];
  if (parts_.lru.oldest_inactive(first) == 0) return false;
  page::Page& page = parts_.pool.page(first[0]);
  const bool orphan = page.state() == page::PageState::orphan && page.count() == 2;
  parts_.pool.put(page, page::Holder::caller);
  return orphan;
}

// A stream that is carried in needs windows, not free frames. Those that turn out to be of no use
// to it (full of holes) come free; enough of that is enough.
bool Reclaimer::stream_waits(std::uint64_t high) noexcept {
  return parts_.cache->wants_window() && parts_.pool.free_count() < high + parts_.window_pages;
}

void Reclaimer::chores() noexcept {
  deferred_.drain();
  const sync::EngineScope scope;
  (void)space_.sweep_zombies();
  parts_.pool.drain();
  for (int passes = 0; passes < kStepsBetweenChores && parts_.swap.maintain(); ++passes) {
  }
}

bool Reclaimer::others_at_work() noexcept {
  return scanner_.stepping() != 0 || parts_.pool.counts().reserved != 0;
}

// A step found a page that has to go to a file to which somebody else is writing. Waits for him a
// little; true: that was worth a try. Not if he may be waiting for the caller.
bool Reclaimer::wait_for_turn(const StepResult& result, TurnWait& wait) noexcept {
  if (!result.turn_busy || sync::this_thread().turns > 0) return false;
  const std::uint64_t now = parts_.machine.now_ns();
  if (wait.until_ns == 0) wait.until_ns = now + kTurnMaxNs;
  if (now >= wait.until_ns) return false;
  sync::parking().wait(sleeping_, sleeping_.load(std::memory_order_relaxed), kShortWaitNs);
  return true;
}

// A step found nothing to do: waits for others, or counts it. True: nothing can leave any more.
bool Reclaimer::give_up(const StepResult& result, Patience& patience) noexcept {
  const std::uint64_t free = parts_.pool.free_count();
  int waits = 0;
  while (waits < kWaitsPerIdleStep && (waits == 0 || others_at_work())) {
    sync::parking().wait(sleeping_, sleeping_.load(std::memory_order_relaxed), kShortWaitNs);
    if (parts_.pool.free_count() > free) break;
    ++waits;
  }
  patience.hopeless = result.hopeless && !others_at_work() ? patience.hopeless + 1 : 0;
  if (patience.hopeless >= kHopelessMax) return true;
  return ++patience.idle >= scanner_.steps_for_all() + kIdleStepsMore;
}

bool Reclaimer::relieve(std::uint32_t frames, page::Priority priority) noexcept {
  const std::uint64_t kept = parts_.pool.kept_from(priority);
  const std::uint64_t enough = kept + frames;
  wake();
  // Also looked at before each step: what was free then others may have taken by the time that it
  // gives up, and there may be pages to reclaim again. Whoever asked tries once more.
  bool some = false;
  TurnWait turn;
  for (Patience patience;;) {
    const std::uint64_t free = parts_.pool.free_count();
    some = some || free > kept;
    if (free > enough) break;
    const StepResult result = scanner_.step(true);
    if (result.progress || wait_for_turn(result, turn)) {
      if (result.progress) turn = {};
      patience = {};
      some = false;
      continue;
    }
    (void)parts_.swap.maintain();
    if (give_up(result, patience)) break;
  }
  some = some || parts_.pool.free_count() > kept;
  stalled_.store(!some, std::memory_order_relaxed);
  return some;
}

std::uint64_t Reclaimer::reclaim(std::uint64_t pages) noexcept {
  std::uint64_t left = 0;
  for (Patience patience; left < pages;) {
    const std::uint64_t before = parts_.pool.free_count();
    const StepResult result = scanner_.step(true);
    if (result.progress) patience = {};
    if (!result.progress && give_up(result, patience)) break;
    const std::uint64_t after = parts_.pool.free_count();
    left += after > before ? after - before : 0;
  }
  return left;
}

void Reclaimer::pause() noexcept {
  pauses_.fetch_add(1, std::memory_order_seq_cst);
  while (busy_.load(std::memory_order_seq_cst) != 0) sync::parking().relax();
}

void Reclaimer::resume() noexcept {
  pauses_.fetch_sub(1, std::memory_order_seq_cst);
  wake();
}

void Reclaimer::settle() noexcept {
  chores();
  const sync::EngineScope scope;
  while (orphans_wait() && scanner_.step(true).progress) {
  }
  parts_.cache->drop_finished();
}

}  // namespace holdfast::reclaim
