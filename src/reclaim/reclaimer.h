// The reclaimer: who works when memory is short. A thread in the background that wakes at the low
// watermark and works to the high one, and the same work done by a fault that found nothing left.
//
// An actor: nothing but engine/ includes it. It is woken through page::PressureSink (any context,
// lock-free) and asked directly through space::MemoryRelief; switched off, the rest still runs
// until memory is full.
//
// The thread also does what others leave to task context: deferred functions, frames freed in
// interrupts, zombies of unmapped regions, housekeeping of the swap tiers, and the write-back of
// mapped files (Chore).
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "reclaim/scanner.h"
#include "space/space.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::reclaim {

// Work for the thread that is nobody's fault, done when there is time for it: a little at once.
class Chore {
 public:
  // Does some of it. Returns when it wants to be asked again, by the machine's clock, ns. Task
  // context, nothing held; may wait for I/O, during which the thread reclaims nothing.
  virtual std::uint64_t do_some() noexcept = 0;
  // False: there has been nothing to do yet. Any context, lock-free.
  [[nodiscard]] virtual bool is_wanted() const noexcept = 0;

 protected:
  ~Chore() = default;
};

class Reclaimer final : public page::PressureSink, public space::MemoryRelief {
 public:
  // chore: null, or lives until stop().
  Reclaimer(space::Parts& parts, space::AddressSpace& space, Chore* chore = nullptr) noexcept
      : parts_(parts), space_(space), scanner_(parts, space), chore_(chore) {}
  ~Reclaimer() { stop(); }
  Reclaimer(const Reclaimer&) = delete;
  Reclaimer& operator=(const Reclaimer&) = delete;

  // Starts the thread. Errors: system.
  Expected<void> start();
  // Ends the thread and waits for it. More than once is harmless.
  void stop() noexcept;

  // Any context, lock-free.
  void wake() noexcept override;
  // Task context: frees about `frames` frames, or says that nothing can leave any more.
  [[nodiscard]] bool relieve(std::uint32_t frames, page::Priority priority) noexcept override;
  // Frees until `pages` pages have left memory, or nothing more can; returns how many did.
  std::uint64_t reclaim(std::uint64_t pages) noexcept;

  // Any context, lock-free. False: the queue is full.
  [[nodiscard]] bool defer(void (*fn)(void*) noexcept, void* argument) noexcept;

  // Keeps the thread from working until resume(); returns when it does not. For check_all().
  void pause() noexcept;
  void resume() noexcept;
  // Does what is left to task context, now, on the caller's thread.
  void settle() noexcept;

  // True if the last attempt to make room failed: new memory is refused until one succeeds.
  [[nodiscard]] bool stalled() const noexcept { return stalled_.load(std::memory_order_relaxed); }

 private:
  // Steps without progress in a row.
  struct Patience {
    std::uint64_t idle = 0;
    int hopeless = 0;
  };
  // For what others do with a file that a page has to go to.
  struct TurnWait {
    std::uint64_t until_ns = 0;  // 0: none is under way
  };

  static void run_thread(void* self) noexcept;
  void loop() noexcept;
  void work() noexcept;
  void chores() noexcept;
  void chore() noexcept;
  [[nodiscard]] std::uint64_t nap_ns() noexcept;
  StepResult step_in_background() noexcept;
  [[nodiscard]] bool orphans_wait() noexcept;
  [[nodiscard]] bool stream_waits(std::uint64_t high) noexcept;
  [[nodiscard]] bool others_at_work() noexcept;
  [[nodiscard]] bool wait_for_turn(const StepResult& result, TurnWait& wait) noexcept;
  [[nodiscard]] bool give_up(const StepResult& result, Patience& patience) noexcept;

  space::Parts& parts_;
  space::AddressSpace& space_;
  Scanner scanner_;
  Chore* const chore_;
  std::uint64_t chore_due_ns_ = 0;  // of the thread alone
  sync::DeferQueue deferred_;
  std::unique_ptr<sys::Thread> thread_;

  // What the thread parks on: bumped by every wake, so that none is lost.
  std::atomic<std::uint32_t> wakes_{0};
  std::atomic<std::uint32_t> sleeping_{0};  // 1: parked, or about to; a wake must call the kernel
  std::atomic<bool> stop_{false};
  std::atomic<std::uint32_t> pauses_{0};
  std::atomic<std::uint32_t> busy_{0};  // 1 while the thread works
  std::atomic<bool> stalled_{false};
};

}  // namespace holdfast::reclaim
