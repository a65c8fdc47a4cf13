// (c) Ours: the VM holds a reference of its own of each page that it knows. The real parts of the
// engine, page::FramePool and lru::Lru, used as space/ and reclaim/ use them.
#pragma once

#include <algorithm>
#include <array>
#include <span>

#include "lru/lru.h"
#include "page/page.h"

namespace holdfast::bench {

class TwoReferences {
 public:
  static constexpr std::uint32_t kBatch = 64;  // space::kWriteOutBatch

  explicit TwoReferences(page::FramePool& pool) : pool_(pool), lru_(pool) {}

  page::Page* allocate() noexcept {
    page::Reservation reservation = pool_.reserve(1, page::Priority::normal);
    return reservation.size() == 0 ? nullptr : &reservation.take(page::Holder::entry);
  }

  void add(page::Page& page) noexcept {
    pool_.get(page, page::Holder::vm);
    lru_.add(page);
  }

  // Any holder, any context. The owner's last: the VM still has its own.
  void put(page::Page& page) noexcept { pool_.put(page, page::Holder::entry); }

  void age(std::span<const FrameIndex> frames) noexcept { lru_.deactivate(frames); }

  // The VM's share: frees the pages that are nobody's but its own; the others become the youngest.
  void scan(std::uint32_t looks) noexcept {
    std::array<FrameIndex, kBatch> found;
    while (looks > 0) {
      const std::uint32_t wanted = std::min(looks, kBatch);
      const std::uint32_t n = lru_.oldest_inactive(std::span(found).first(wanted));
      sort_and_let_go(std::span(found).first(n));
      if (n < wanted) return;
      looks -= n;
    }
  }

  [[nodiscard]] std::uint64_t listed() noexcept {
    const lru::LruCounts counts = lru_.counts();
    return counts.active + counts.inactive + counts.pending;
  }

 private:
  void sort_and_let_go(std::span<FrameIndex> found) noexcept {
    // Count 2: the VM and this scan. Nobody else can come by the page any more.
    const auto used = std::ranges::partition(
        found, [this](FrameIndex frame) { return pool_.page(frame).count() == 2; });
    const std::span<const FrameIndex> unheld(found.begin(), used.begin());
    if (!unheld.empty()) lru_.remove(unheld);
    for (const FrameIndex frame : unheld) pool_.put(pool_.page(frame), page::Holder::vm);
    for (const FrameIndex frame : found) pool_.put(pool_.page(frame), page::Holder::caller);
    if (!used.empty()) lru_.rotate_inactive(std::span<const FrameIndex>(used));
  }

  page::FramePool& pool_;
  lru::Lru lru_;
};

}  // namespace holdfast::bench
