#include "reclaim/reclaimer.h"

#include <algorithm>

namespace holdfast::reclaim {
namespace {

// Steps without progress in a row after which nothing can leave: each looks at up to 256 active
// pages and tries 64 inactive ones, and others have run in between.
constexpr int kIdleStepsMax = 16;
// While another thread has pages on their way to swap, there is something to wait for: that many
// short waits count as one idle step. (A device that fails for all must still come to an end.)
constexpr int kWaitsPerIdleStep = 64;
constexpr std::uint64_t kShortWaitNs = 100'000;
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
    if (pauses_.load(std::memory_order_seq_cst) == 0) work();
    busy_.store(0, std::memory_order_seq_cst);
    sleeping_.store(1, std::memory_order_seq_cst);
    if (wakes_.load(std::memory_order_seq_cst) == seen && !stop_.load(std::memory_order_seq_cst)) {
      sync::parking().wait(wakes_, seen, kNapNs);
    }
    sleeping_.store(0, std::memory_order_seq_cst);
  }
}

void Reclaimer::work() noexcept {
  chores();
  const sync::EngineScope scope;
  const std::uint64_t high = parts_.pool.watermarks().high;
  parts_.counters.add(space::Count::reclaim_background);
  int idle = 0;
  for (int steps = 1; idle < kIdleStepsMax; ++steps) {
    if (stop_.load(std::memory_order_relaxed) || pauses_.load(std::memory_order_relaxed) != 0) {
      return;
    }
    if (parts_.pool.free_count() >= high && !orphans_wait()) return;
    const StepResult result = scanner_.step(false);
    idle = result.progress ? 0 : idle + 1;
    if (!result.progress) sync::parking().relax();
    if (steps % kStepsBetweenChores == 0) chores();
  }
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

void Reclaimer::chores() noexcept {
  deferred_.drain();
  const sync::EngineScope scope;
  (void)space_.sweep_zombies();
  parts_.pool.drain();
  for (int passes = 0; passes < kStepsBetweenChores && parts_.swap.maintain(); ++passes) {
  }
}

// A step found nothing to do: waits for others, or counts it. True: nothing can leave any more.
bool Reclaimer::give_up(int& idle, int idle_max) noexcept {
  for (int waits = 0; waits < kWaitsPerIdleStep && space_.evictor().writing(); ++waits) {
    sync::parking().wait(sleeping_, sleeping_.load(std::memory_order_relaxed), kShortWaitNs);
    if (parts_.pool.free_count() > parts_.pool.watermarks().min) return false;
  }
  sync::parking().relax();
  return ++idle >= idle_max;
}

bool Reclaimer::relieve(std::uint32_t frames) noexcept {
  const std::uint64_t enough = parts_.pool.watermarks().min + std::uint64_t{frames};
  wake();
  // Where nothing could leave a moment ago, two steps show whether that is still so.
  const int idle_max = stalled() ? 2 : kIdleStepsMax;
  for (int idle = 0;;) {
    if (parts_.pool.free_count() > enough) {
      stalled_.store(false, std::memory_order_relaxed);
      return true;
    }
    if (scanner_.step(true).progress) {
      idle = 0;
      continue;
    }
    (void)parts_.swap.maintain();
    if (give_up(idle, idle_max)) break;
  }
  const bool some = parts_.pool.free_count() > parts_.pool.watermarks().min;
  stalled_.store(!some, std::memory_order_relaxed);
  return some;
}

std::uint64_t Reclaimer::reclaim(std::uint64_t pages) noexcept {
  std::uint64_t left = 0;
  for (int idle = 0; left < pages;) {
    const std::uint64_t before = parts_.pool.free_count();
    const StepResult result = scanner_.step(true);
    if (result.progress) idle = 0;
    if (!result.progress && give_up(idle, kIdleStepsMax)) break;
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
