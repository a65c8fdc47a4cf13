#include "cache/swap_cache.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <new>

namespace holdfast::cache {
namespace {

// What debug builds write into memory that nobody owns. Not a plausible pointer or small number.
constexpr unsigned char kPoison = 0xA5;

}  // namespace

SwapCache::SwapCache(sys::Machine& machine, page::FramePool& pool, pmap::Pmap& pmap,
                     const Options& options) noexcept
    : machine_(machine),
      pool_(pool),
      pmap_(pmap),
      window_pages_(options.window_pages),
      recycled_max_(std::min(options.recycled_max, kRecycledMax)) {}

Expected<std::unique_ptr<SwapCache>> SwapCache::create(sys::Machine& machine, page::FramePool& pool,
                                                       pmap::Pmap& pmap, const Options& options) {
  HF_CHECK2(options.windows > 0 && options.windows < page::Page::kNoPoolWindow, options.windows, 0);
  std::unique_ptr<SwapCache> cache(new SwapCache(machine, pool, pmap, options));
  const std::uint64_t places = std::uint64_t{options.windows} * options.window_pages;
  const std::uint64_t window_bytes = round_up(options.windows * sizeof(Window), kPageSize);
  cache->tables_bytes_ = window_bytes + round_up(places * sizeof(Place), kPageSize);
  cache->tables_ = TRY(machine.reserve(cache->tables_bytes_, kPageSize, sys::Purpose::table));
  std::byte* table = machine.view(cache->tables_);
  auto* windows = reinterpret_cast<Window*>(table);
  for (std::uint32_t i = 0; i < options.windows; ++i) new (&windows[i]) Window();
  cache->windows_ = std::span<Window>(windows, options.windows);
  cache->places_ = reinterpret_cast<Place*>(table + window_bytes);  // zeroed: written on acquire
  const auto base = machine.reserve(places * kPageSize, kHugeSize, sys::Purpose::pool);
  if (!base) return std::unexpected(base.error());
  cache->base_ = *base;
  for (std::uint32_t i = options.windows; i-- > 0;) cache->empty_.push(cache->windows_, i);
  return cache;
}

SwapCache::~SwapCache() {
  if (base_ != 0) {
    machine_.release(base_, std::uint64_t{windows_.size()} * window_pages_ * kPageSize);
  }
  if (tables_ != 0) machine_.release(tables_, tables_bytes_);
}

WindowIndex SwapCache::acquire() noexcept {
  const std::uint32_t index = empty_.pop(windows_);
  if (index == base::kNoLink) return WindowIndex::none();
  const WindowIndex window(index);
  Window& record = windows_[index];
  HF_DCHECK(record.phase.load() == Phase::empty && record.live.load() == 0);
  for (std::uint32_t i = 0; i < window_pages_; ++i) {
    place_at(window, i).store(base::kNoLink, std::memory_order_relaxed);
  }
  record.live.store(1, std::memory_order_relaxed);
  record.phase.store(Phase::holding, std::memory_order_release);
  return window;
}

void SwapCache::place_page(WindowIndex window, std::uint32_t place, FrameIndex frame) noexcept {
  HF_DCHECK(place < window_pages_);
  HF_DCHECK(windows_[window.value].phase.load() == Phase::holding);
  place_at(window, place).store(frame.value, std::memory_order_release);
  hold(window);
}

void SwapCache::hold(WindowIndex window) noexcept {
  const std::uint32_t old = windows_[window.value].live.fetch_add(1, std::memory_order_relaxed);
  HF_DCHECK2(old > 0, window.value, old);
}

void SwapCache::release(WindowIndex window) noexcept {
  Window& record = windows_[window.value];
  const std::uint32_t old = record.live.fetch_sub(1, std::memory_order_acq_rel);
  HF_DCHECK2(old > 0, window.value, old);
  if (old != 1) return;
  record.phase.store(Phase::finished, std::memory_order_release);
  finished_.push(windows_, window.value);
}

void SwapCache::vacate(WindowIndex window, std::uint32_t place, FrameIndex left) noexcept {
  place_at(window, place)
      .store(left.is_none() ? base::kNoLink : left.value, std::memory_order_release);
  release(window);
}

// Takes the warm frames that stand in a row from `from` on out of their places.
std::uint32_t SwapCache::claim_warm(WindowIndex window, std::uint32_t from, std::uint32_t most,
                                    FrameIndex* frames) noexcept {
  std::uint32_t n = 0;
  for (; n < most && from + n < window_pages_; ++n) {
    Place& place = place_at(window, from + n);
    std::uint32_t frame = place.load(std::memory_order_acquire);
    if (frame == base::kNoLink) break;
    // A page that stands in this window and is warm stays warm until somebody takes its place.
    const page::Page& page = pool_.page(FrameIndex(frame));
    if (page.state() != page::PageState::warm || page.pool_window() != window.value) break;
    if (!place.compare_exchange_strong(frame, base::kNoLink, std::memory_order_acq_rel)) break;
    frames[n] = FrameIndex(frame);
  }
  return n;
}

std::uint64_t SwapCache::trim(WindowIndex window) noexcept {
  HF_DCHECK(windows_[window.value].phase.load() == Phase::holding);
  constexpr std::uint32_t kBatch = 64;
  FrameIndex frames[kBatch];
  std::uint64_t freed = 0;
  for (std::uint32_t i = 0; i < window_pages_;) {
    const std::uint32_t n = claim_warm(window, i, kBatch, frames);
    if (n == 0) {
      ++i;
      continue;
    }
    if (pmap_.drop(address_of(window, i), n * kPageSize) != 0) {
      for (std::uint32_t k = 0; k < n; ++k) {  // not now: with the window, then
        place_at(window, i + k).store(frames[k].value, std::memory_order_release);
      }
      return freed;
    }
    pool_.warm_to_free(std::span(frames, n));
    freed += n;
    i += n;
  }
  return freed;
}

// Holds a window by its count alone, if it holds pages.
bool SwapCache::try_hold(Window& record) noexcept {
  std::uint32_t live = record.live.load(std::memory_order_relaxed);
  do {
    if (live == 0) return false;
    HF_INTERLEAVE();
  } while (!record.live.compare_exchange_weak(live, live + 1, std::memory_order_acq_rel,
                                              std::memory_order_relaxed));
  if (record.phase.load(std::memory_order_acquire) == Phase::holding) return true;
  // It had become another's meanwhile: a run's, or one that is being acquired. Neither ends by
  // this.
  record.live.fetch_sub(1, std::memory_order_acq_rel);
  return false;
}

std::uint64_t SwapCache::trim_all(std::uint64_t wanted) noexcept {
  std::uint64_t freed = 0;
  for (std::uint32_t i = 0; i < windows_.size() && freed < wanted; ++i) {
    Window& record = windows_[i];
    if (record.phase.load(std::memory_order_acquire) != Phase::holding || !try_hold(record)) {
      continue;
    }
    freed += trim(WindowIndex(i));
    release(WindowIndex(i));
  }
  return freed;
}

std::uint64_t SwapCache::drop_finished() noexcept {
  std::uint64_t freed = 0;
  for (;;) {
    const std::uint32_t index = finished_.pop(windows_);
    if (index == base::kNoLink) return freed;
    const WindowIndex window(index);
    if (!recycle(window) && !empty_window(window, freed)) return freed;
  }
}

std::uint64_t SwapCache::drop_recycled() noexcept {
  std::uint64_t freed = 0;
  for (;;) {
    WindowIndex window;
    {
      sync::MutexGuard guard(lock_);
      if (recycled_count_ == 0) return freed;
      const std::uint32_t index = recycled_[0];
      // A run is out of it: end_run() will come back to it.
      if (windows_[index].live.load(std::memory_order_acquire) != 0) return freed;
      std::copy(recycled_ + 1, recycled_ + recycled_count_, recycled_);
      recycled_hint_.store(--recycled_count_, std::memory_order_relaxed);
      window = WindowIndex(index);
    }
    if (!empty_window(window, freed)) return freed;
  }
}

// Drops what stands in the window and frees its warm frames. Nobody else knows the window any more.
// False: the kernel would not, now; the window stays finished and waits for the next pass.
bool SwapCache::empty_window(WindowIndex window, std::uint64_t& freed) noexcept {
  Window& record = windows_[window.value];
  HF_DCHECK2(record.live.load() == 0, window.value, record.live.load());
  const int error = pmap_.drop(address_of(window, 0), std::uint64_t{window_pages_} * kPageSize);
  if (error != 0) {
    record.phase.store(Phase::finished, std::memory_order_release);
    finished_.push(windows_, window.value);
    return false;
  }
  FrameIndex frames[64];
  std::uint32_t n = 0;
  for (std::uint32_t i = 0; i < window_pages_; ++i) {
    const std::uint32_t frame = place_at(window, i).load(std::memory_order_acquire);
    if (frame == base::kNoLink) continue;
    frames[n++] = FrameIndex(frame);
    if (n == std::size(frames)) {
      pool_.warm_to_free(std::span(frames, n));
      freed += n;
      n = 0;
    }
  }
  pool_.warm_to_free(std::span(frames, n));
  freed += n;
  record.phase.store(Phase::empty, std::memory_order_release);
  empty_.push(windows_, window.value);
  return true;
}

// Keeps a finished window for runs if one was wanted and there is room. True: kept.
bool SwapCache::recycle(WindowIndex window) noexcept {
  if (recycled_max_ == 0 || run_wanted_.exchange(0, std::memory_order_relaxed) == 0) return false;
  if (!pmap_.can_move()) return false;
  if (warm_stretch(window, 0, kWarmRunMin) < kWarmRunMin) return false;
  poison(window);
  sync::MutexGuard guard(lock_);
  if (recycled_count_ >= recycled_max_) return false;
  Window& record = windows_[window.value];
  record.cursor.store(0, std::memory_order_relaxed);
  record.phase.store(Phase::recycled, std::memory_order_release);
  recycled_[recycled_count_++] = window.value;
  recycled_hint_.store(recycled_count_, std::memory_order_relaxed);
  return true;
}

bool SwapCache::wants_window() const noexcept {
  return run_wanted_.load(std::memory_order_relaxed) != 0 &&
         recycled_hint_.load(std::memory_order_relaxed) < recycled_max_;
}

std::uint32_t SwapCache::warm_stretch(WindowIndex window, std::uint32_t from,
                                      std::uint32_t most) noexcept {
  std::uint32_t n = 0;
  while (n < most && from + n < window_pages_ &&
         place_at(window, from + n).load(std::memory_order_acquire) != base::kNoLink) {
    ++n;
  }
  return n;
}

bool SwapCache::take_run(std::uint32_t pages, WarmRun& run) noexcept {
  if (pages < kWarmRunMin || recycled_max_ == 0) return false;
  // A stream needs one window after another: the next that is finished is kept as well.
  if (run_wanted_.load(std::memory_order_relaxed) == 0) {
    run_wanted_.store(1, std::memory_order_relaxed);
  }
  if (recycled_hint_.load(std::memory_order_relaxed) == 0) return false;
  sync::MutexGuard guard(lock_);
  while (recycled_count_ > 0) {
    const WindowIndex window(recycled_[0]);
    Window& record = windows_[window.value];
    if (record.live.load(std::memory_order_acquire) != 0) return false;  // a run is out of it
    const std::uint32_t cursor = record.cursor.load(std::memory_order_relaxed);
    const std::uint32_t n = warm_stretch(window, cursor, pages);
    if (n >= kWarmRunMin) {
      run = {window, cursor, n, address_of(window, cursor)};
      record.cursor.store(cursor + n, std::memory_order_relaxed);
      record.live.store(1, std::memory_order_release);
      verify_poison(run);
      return true;
    }
    if (cursor < window_pages_) {  // step over a hole or a short stretch
      record.cursor.store(cursor + n + 1, std::memory_order_relaxed);
      continue;
    }
    // Used up: what is left of it is dropped by the next drop_finished().
    std::copy(recycled_ + 1, recycled_ + recycled_count_, recycled_);
    recycled_hint_.store(--recycled_count_, std::memory_order_relaxed);
    record.phase.store(Phase::finished, std::memory_order_release);
    finished_.push(windows_, window.value);
  }
  return false;
}

FrameIndex SwapCache::frame_at(const WarmRun& run, std::uint32_t i) const noexcept {
  HF_DCHECK(i < run.pages);
  return FrameIndex(place_at(run.window, run.place + i).load(std::memory_order_acquire));
}

void SwapCache::end_run(const WarmRun& run, std::uint32_t carried) noexcept {
  HF_DCHECK2(carried <= run.pages, carried, run.pages);
  for (std::uint32_t i = 0; i < carried; ++i) {
    place_at(run.window, run.place + i).store(base::kNoLink, std::memory_order_release);
  }
  windows_[run.window.value].live.fetch_sub(1, std::memory_order_release);  // see try_hold()
}

void SwapCache::poison(WindowIndex window) noexcept {
  if constexpr (!kHoldfastDebug) return;
  for (std::uint32_t i = 0; i < window_pages_; ++i) {
    if (place_at(window, i).load() == base::kNoLink) continue;
    std::memset(machine_.view(address_of(window, i)), kPoison, kPageSize);
  }
}

// Debug builds: nobody wrote to memory that nobody owned.
void SwapCache::verify_poison(const WarmRun& run) const noexcept {
  if constexpr (!kHoldfastDebug) return;
  for (std::uint32_t i = 0; i < run.pages; ++i) {
    const std::byte* page = machine_.view(run.address + i * kPageSize);
    const bool whole =
        std::all_of(page, page + kPageSize, [](std::byte b) { return b == std::byte{kPoison}; });
    HF_CHECK2(whole, run.window.value, run.place + i);
  }
}

SwapCacheCounts SwapCache::counts() const noexcept {
  SwapCacheCounts counts;
  for (const Window& window : windows_) {
    const Phase phase = window.phase.load(std::memory_order_acquire);
    if (phase == Phase::empty) continue;
    ++counts.windows_in_use;
    if (phase == Phase::holding) counts.live += window.live.load(std::memory_order_relaxed);
  }
  return counts;
}

std::uint64_t SwapCache::table_bytes(std::uint64_t windows, std::uint64_t window_pages) noexcept {
  return windows * (sizeof(Window) + window_pages * sizeof(Place));
}

std::uint64_t SwapCache::metadata_bytes() const noexcept {
  return table_bytes(windows_.size(), window_pages_);
}

bool SwapCache::check() noexcept {
  for (std::uint32_t index = 0; index < windows_.size(); ++index) {
    const Window& record = windows_[index];
    const Phase phase = record.phase.load();
    if (phase == Phase::empty) continue;
    std::uint32_t live = 0;
    for (std::uint32_t i = 0; i < window_pages_; ++i) {
      const std::uint32_t frame = place_at(WindowIndex(index), i).load();
      if (frame == base::kNoLink) continue;
      const page::Page& page = pool_.page(FrameIndex(frame));
      const page::PageState state = page.state();
      const bool warm = state == page::PageState::warm;
      const bool cached = state == page::PageState::cached || state == page::PageState::orphan;
      if ((!warm && !cached) || (cached && page.pool_window() != index) ||
          (warm && page.count() != 0)) {
        char line[160];
        std::snprintf(
            line, sizeof line,
            "holdfast: check: pool window %u place %u: frame %u is %s, window %u, count %u", index,
            i, frame, page::name(state), page.pool_window(), page.count());
        machine_.print_line(line);
        return false;
      }
      live += cached ? 1 : 0;
    }
    if (live != record.live.load()) {
      char line[120];
      std::snprintf(line, sizeof line, "holdfast: check: pool window %u: %u cached pages, live %u",
                    index, live, record.live.load());
      machine_.print_line(line);
      return false;
    }
  }
  return true;
}

}  // namespace holdfast::cache
