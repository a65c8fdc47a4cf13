// The swap cache: where pages stand between being unmapped and being freed, or rescued.
//
// A *pool window* is a range of the engine's pool, as large as a window of a region, into which a
// region's window is unmapped in one call, page i to place i. What stands at a place:
//
//   nothing   no memory
//   a cached page   its entry says `cached`; it may be rescued from here or written out
//   a warm frame    its memory stands here but nobody needs it: the page was freed, or was rescued
//                   by copying and left this memory behind. The frame is on no free list
//
// `live` counts the cached pages of a window plus those who read it (a write-out in progress). When
// it falls to 0 the window is *finished*: nothing in it is needed any more. Then either its memory
// is dropped in one call and its frames are free, or the window is kept warm as a source of carried
// (moved) fault runs.
//
//   empty ─acquire─▶ filling ─▶ holding ──live == 0──▶ finished ──▶ empty (memory dropped)
//                                                         └──▶ recycled ─ consumed ─▶ empty
//
// Entering the swap cache adds no reference: the page keeps the VM's one (DESIGN.md section 1).
//
// Thread-safety: all functions may be called by several threads. `live` and the finished stack are
// lock-free, so that a rescue in a fault handler is cheap; the recycled window is under a lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/base.h"
#include "page/page.h"
#include "pmap/pmap.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::cache {

using WindowIndex = StrongId<struct PoolWindowTag, std::uint32_t>;

// A run of warm frames handed to a fault: memory at `address`, one frame for each page.
struct WarmRun {
  WindowIndex window;
  std::uint32_t place = 0;
  std::uint32_t pages = 0;
  Address address = 0;
};

struct SwapCacheCounts {
  std::uint64_t windows_in_use = 0;
  std::uint64_t live = 0;  // cached pages
  std::uint64_t warm = 0;
};

class SwapCache {
 public:
  struct Options {
    std::uint32_t window_pages = 512;
    std::uint32_t windows = 0;       // how many pool windows there are
    std::uint32_t recycled_max = 2;  // windows kept warm at a time
  };

  // Errors: system (address space).
  [[nodiscard]] static Expected<std::unique_ptr<SwapCache>> create(sys::Machine& machine,
                                                                   page::FramePool& pool,
                                                                   pmap::Pmap& pmap,
                                                                   const Options& options);
  ~SwapCache();
  SwapCache(const SwapCache&) = delete;
  SwapCache& operator=(const SwapCache&) = delete;

  // An empty window, with one `live` hold of the caller's; none: all are in use.
  [[nodiscard]] WindowIndex acquire() noexcept;
  [[nodiscard]] Address address_of(WindowIndex window, std::uint32_t place) const noexcept {
    return base_ + (std::uint64_t{window.value} * window_pages_ + place) * kPageSize;
  }
  // A page now stands at the place (its memory was removed to there). Adds one to live.
  void place_page(WindowIndex window, std::uint32_t place, FrameIndex frame) noexcept;

  // One more reader of the window, who already knows that live is not 0 (he holds the lock of an
  // entry cached in it) / one less. Lock-free.
  void hold(WindowIndex window) noexcept;
  void release(WindowIndex window) noexcept;

  // The cached page at the place was rescued; `left` is the warm frame that stands for the memory
  // which stays there, or none if it was carried away. Takes one from live. Lock-free.
  void vacate(WindowIndex window, std::uint32_t place, FrameIndex left) noexcept;

  // The cached page has left and is warm at its place. Takes one from live. Lock-free.
  void left_warm(WindowIndex window) noexcept { release(window); }

  // Drops the memory of the warm frames of a window that still has cached pages, and frees them;
  // for when frames are too short to wait until the window is finished. The caller holds the
  // window. Returns how many it freed.
  std::uint64_t trim(WindowIndex window) noexcept;
  // The same for window after window, until about `wanted` frames are free: where nothing can
  // leave, what rescues left behind would stay for good. Task context.
  std::uint64_t trim_all(std::uint64_t wanted) noexcept;

  // Drops the memory of finished windows and frees their frames; returns how many frames that made
  // free. May keep one for runs, if somebody wanted one. Task context.
  std::uint64_t drop_finished() noexcept;
  // True while runs are being taken and another finished window would be kept for them. Any
  // context.
  [[nodiscard]] bool wants_window() const noexcept;
  // Drops the recycled windows as well: memory is short. Returns frames freed.
  std::uint64_t drop_recycled() noexcept;

  // Up to `pages` warm frames whose memory stands in a row, for a fault run to fill and carry in;
  // at least kWarmRunMin pages, or none. The frames stay warm: take each by FramePool::take_warm,
  // then tell consumed(). Lock-free for those who find nothing.
  [[nodiscard]] bool take_run(std::uint32_t pages, WarmRun& run) noexcept;
  [[nodiscard]] FrameIndex frame_at(const WarmRun& run, std::uint32_t i) const noexcept;
  // The first `carried` pages of the run were carried in; the memory of the rest still stands, and
  // their frames are warm again. Ends the run.
  void end_run(const WarmRun& run, std::uint32_t carried) noexcept;

  [[nodiscard]] std::uint32_t window_pages() const noexcept { return window_pages_; }
  [[nodiscard]] SwapCacheCounts counts() const noexcept;
  // Bytes of the tables for that many windows; metadata_bytes() is that of this cache.
  [[nodiscard]] static std::uint64_t table_bytes(std::uint64_t windows,
                                                 std::uint64_t window_pages) noexcept;
  [[nodiscard]] std::uint64_t metadata_bytes() const noexcept;
  // Proves places, states and counts consistent; nothing may be in flight.
  [[nodiscard]] bool check() noexcept;

  static constexpr std::uint32_t kWarmRunMin = 8;  // below, copying a run costs no more

 private:
  enum class Phase : std::uint32_t { empty, holding, finished, recycled };

  struct Window {
    std::atomic<std::uint32_t> next{base::kNoLink};  // on the empty or the finished stack
    std::atomic<std::uint32_t> live{0};
    std::atomic<Phase> phase{Phase::empty};
    std::atomic<std::uint32_t> cursor{0};  // recycled: the next place to hand out
  };
  struct WindowLinks {
    static std::atomic<std::uint32_t>& next(Window& window) noexcept { return window.next; }
  };
  using Place = std::atomic<std::uint32_t>;  // a frame index, or kNoLink: nothing

  SwapCache(sys::Machine& machine, page::FramePool& pool, pmap::Pmap& pmap,
            const Options& options) noexcept;
  Expected<void> reserve_memory() noexcept;
  [[nodiscard]] Place& place_at(WindowIndex window, std::uint32_t place) const noexcept {
    return places_[std::uint64_t{window.value} * window_pages_ + place];
  }
  [[nodiscard]] bool try_hold(Window& record) noexcept;
  bool empty_window(WindowIndex window, std::uint64_t& freed) noexcept;
  bool recycle(WindowIndex window) noexcept;
  void poison(WindowIndex window) noexcept;
  void verify_poison(const WarmRun& run) const noexcept;
  std::uint32_t claim_warm(WindowIndex window, std::uint32_t from, std::uint32_t most,
                           FrameIndex* frames) noexcept;
  std::uint32_t warm_stretch(WindowIndex window, std::uint32_t from, std::uint32_t most) noexcept;

  // Constant after create().
  sys::Machine& machine_;
  page::FramePool& pool_;
  pmap::Pmap& pmap_;
  const std::uint32_t window_pages_;
  const std::uint32_t recycled_max_;
  Address base_ = 0;
  std::span<Window> windows_;
  Place* places_ = nullptr;
  Address tables_ = 0;
  std::uint64_t tables_bytes_ = 0;

  // Lock-free.
  sync::IndexStack<Window, WindowLinks> empty_;
  sync::IndexStack<Window, WindowLinks> finished_;
  std::atomic<std::uint32_t> run_wanted_{0};  // a fault run looked for warm frames in vain

  // Under lock_: the recycled windows, oldest first, and the runs that are out of them.
  sync::Mutex<sync::Rank::cache> lock_;
  static constexpr std::uint32_t kRecycledMax = 4;
  std::uint32_t recycled_[kRecycledMax] HF_GUARDED_BY(lock_) = {};
  std::uint32_t recycled_count_ HF_GUARDED_BY(lock_) = 0;
  std::atomic<std::uint32_t> recycled_hint_{0};  // == recycled_count_, readable without the lock
};

}  // namespace holdfast::cache
