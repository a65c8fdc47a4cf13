#include "sync/mutex.h"

#include "base/base.h"
#include "sync/parking.h"

namespace holdfast::sync {

const char* name(Rank rank) noexcept {
  switch (rank) {
    case Rank::region_table:
      return "region_table";
    case Rank::entry:
      return "entry";
    case Rank::before_images:
      return "before_images";
    case Rank::page:
      return "page";
    case Rank::cache:
      return "cache";
    case Rank::lru:
      return "lru";
    case Rank::buddy:
      return "buddy";
    case Rank::slot_map:
      return "slot_map";
    case Rank::tier:
      return "tier";
    case Rank::device:
      return "device";
  }
  return "unknown";
}

#if defined(HOLDFAST_DEBUG)
namespace {

// Both names in the line: which lock was asked for, and which one stands in its way.
[[noreturn]] void fail_order(const char* doing, Rank rank, const char* held) noexcept {
  char buffer[160];
  base::Text text(buffer, sizeof buffer);
  text.add("lock order: ").add(doing).add(" ").add(name(rank)).add(" while holding ").add(held);
  base::check_failed(__FILE__, __LINE__, buffer, 0, 0);
}

void push_rank(ThreadContext& thread, Rank rank) noexcept {
  HF_CHECK2(thread.held_locks < kHeldLocksMax, thread.held_locks, rank);
  thread.held_ranks[thread.held_locks++] = static_cast<std::uint8_t>(rank);
}

// Locks need not be given back in the order in which they were taken.
void erase_rank(ThreadContext& thread, Rank rank) noexcept {
  int i = thread.held_locks - 1;
  while (i >= 0 && thread.held_ranks[i] != static_cast<std::uint8_t>(rank)) --i;
  if (i < 0) fail_order("gives back", rank, "no lock of this rank");
  for (; i + 1 < thread.held_locks; ++i) thread.held_ranks[i] = thread.held_ranks[i + 1];
  --thread.held_locks;
}

}  // namespace

void note_acquire(Rank rank) noexcept {
  ThreadContext& thread = this_thread();
  if (thread.interrupt_depth > 0) fail_order("takes", rank, "interrupt context");
  for (int i = 0; i < thread.held_locks; ++i) {
    const auto held = static_cast<Rank>(thread.held_ranks[i]);
    const bool another_entry = rank == Rank::entry && held == Rank::entry;
    if (held >= rank && !another_entry) fail_order("takes", rank, name(held));
  }
  if (rank == Rank::entry && thread.held_entries++ > 0) return;
  push_rank(thread, rank);
}

void note_release(Rank rank) noexcept {
  ThreadContext& thread = this_thread();
  if (rank == Rank::entry && --thread.held_entries > 0) return;
  erase_rank(thread, rank);
}

void check_none_held() noexcept {
  const ThreadContext& thread = this_thread();
  if (thread.held_locks == 0) return;
  const auto held = static_cast<Rank>(thread.held_ranks[thread.held_locks - 1]);
  fail_order("waits or runs foreign code below", held, name(held));
}

void check_may_wait() noexcept {
  const ThreadContext& thread = this_thread();
  if (thread.held_locks == 0) return;
  const auto held = static_cast<Rank>(thread.held_ranks[thread.held_locks - 1]);
  if (held != Rank::entry) fail_order("waits for I/O below", held, name(held));
}
#else
void note_acquire(Rank) noexcept {}
void note_release(Rank) noexcept {}
void check_none_held() noexcept {}
void check_may_wait() noexcept {}
#endif

namespace detail {

// Critical sections under these locks last a microsecond or so; a futex sleep and its wake-up
// across CPUs cost 70. So spin for about the length of one before sleeping.
constexpr int kSpins = 64;

void FutexWord::acquire_slowly() noexcept {
  Parking& park = parking();
  for (int i = 0; i < kSpins; ++i) {
    park.relax();
    if (word_.load(std::memory_order_relaxed) == 0 && try_acquire()) return;
  }
  // 2 says that somebody waits: taken by a waiter, the lock keeps it, as others may wait too.
  while (word_.exchange(2, std::memory_order_acquire) != 0) park.wait(word_, 2, 0);
}

void FutexWord::wake_one() noexcept { parking().wake(word_, 1); }

}  // namespace detail
}  // namespace holdfast::sync
