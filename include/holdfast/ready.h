// Ready: waiting for pages in a coroutine, instead of taking a fault.
//
// What it is for: a program with many things to do whose memory is partly on a disk: an index with
// a thousand lookups under way. A fault stops its thread for one page; co_await stops one
// coroutine, and all that wait are read at once, up to 64 pages in flight. For every kind of
// region: pages of files are read, pages in swap are loaded, what was never touched is made.
//
// Who owns what: a Ready belongs to the coroutine that waits for it. The coroutine may be destroyed
// while it waits, by whoever knows that it does (other coroutines that were resumed do: only one of
// them runs at a time); what is in flight is waited for then. The memory stays the region's:
// nothing is pinned. So under pressure a page may have left again when the coroutine looks at it,
// and a fault brings it back; pin what must stay.
//
// Typical flow:
//     Task look_up(const holdfast::FileMapping& table, std::uint64_t key, Answer& answer) {
//       const std::uint64_t offset = offset_of(key);
//       const auto pages = co_await table.ready(offset, sizeof(Row));
//       if (!pages) co_return answer.fail(pages.error());   // errno and offset, as a fault has
//       them answer.take(*reinterpret_cast<const Row*>(table.data() + offset));
//     }
// examples/lookups.cc is a whole program.
//
// Where it goes on: without waiting, in the coroutine's own thread, where everything is in memory,
// and after an error that is known at once. Else on a thread of the engine, the same for all of its
// regions, in task context: the coroutines go on one after another, and hold each other up for as
// long as each runs until its next co_await.
#pragma once

#include <atomic>
#include <coroutine>
#include <cstdint>

#include "holdfast/context.h"
#include "holdfast/error.h"

namespace holdfast {

namespace detail {

struct ReadyRequest;

// Where requests wait. Implemented by the engine.
class ReadyWaiters {
 public:
  // Nobody waits for it any more. Afterwards its coroutine will not be resumed.
  virtual void forget(ReadyRequest& request) noexcept = 0;
  // It is over as soon as nothing of it is in flight.
  virtual void cancel(ReadyRequest& request) noexcept = 0;

 protected:
  ~ReadyWaiters() = default;
};

// One coroutine that waits: a link of the engine's list while it does.
struct ReadyRequest {
  enum class State : std::uint8_t { apart, waiting, served, done };

  // The caller's.
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  std::coroutine_handle<> waiter;
  Expected<std::uint64_t> result = 0;

  // The engine's.
  std::atomic<ReadyWaiters*> waiters{nullptr};  // null: it waits nowhere
  ReadyRequest* next = nullptr;
  ReadyRequest* previous = nullptr;
  State state = State::apart;
  bool forgotten = false;
  bool cancelled = false;
  void* region = nullptr;
  std::uint64_t first = 0, end = 0;  // pages that are still to be brought in
  std::uint64_t came = 0;
};

// What can be waited for: regions and file mappings. Implemented by the engine.
class ReadyControl {
 public:
  // True: the request waits, and its coroutine is resumed when it is over; perhaps it has been by
  // now. False: it is over at once, and has its result.
  virtual Expected<bool> begin_ready(ReadyRequest& request);

 protected:
  ~ReadyControl() = default;
};

}  // namespace detail

// What co_await waits for: see Region::ready and FileMapping::ready. Used where it was made.
class [[nodiscard]] Ready {
 public:
  Ready(detail::ReadyControl* control, std::uint64_t offset, std::uint64_t bytes) noexcept
      : control_(control) {
    request_.offset = offset;
    request_.bytes = bytes;
  }
  Ready(const Ready&) = delete;
  Ready& operator=(const Ready&) = delete;
  // Of a coroutine that waits: it is forgotten. Task context.
  ~Ready() {
    detail::ReadyWaiters* const waiters = request_.waiters.load();
    if (waiters != nullptr) waiters->forget(request_);
  }

  // Ends a wait that has begun, from any thread, as long as this lives (so give it a name):
  //     auto pages = table.ready(offset, bytes);   // elsewhere: pages.cancel()
  //     if (!co_await pages) ...                   // Errc::cancelled, if it was not over before
  HF_TASK_ONLY void cancel() noexcept {
    detail::ReadyWaiters* const waiters = request_.waiters.load();
    if (waiters != nullptr) waiters->cancel(request_);
  }

  [[nodiscard]] bool await_ready() const noexcept { return false; }
  HF_TASK_ONLY bool await_suspend(std::coroutine_handle<> waiter);
  [[nodiscard]] Expected<std::uint64_t> await_resume() const noexcept { return request_.result; }

 private:
  detail::ReadyControl* const control_;  // null: no region
  detail::ReadyRequest request_;
};

}  // namespace holdfast
