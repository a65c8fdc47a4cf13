// Pages on their way in, which no pager thread waits for: one that waited itself would hold up
// every other fault of its process. Threads of their own wait, and the pager thread serves on.
//
// There are two of them: one for pages of far memory, for a pool that does not answer is waited for
// as long as --far-wait says; and one for what is read ahead of streams, of which nobody need wait.
//
// Who owns what: a load is lent from begin() to end() to the client that began it. It has a count
// of each of its slots, so their content stays what it is whatever becomes of the pages that were
// there: who comes back for it looks a slot up, not a place. The room for the pages is made at the
// beginning, and is charged to the budget.
//
// Flow: begin() -> a thread loads -> the client's eventfd is written -> find() each slot -> end().
//
// Thread-safe, but for a load that is lent: that is its client's.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/base.h"
#include "swap/swap.h"
#include "sys/sys.h"

namespace holdfast::run {

class SlotLoads {
 public:
  static constexpr std::uint32_t kPagesMost = 64;  // of one load

  class Load {
   public:
    // What the slot holds; null: it is none of these, or out of reach. Only when the load has
    // arrived.
    [[nodiscard]] const swap::LoadItem* find(SlotIndex slot) const noexcept;
    [[nodiscard]] bool has(SlotIndex slot) const noexcept;
    [[nodiscard]] bool has_arrived() const noexcept {
      return arrived_.load(std::memory_order_acquire);
    }

    [[nodiscard]] std::uint32_t size() const noexcept { return count_; }

    // The client's own: what it began it for.
    std::uint32_t waiting = 0;  // how many of its faults wait
    std::uint32_t wanted = 0;   // how many pages the first of them was to be served with
    std::uint32_t ahead = 0;    // from this one on they are others, which were to come along
    std::array<std::uint64_t, kPagesMost> pages{};  // where each was; it may be elsewhere by now
    std::uint64_t ahead_since_ns = 0;  // when nobody waited for it yet; 0: it was begun for a fault

    [[nodiscard]] bool is_ahead() const noexcept { return ahead_since_ns != 0; }
    // Gives it back, whether it has arrived or not.
    void end() { owner_->end(*this); }

   private:
    friend class SlotLoads;
    std::uint32_t count_ = 0;
    std::array<swap::LoadItem, kPagesMost> items_{};
    SlotLoads* owner_ = nullptr;
    std::byte* room_ = nullptr;
    int tell_ = -1;  // the client's eventfd; -1: nobody is to be told, for it has been given up
    bool on_its_way_ = false;  // guarded by the mutex of the loads, as is the one before
    std::atomic<bool> arrived_{false};
  };

  // `loads` at a time, in `threads` threads, out of what tiers that reach has.
  struct Options {
    std::uint32_t loads = 0;
    std::uint32_t threads = 0;
    swap::Reach reach = swap::Reach::anywhere;
  };
  [[nodiscard]] static Expected<std::unique_ptr<SlotLoads>> create(sys::Machine& machine,
                                                                   swap::Swap& swap,
                                                                   const Options& options);
  ~SlotLoads();  // waits for what is on its way; nobody has a load any more
  SlotLoads(const SlotLoads&) = delete;
  SlotLoads& operator=(const SlotLoads&) = delete;

  // What so many take, pages.
  [[nodiscard]] static constexpr std::uint32_t pages_of(std::uint32_t loads) noexcept {
    return loads * kPagesMost;
  }

  // Takes a count of each slot. `tell`: an eventfd that is written to once the load has arrived,
  // unless it has been ended before. Null: all are lent.
  [[nodiscard]] Load* begin(std::span<const SlotIndex> slots, int tell);

 private:
  SlotLoads(sys::Machine& machine, swap::Swap& swap, swap::Reach reach) noexcept
      : machine_(machine), swap_(swap), reach_(reach) {}
  static void main(void* self) { static_cast<SlotLoads*>(self)->run(); }
  void run();
  void end(Load& load);
  void forget(Load& load);

  sys::Machine& machine_;
  swap::Swap& swap_;
  const swap::Reach reach_;
  Address memory_ = 0;
  std::uint64_t bytes_ = 0;
  std::vector<std::unique_ptr<sys::Thread>> threads_;
  std::mutex mutex_;
  std::condition_variable due_;
  std::deque<Load> loads_;
  std::vector<Load*> free_;    // guarded by mutex_, as is all that follows
  std::deque<Load*> waiting_;  // for a thread
  bool stopped_ = false;
};

}  // namespace holdfast::run
