// A lock-free pool of a few numbered things that callers borrow for a moment: workspaces, staging
// areas. Sized so that it is practically never empty; whoever finds it empty spins for a moment, as
// every holder gives back without waiting for another lease of the same pool.
//
// take() blocks (spins); give() does not. Task context.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "base/base.h"
#include "sync/index_stack.h"
#include "sync/parking.h"

namespace holdfast::sync {

class LeasePool {
 public:
  explicit LeasePool(std::uint32_t count) : nodes_(std::make_unique<Node[]>(count)), count_(count) {
    for (std::uint32_t i = count; i > 0; --i) free_.push(span(), i - 1);
  }

  // The last one given back comes first: it is warm in the cache, and the rest stays untouched.
  [[nodiscard]] std::uint32_t take() noexcept {
    for (;;) {
      const std::uint32_t index = free_.pop(span());
      if (index != base::kNoLink) return index;
      parking().relax();
    }
  }
  void give(std::uint32_t index) noexcept {
    HF_DCHECK2(index < count_, index, count_);
    free_.push(span(), index);
  }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  // True if everything was given back: for checks.
  [[nodiscard]] bool idle() const noexcept { return free_.size() == count_; }

 private:
  struct Node {
    std::atomic<std::uint32_t> next{base::kNoLink};
  };
  struct Links {
    static std::atomic<std::uint32_t>& next(Node& node) noexcept { return node.next; }
  };
  [[nodiscard]] std::span<Node> span() const noexcept { return {nodes_.get(), count_}; }

  std::unique_ptr<Node[]> nodes_;
  std::uint32_t count_;
  IndexStack<Node, Links> free_;
};

}  // namespace holdfast::sync
