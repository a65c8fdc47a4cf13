// The coroutines that wait for pages, and the thread that serves them.
//
//   apart ──wait──▶ waiting ──▶ served ──▶ done ──▶ apart, and resumed
//                      ▲          │ │
//                      └──────────┘ └──▶ apart, not resumed: forgotten meanwhile
//
// A round takes the oldest request and others of its region, as many as have kRunMax pages
// together, brings the next pages of each in (AddressSpace::bring_in_together), and resumes those
// that are over; the others queue up again, so that a long range does not hold up short ones.
//
// Who owns what: a request is its coroutine's, and in the queue only as a link. It is touched under
// the lock, or by the thread while it is `served`; whoever wants to take one away that is served
// waits for the end of the round.
//
// Locks: one of rank device, for steps of a few instructions. Nothing waits and nobody is resumed
// under it.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "holdfast/ready.h"
#include "space/space.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::engine {

class ReadyQueue final : public detail::ReadyWaiters {
 public:
  ReadyQueue(sys::Machine& machine, space::AddressSpace& space) noexcept
      : machine_(machine), space_(space) {}
  ~ReadyQueue() { stop(); }
  ReadyQueue(const ReadyQueue&) = delete;
  ReadyQueue& operator=(const ReadyQueue&) = delete;

  // The request (its waiter, offset and bytes are set) waits for its range of the region, which is
  // inside it: `offset` bytes behind its beginning. As ReadyControl::begin_ready. Errors:
  // budget_exceeded, and those of start_thread.
  Expected<bool> wait(detail::ReadyRequest& request, space::RegionRecord& region,
                      std::uint64_t offset);
  void forget(detail::ReadyRequest& request) noexcept override;
  void cancel(detail::ReadyRequest& request) noexcept override;
  // Ends the thread; whatever still waits is told not_mapped, and resumed. Nobody waits afterwards.
  void stop() noexcept;
  // The region goes: who waits for it is told not_mapped. Nothing of it is worked on afterwards.
  void leave(space::RegionRecord& region) noexcept;

 private:
  using Request = detail::ReadyRequest;
  using Lock = sync::Mutex<sync::Rank::device>;
  using Guard = sync::MutexGuard<sync::Rank::device>;

  class List {
   public:
    [[nodiscard]] Request* front() const noexcept { return first_; }
    void push_back(Request& request) noexcept;
    void remove(Request& request) noexcept;

   private:
    Request* first_ = nullptr;
    Request* last_ = nullptr;
  };

  Expected<void> start();
  void wake_thread() HF_REQUIRES(lock_);
  void finish(Request& request, Expected<std::uint64_t> result) HF_REQUIRES(lock_);
  void serve_forever() noexcept;
  bool serve_round() noexcept;
  void take_round() HF_REQUIRES(lock_);
  void end_round(const Expected<void>& result) HF_REQUIRES(lock_);
  void resume_done() noexcept;

  sys::Machine& machine_;
  space::AddressSpace& space_;

  sync::Turn starting_;  // of the thread, by the first that waits
  std::atomic<bool> started_{false};
  std::unique_ptr<sys::Thread> thread_;

  Lock lock_;
  List waiting_ HF_GUARDED_BY(lock_);
  List done_ HF_GUARDED_BY(lock_);
  bool asleep_ HF_GUARDED_BY(lock_) = false;
  bool stop_ HF_GUARDED_BY(lock_) = false;
  space::RegionRecord* served_ HF_GUARDED_BY(lock_) = nullptr;  // of the round; null: none

  std::atomic<std::uint32_t> work_{0};  // bumped when the thread is to wake up; it parks on it
  std::atomic<std::uint32_t> rounds_{
      0};  // bumped at the end of each; who waits for one parks on it

  // The thread's own: the round.
  std::array<Request*, space::kRunMax> requests_{};
  std::array<space::WantedPages, space::kRunMax> wanted_{};
  std::uint32_t count_ = 0;
};

}  // namespace holdfast::engine
