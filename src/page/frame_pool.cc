#include "page/frame_pool.h"

#include <algorithm>
#include <array>

namespace holdfast::page {
namespace {

// Frames moved from the buddy lists to a CPU's stack at a time: the lock is paid once for as many.
constexpr std::uint32_t kBatch = 32;

constexpr std::uint64_t bitmap_bytes(std::uint64_t frames) noexcept {
  return (frames + 63) / 64 * sizeof(std::uint64_t);
}

std::uint64_t table_bytes(const FramePoolOptions& options) noexcept {
  const std::uint64_t frames = options.frames;
  const std::uint64_t bytes = frames * sizeof(Page) +
                              HolderTable::bytes_for(frames, options.record_call_sites) +
                              bitmap_bytes(frames);
  return round_up(bytes, kPageSize);
}

}  // namespace

Expected<std::unique_ptr<FramePool>> FramePool::create(sys::Machine& machine,
                                                       const FramePoolOptions& options) {
  const std::uint64_t least = std::max(kFramesMin, options.watermarks.high + 1);
  if (options.frames < least) {
    return fail({.code = Errc::budget_exceeded,
                 .doing = "make the frame pool",
                 .what = "frames",
                 .value = options.frames,
                 .limit = least,
                 .remedy = "a larger memory budget"});
  }
  const Address table = TRY(machine.reserve(table_bytes(options), kHugeSize, sys::Purpose::table));
  const PageCount frames(options.frames);
  // Home addresses as aligned as the largest block is.
  const auto home = machine.reserve(frames.bytes(), kHugeSize, sys::Purpose::pool);
  if (!home) {
    (void)machine.release(table, table_bytes(options));
    return fail(home.error());
  }
  auto* first = reinterpret_cast<Page*>(machine.view(table));
  return std::unique_ptr<FramePool>(
      new FramePool(machine, options, std::span<Page>(first, options.frames), table, *home));
}

FramePool::FramePool(sys::Machine& machine, const FramePoolOptions& options, std::span<Page> pages,
                     Address table, Address home) noexcept
    : machine_(machine),
      pages_(pages),
      watermarks_(options.watermarks),
      table_(table),
      table_bytes_(table_bytes(options)),
      home_(home),
      buddy_(pages),
      stacks_(machine, pages) {
  HF_CHECK2(watermarks_.min <= watermarks_.low, watermarks_.min, watermarks_.low);
  HF_CHECK2(watermarks_.low <= watermarks_.high, watermarks_.low, watermarks_.high);
  auto* after_pages = reinterpret_cast<std::byte*>(pages.data() + pages.size());
  holders_.attach(after_pages, pages.size(), options.record_call_sites);
  bitmap_ = reinterpret_cast<std::uint64_t*>(
      after_pages + HolderTable::bytes_for(pages.size(), options.record_call_sites));
}

FramePool::~FramePool() {
  // A failing release leaks address space, no more; the process goes on without it.
  (void)machine_.release(home_, PageCount(pages_.size()).bytes());
  (void)machine_.release(table_, table_bytes_);
}

// --- taking frames ---

Reservation FramePool::reserve(std::uint32_t wanted, Priority priority) noexcept {
  HF_CHECK2(wanted >= 1 && wanted <= kReservationMax, wanted, kReservationMax);
  Reservation reservation;
  const std::uint32_t allowed = allowance_or_drain(wanted, priority);
  if (allowed == 0) return reservation;
  reservation.pool_ = this;
  reservation.size_ = take_frames(std::span(reservation.frames_).first(allowed));
  reserved_.fetch_add(reservation.size_, std::memory_order_relaxed);
  return reservation;
}

std::uint32_t FramePool::kept_from(Priority priority) const noexcept {
  switch (priority) {
    case Priority::fresh:
      return watermarks_.min + (watermarks_.low - watermarks_.min) / 2;
    case Priority::normal:
      return watermarks_.min;
    case Priority::reclaim:
      break;
  }
  return 0;
}

std::uint32_t FramePool::allowance(std::uint32_t wanted, Priority priority) const noexcept {
  const std::uint64_t kept = kept_from(priority);
  const std::uint64_t free = free_count();
  if (free <= kept) return 0;
  return static_cast<std::uint32_t>(std::min<std::uint64_t>(wanted, free - kept));
}

std::uint32_t FramePool::allowance_or_drain(std::uint32_t wanted, Priority priority) noexcept {
  std::uint32_t allowed = allowance(wanted, priority);
  if (allowed < wanted && !deferred_.empty()) {
    drain();
    allowed = allowance(wanted, priority);
  }
  if (allowed == 0 || free_count() < std::uint64_t{watermarks_.low} + allowed) raise_pressure();
  return allowed;
}

void FramePool::raise_pressure() noexcept {
  if (pressure_ != nullptr) pressure_->wake();
}

std::uint32_t FramePool::take_frames(std::span<std::uint32_t> out) noexcept {
  std::uint32_t got = stacks_.pop(out);
  if (got < out.size()) got += refill(out.subspan(got));
  if (got < out.size()) got += stacks_.steal(out.subspan(got));
  return got;
}

std::uint32_t FramePool::refill(std::span<std::uint32_t> out) noexcept {
  HF_DCHECK2(out.size() <= kReservationMax, out.size(), kReservationMax);
  std::array<std::uint32_t, kReservationMax + kBatch> batch;
  std::uint32_t got;
  {
    sync::MutexGuard guard(buddy_.mutex);
    got = buddy_.take_singles(std::span(batch).first(out.size() + kBatch));
  }
  const auto given = std::min(got, static_cast<std::uint32_t>(out.size()));
  std::copy_n(batch.begin(), given, out.begin());
  stacks_.push(std::span<const std::uint32_t>(batch).subspan(given, got - given));
  return given;
}

bool FramePool::charge(std::uint32_t count, Priority priority) noexcept {
  if (allowance_or_drain(count, priority) < count) {
    raise_pressure();
    return false;
  }
  std::array<std::uint32_t, kReservationMax> frames;
  std::uint32_t done = 0;
  while (done < count) {
    const std::uint32_t got =
        take_frames(std::span(frames).first(std::min(count - done, kReservationMax)));
    for (std::uint32_t i = 0; i < got; ++i) {
      pages_[frames[i]].to(PageState::charged);
      charged_.push(pages_, frames[i]);
    }
    done += got;
    if (got == 0) {  // others were faster: all or none
      uncharge(done);
      raise_pressure();
      return false;
    }
  }
  return true;
}

void FramePool::uncharge(std::uint32_t count) noexcept {
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t index = charged_.pop(pages_);
    HF_CHECK2(index != base::kNoLink, i, count);  // more given back than was lent
    pages_[index].become_free();
    stacks_.push(index);
  }
}

// --- freeing ---

void FramePool::check_unlisted(const Page& page) const noexcept {
  // The law (DESIGN.md section 1): a page on an LRU list has the VM's reference.
  HF_CHECK2(page.lru_list() == LruList::none, index_of(page).value, page.lru_list());
  HF_DCHECK2(holders_.none(index_of(page)), index_of(page).value, 0);
}

void FramePool::free_unheld(Page& page, std::uint64_t references) noexcept {
  HF_CHECK2(references == 0, index_of(page).value, references);
  check_unlisted(page);
  page.become_free();
  if (page.order() == 0 && !page.has_home_memory()) {
    stacks_.push(index_of(page).value);
    return;
  }
  const std::uint64_t frames = std::uint64_t{1} << page.order();
  deferred_.push(pages_, index_of(page).value);
  deferred_frames_.fetch_add(frames, std::memory_order_relaxed);
}

void FramePool::free_pages(Page& page, unsigned order) noexcept {
  HF_CHECK2(page.order() == order, page.order(), order);
  put(page, Holder::caller);
}

// --- warm frames ---

bool FramePool::put_to_warm(Page& page, Holder holder) noexcept {
  std::uint64_t one = 1;
  if (!page.references_.compare_exchange_strong(one, 0, std::memory_order_acq_rel,
                                                std::memory_order_relaxed)) {
    return false;
  }
  // From here nobody can get at the page: try_get and try_pin refuse a count of 0.
  holders_.drop(index_of(page), holder);
  check_unlisted(page);
  HF_DCHECK2(page.order() == 0 && !page.has_home_memory(), index_of(page).value, page.order());
  HF_DCHECK2(page.pool_window() != Page::kNoPoolWindow, index_of(page).value, page.pool_window());
  page.forget_content();
  page.to(PageState::warm);
  warm_.fetch_add(1, std::memory_order_relaxed);
  return true;
}

Page& FramePool::take_warm(FrameIndex frame, Holder holder) noexcept {
  Page& taken = page(frame);
  HF_CHECK2(taken.state() == PageState::warm, frame.value, taken.state());
  taken.start_held();
  holders_.take(frame, holder);
  warm_.fetch_sub(1, std::memory_order_relaxed);
  return taken;
}

void FramePool::warm_to_free(std::span<const FrameIndex> frames) noexcept {
  std::array<std::uint32_t, kReservationMax> batch;
  while (!frames.empty()) {
    const std::size_t count = std::min(frames.size(), batch.size());
    for (std::size_t i = 0; i < count; ++i) {
      Page& freed = page(frames[i]);
      HF_CHECK2(freed.state() == PageState::warm, frames[i].value, freed.state());
      freed.become_free();
      batch[i] = frames[i].value;
    }
    stacks_.push(std::span<const std::uint32_t>(batch).first(count));
    warm_.fetch_sub(count, std::memory_order_relaxed);
    frames = frames.subspan(count);
  }
}

// --- looking ---

std::uint64_t FramePool::free_count() const noexcept {
  return buddy_.free_frames() + stacks_.size();
}

std::uint64_t FramePool::deferred_count() const noexcept {
  return deferred_frames_.load(std::memory_order_relaxed);
}

FrameCounts FramePool::counts() noexcept {
  FrameCounts counts;
  counts.total = pages_.size();
  counts.free = free_count();
  counts.deferred = deferred_count();
  counts.reserved = reserved_.load(std::memory_order_relaxed);
  counts.charged = charged_.size();
  counts.warm = warm_.load(std::memory_order_relaxed);
  const std::uint64_t others =
      counts.free + counts.deferred + counts.reserved + counts.charged + counts.warm;
  // While others work a frame may be counted twice for a moment; check() proves the sum.
  counts.used = counts.total > others ? counts.total - others : 0;
  return counts;
}

std::uint64_t FramePool::metadata_bytes() const noexcept { return table_bytes_; }

}  // namespace holdfast::page
