// The memory that one `holdfast run` may use, kept by the frame pool: a frame for each resident
// page of the programs, for each page of an eviction buffer, and for compressed memory, which the
// swap's RAM tier charges by itself.
//
// The kernel counts what the programs have; the pager knows what it brings in and takes out.
// settle() brings the two together at every scan. Memory that was touched without asking may be
// more than there are frames: that is the overshoot, which is told in the end, and is the first
// that eviction pays back.
//
// Thread-safe.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>

#include "page/page.h"
#include "sys/sys.h"

namespace holdfast::run {

class Budget {
 public:
  // The least that a run can work with, bytes.
  static constexpr std::uint64_t kLeast = std::uint64_t{16} << 20;

  [[nodiscard]] static Expected<std::unique_ptr<Budget>> create(sys::Machine& machine,
                                                                std::uint64_t bytes);

  [[nodiscard]] page::FramePool& pool() noexcept { return *pool_; }
  [[nodiscard]] std::uint64_t total_pages() const noexcept { return total_; }

  // Frames for up to `pages` pages that are about to come in; how many there are. Wakes the
  // evictor when they get scarce.
  std::uint32_t take(std::uint32_t pages);
  // The same for pages that nobody waits for: of what is free while the evictor need not work.
  std::uint32_t take_spare(std::uint32_t pages);
  // The same whether there are frames or not.
  void take_regardless(std::uint32_t pages);
  // Pages that have left.
  void give(std::uint64_t pages);
  // What the kernel counts now. `keeps_headroom`: as much as was taken without asking since the
  // last time is kept free for the next, in front of what is asked for, up to a 16th of all.
  void settle(std::uint64_t resident_pages, bool keeps_headroom = false);
  // Frames for buffers; false: there are none.
  [[nodiscard]] bool charge_buffer(std::uint32_t pages);

  // Frames are scarce: the evictor has work.
  [[nodiscard]] bool is_low() const noexcept;
  [[nodiscard]] bool is_relaxed() const noexcept;  // enough are free: it may rest
  [[nodiscard]] std::uint64_t free_pages() const noexcept;

  [[nodiscard]] std::uint64_t headroom_pages() const noexcept { return headroom_.load(); }
  // What the programs have that there is no frame for.
  [[nodiscard]] std::uint64_t deficit_pages();

  // The evictor waits here, at most so long; false: the run is over. / Wakes it. / Ends the waiting
  // for good.
  bool wait_for_work(int timeout_ms);
  void wake_evictor();
  // Waits until somebody has been given nothing; false: the run is over. `seen`: the caller's own,
  // 0 at first.
  bool wait_for_shortage(std::uint64_t& seen);
  void stop();

  struct Peaks {
    std::uint64_t resident_pages = 0;   // of the programs
    std::uint64_t total_pages = 0;      // with buffers and compressed memory
    std::uint64_t overshoot_pages = 0;  // above the budget
  };
  [[nodiscard]] Peaks peaks();

 private:
  explicit Budget(std::unique_ptr<page::FramePool> pool) noexcept
      : pool_(std::move(pool)), total_(pool_->pages().size()) {}
  std::uint32_t charge_some(std::uint32_t pages);
  [[nodiscard]] bool has_headroom(std::uint32_t pages) const noexcept;

  std::unique_ptr<page::FramePool> pool_;
  const std::uint64_t total_;
  std::mutex mutex_;
  std::condition_variable low_;
  std::uint64_t charged_ = 0;  // for the programs
  std::uint64_t deficit_ = 0;  // theirs, and not charged: there was no frame
  std::atomic<std::uint64_t> headroom_{0};
  bool stopped_ = false;
  bool woken_ = false;
  std::condition_variable short_;
  std::uint64_t shortages_ = 0;  // how often somebody was given nothing
  Peaks peaks_;
};

}  // namespace holdfast::run
