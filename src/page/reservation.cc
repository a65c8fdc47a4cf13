#include "page/reservation.h"

#include <algorithm>
#include <utility>

#include "page/frame_pool.h"

namespace holdfast::page {

Reservation::Reservation(Reservation&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), size_(std::exchange(other.size_, 0)) {
  std::copy_n(other.frames_.begin(), size_, frames_.begin());
}

Reservation& Reservation::operator=(Reservation&& other) noexcept {
  if (this != &other) {
    give_back();
    pool_ = std::exchange(other.pool_, nullptr);
    size_ = std::exchange(other.size_, 0);
    std::copy_n(other.frames_.begin(), size_, frames_.begin());
  }
  return *this;
}

Page& Reservation::take(Holder holder) noexcept {
  HF_CHECK(size_ > 0);
  const FrameIndex frame(frames_[--size_]);
  Page& page = pool_->page(frame);
  page.start_held();
  pool_->holders_.take(frame, holder);
  pool_->reserved_.fetch_sub(1, std::memory_order_relaxed);
  return page;
}

void Reservation::give_back() noexcept {
  if (size_ == 0) return;
  pool_->stacks_.push(std::span<const std::uint32_t>(frames_.data(), size_));
  pool_->reserved_.fetch_sub(size_, std::memory_order_relaxed);
  size_ = 0;
}

}  // namespace holdfast::page
