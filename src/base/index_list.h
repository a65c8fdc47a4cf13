// A doubly linked list threaded through an array of nodes by 32-bit index: half the size of
// pointers, and linking never allocates. The list owns no node; a node is on at most one list that
// uses the same pair of links.
//
// `Links` gives access to a node's links: `static uint32_t& next(Node&)`, `prev(Node&)`; or
// std::atomic<uint32_t>&, where somebody else may look at a link without the lock: they are then
// loaded and stored relaxed, for the price of plain ones. Not synchronised: the owner of the list
// names its lock. A node that is on no list has both links kNoLink; tests and DCHECKs rely on it.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/check.h"

namespace holdfast::base {

inline constexpr std::uint32_t kNoLink = 0xffffffffU;

namespace detail {
inline std::uint32_t load_link(const std::uint32_t& link) noexcept { return link; }
inline std::uint32_t load_link(const std::atomic<std::uint32_t>& link) noexcept {
  return link.load(std::memory_order_relaxed);
}
inline void store_link(std::uint32_t& link, std::uint32_t index) noexcept { link = index; }
inline void store_link(std::atomic<std::uint32_t>& link, std::uint32_t index) noexcept {
  link.store(index, std::memory_order_relaxed);
}
}  // namespace detail

template <class Node, class Links>
class IndexList {
 public:
  explicit IndexList(std::span<Node> nodes) noexcept : nodes_(nodes) {}

  [[nodiscard]] bool empty() const noexcept { return head_ == kNoLink; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t front() const noexcept { return head_; }
  [[nodiscard]] std::uint32_t back() const noexcept { return tail_; }
  [[nodiscard]] std::uint32_t after(std::uint32_t index) const noexcept { return next_of(index); }
  [[nodiscard]] std::uint32_t before(std::uint32_t index) const noexcept { return prev_of(index); }

  void push_front(std::uint32_t index) noexcept {
    check_unlinked(index);
    link(kNoLink, index);
    link(index, head_);
    if (head_ == kNoLink) tail_ = index;
    head_ = index;
    ++size_;
  }

  void push_back(std::uint32_t index) noexcept {
    check_unlinked(index);
    link(index, kNoLink);
    link(tail_, index);
    if (tail_ == kNoLink) head_ = index;
    tail_ = index;
    ++size_;
  }

  void remove(std::uint32_t index) noexcept {
    const std::uint32_t next = next_of(index);
    const std::uint32_t prev = prev_of(index);
    HF_DCHECK2(size_ > 0, index, size_);
    HF_DCHECK2((next == kNoLink) == (tail_ == index), index, tail_);
    HF_DCHECK2((prev == kNoLink) == (head_ == index), index, head_);
    if (prev == kNoLink) head_ = next;
    if (next == kNoLink) tail_ = prev;
    link(prev, next);
    set_next(index, kNoLink);
    set_prev(index, kNoLink);
    --size_;
  }

  // Takes the first node off and returns its index, or kNoLink.
  std::uint32_t pop_front() noexcept {
    const std::uint32_t index = head_;
    if (index != kNoLink) remove(index);
    return index;
  }

  // O(n): links agree in both directions and the size is right.
  [[nodiscard]] bool is_valid() const noexcept {
    std::uint64_t seen = 0;
    std::uint32_t last = kNoLink;
    for (std::uint32_t i = head_; i != kNoLink; i = next_of(i)) {
      if (prev_of(i) != last || ++seen > size_) return false;
      last = i;
    }
    return seen == size_ && last == tail_;
  }

 private:
  std::uint32_t next_of(std::uint32_t index) const noexcept {
    return detail::load_link(Links::next(nodes_[index]));
  }
  std::uint32_t prev_of(std::uint32_t index) const noexcept {
    return detail::load_link(Links::prev(nodes_[index]));
  }
  void set_next(std::uint32_t index, std::uint32_t next) noexcept {
    detail::store_link(Links::next(nodes_[index]), next);
  }
  void set_prev(std::uint32_t index, std::uint32_t prev) noexcept {
    detail::store_link(Links::prev(nodes_[index]), prev);
  }
  // Makes `b` follow `a`; either may be kNoLink, the end of the list.
  void link(std::uint32_t a, std::uint32_t b) noexcept {
    if (a != kNoLink) set_next(a, b);
    if (b != kNoLink) set_prev(b, a);
  }
  void check_unlinked(std::uint32_t index) const noexcept {
    HF_DCHECK2(next_of(index) == kNoLink && prev_of(index) == kNoLink && head_ != index, index,
               head_);
  }

  std::span<Node> nodes_;
  std::uint32_t head_ = kNoLink;  // first node; kNoLink if and only if size_ == 0
  std::uint32_t tail_ = kNoLink;
  std::uint64_t size_ = 0;
};

}  // namespace holdfast::base
