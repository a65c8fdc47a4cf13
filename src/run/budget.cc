#include "run/budget.h"

#include <algorithm>
#include <chrono>

namespace holdfast::run {
namespace {

// min is kept for compressing what leaves; between low and high the evictor works. A window makes
// 512 frames, and a program that comes near its limit is slowed by faults: a few windows will do.
page::Watermarks watermarks(std::uint32_t frames) {
  page::Watermarks marks;
  marks.min = std::clamp(frames / 64, 64U, 1024U);
  marks.low = marks.min + std::clamp(frames / 64, 64U, 1024U);
  marks.high = marks.low + std::clamp(frames / 32, 512U, 2048U);
  return marks;
}

}  // namespace

Expected<std::unique_ptr<Budget>> Budget::create(sys::Machine& machine, std::uint64_t bytes) {
  if (bytes < kLeast) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "run",
                 .what = "--memory below the minimum: bytes",
                 .value = bytes,
                 .limit = kLeast,
                 .remedy = "give at least 16M"});
  }
  const auto frames = static_cast<std::uint32_t>(
      std::min<std::uint64_t>(bytes / (kPageSize + sizeof(page::Page)), 0xfffffff0U));
  auto pool =
      TRY(page::FramePool::create(machine, {.frames = frames, .watermarks = watermarks(frames)}));
  return std::unique_ptr<Budget>(new Budget(std::move(pool)));
}

// All or none is not what is wanted: halve until it fits.
std::uint32_t Budget::charge_some(std::uint32_t pages) {
  while (pages > 0 && !pool_->charge(pages, page::Priority::normal)) pages /= 2;
  charged_ += pages;
  return pages;
}

std::uint32_t Budget::take(std::uint32_t pages) {
  const std::lock_guard lock(mutex_);
  while (pages > 1 && !has_headroom(pages)) pages /= 2;
  const std::uint32_t got = deficit_ > 0 || !has_headroom(pages) ? 0 : charge_some(pages);
  peaks_.resident_pages = std::max(peaks_.resident_pages, charged_ + deficit_);
  if (got < pages || is_low()) {
    woken_ = true;
    low_.notify_one();
  }
  if (got == 0) {
    ++shortages_;
    short_.notify_all();
  }
  return got;
}

std::uint32_t Budget::take_spare(std::uint32_t pages) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t kept = pool_->watermarks().low + headroom_.load();
  const std::uint64_t free = pool_->free_count();
  if (deficit_ > 0 || free <= kept) return 0;
  const auto spare = static_cast<std::uint32_t>(std::min<std::uint64_t>(pages, free - kept));
  const std::uint32_t got = charge_some(spare);
  peaks_.resident_pages = std::max(peaks_.resident_pages, charged_ + deficit_);
  return got;
}

void Budget::take_regardless(std::uint32_t pages) {
  const std::lock_guard lock(mutex_);
  deficit_ += pages - charge_some(pages);
  peaks_.resident_pages = std::max(peaks_.resident_pages, charged_ + deficit_);
  woken_ = true;
  low_.notify_one();
}

void Budget::give(std::uint64_t pages) {
  const std::lock_guard lock(mutex_);
  const std::uint64_t unpaid = std::min(pages, deficit_);
  deficit_ -= unpaid;
  const std::uint64_t paid = std::min(pages - unpaid, charged_);
  charged_ -= paid;
  pool_->uncharge(static_cast<std::uint32_t>(paid));
}

void Budget::settle(std::uint64_t resident_pages, bool keeps_headroom) {
  const std::lock_guard lock(mutex_);
  deficit_ = 0;
  const std::uint64_t unasked = resident_pages > charged_ ? resident_pages - charged_ : 0;
  const std::uint64_t kept = headroom_.load() * 31 / 32;
  headroom_.store(keeps_headroom ? std::min(std::max(unasked, kept), total_ / 16) : 0);
  if (resident_pages < charged_) {
    pool_->uncharge(static_cast<std::uint32_t>(charged_ - resident_pages));
    charged_ = resident_pages;
  } else if (resident_pages > charged_) {
    const auto more = static_cast<std::uint32_t>(resident_pages - charged_);
    std::uint32_t rest = more;
    for (std::uint32_t got = 1; rest > 0 && got > 0; rest -= got) got = charge_some(rest);
    deficit_ = rest;
  }
  const std::uint64_t free = pool_->free_count();
  peaks_.resident_pages = std::max(peaks_.resident_pages, charged_ + deficit_);
  peaks_.total_pages = std::max(peaks_.total_pages, total_ + deficit_ - std::min(free, total_));
  if (deficit_ > free) peaks_.overshoot_pages = std::max(peaks_.overshoot_pages, deficit_ - free);
  if (deficit_ > 0 || is_low()) {
    woken_ = true;
    low_.notify_one();
  }
}

std::uint64_t Budget::deficit_pages() {
  const std::lock_guard lock(mutex_);
  return deficit_;
}

bool Budget::charge_buffer(std::uint32_t pages) {
  return pool_->charge(pages, page::Priority::normal);
}

bool Budget::has_headroom(std::uint32_t pages) const noexcept {
  return pool_->free_count() >= pages + headroom_.load() + pool_->watermarks().min;
}

bool Budget::is_low() const noexcept {
  return pool_->free_count() < pool_->watermarks().low + headroom_.load();
}
bool Budget::is_relaxed() const noexcept {
  return pool_->free_count() >= pool_->watermarks().high + headroom_.load();
}
std::uint64_t Budget::free_pages() const noexcept { return pool_->free_count(); }

bool Budget::wait_for_work(int timeout_ms) {
  std::unique_lock lock(mutex_);
  low_.wait_for(lock, std::chrono::milliseconds(timeout_ms), [&] { return stopped_ || woken_; });
  woken_ = false;
  return !stopped_;
}

bool Budget::wait_for_shortage(std::uint64_t& seen) {
  std::unique_lock lock(mutex_);
  short_.wait(lock, [&] { return stopped_ || shortages_ != seen; });
  seen = shortages_;
  return !stopped_;
}

void Budget::wake_evictor() {
  const std::lock_guard lock(mutex_);
  woken_ = true;
  low_.notify_one();
}

void Budget::stop() {
  const std::lock_guard lock(mutex_);
  stopped_ = true;
  low_.notify_all();
  short_.notify_all();
}

Budget::Peaks Budget::peaks() {
  const std::lock_guard lock(mutex_);
  return peaks_;
}

}  // namespace holdfast::run
