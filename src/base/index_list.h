// A doubly linked list threaded through an array of nodes by 32-bit index: half the size of
// pointers, and linking never allocates. The list owns no node; a node is on at most one list that
// uses the same pair of links.
//
// `Links` gives access to a node's links: `static uint32_t& next(Node&)`, `prev(Node&)`.
// Not synchronised: the owner of the list names its lock. A node that is on no list has both links
// kNoLink; tests and DCHECKs rely on it.
#pragma once

#include <cstdint>
#include <span>

#include "base/check.h"

namespace holdfast::base {

inline constexpr std::uint32_t kNoLink = 0xffffffffU;

template <class Node, class Links>
class IndexList {
 public:
  explicit IndexList(std::span<Node> nodes) noexcept : nodes_(nodes) {}

  [[nodiscard]] bool empty() const noexcept { return head_ == kNoLink; }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t front() const noexcept { return head_; }
  [[nodiscard]] std::uint32_t back() const noexcept { return tail_; }
  [[nodiscard]] std::uint32_t after(std::uint32_t index) const noexcept {
    return Links::next(nodes_[index]);
  }
  [[nodiscard]] std::uint32_t before(std::uint32_t index) const noexcept {
    return Links::prev(nodes_[index]);
  }

  void push_front(std::uint32_t index) noexcept {
    Node& node = checked_unlinked(index);
    Links::prev(node) = kNoLink;
    Links::next(node) = head_;
    if (head_ == kNoLink) {
      tail_ = index;
    } else {
      Links::prev(nodes_[head_]) = index;
    }
    head_ = index;
    ++size_;
  }

  void push_back(std::uint32_t index) noexcept {
    Node& node = checked_unlinked(index);
    Links::next(node) = kNoLink;
    Links::prev(node) = tail_;
    if (tail_ == kNoLink) {
      head_ = index;
    } else {
      Links::next(nodes_[tail_]) = index;
    }
    tail_ = index;
    ++size_;
  }

  void remove(std::uint32_t index) noexcept {
    Node& node = nodes_[index];
    const std::uint32_t next = Links::next(node);
    const std::uint32_t prev = Links::prev(node);
    HF_DCHECK2(size_ > 0, index, size_);
    (prev == kNoLink ? head_ : Links::next(nodes_[prev])) = next;
    (next == kNoLink ? tail_ : Links::prev(nodes_[next])) = prev;
    Links::next(node) = kNoLink;
    Links::prev(node) = kNoLink;
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
    for (std::uint32_t i = head_; i != kNoLink; i = Links::next(nodes_[i])) {
      if (Links::prev(nodes_[i]) != last || ++seen > size_) return false;
      last = i;
    }
    return seen == size_ && last == tail_;
  }

 private:
  Node& checked_unlinked(std::uint32_t index) noexcept {
    Node& node = nodes_[index];
    HF_DCHECK2(Links::next(node) == kNoLink && Links::prev(node) == kNoLink && head_ != index,
               index, head_);
    return node;
  }

  std::span<Node> nodes_;
  std::uint32_t head_ = kNoLink;  // first node; kNoLink if and only if size_ == 0
  std::uint32_t tail_ = kNoLink;
  std::uint64_t size_ = 0;
};

}  // namespace holdfast::base
