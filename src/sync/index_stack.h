// A lock-free stack of nodes of an array, linked by 32-bit index (Treiber, 1986), with a 32-bit
// tag against ABA. push and pop are legal in any context: a signal handler that interrupts either
// of them completes its own, and the interrupted one retries.
//
// `Links::next(Node&)` must give an std::atomic<uint32_t>&: a popper may read the link of a node
// that somebody else has just taken; the tag makes its exchange fail.
// The tag wraps after 2^32 changes between one thread's load and its exchange: accepted, as it
// would have to be stopped for minutes between two instructions while others hit the same tag.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "sync/interleave.h"

namespace holdfast::sync {

template <class Node, class Links>
class IndexStack {
 public:
  // Any context. The node must be on no list.
  void push(std::span<Node> nodes, std::uint32_t index) noexcept {
    push_chain(nodes, index, index, 1);
  }

  // Pushes a chain linked first -> ... -> last through Links. count: its length.
  void push_chain(std::span<Node> nodes, std::uint32_t first, std::uint32_t last,
                  std::uint32_t count) noexcept {
    std::uint64_t old = head_.load(std::memory_order_relaxed);
    do {
      Links::next(nodes[last]).store(index_of(old), std::memory_order_relaxed);
      HF_INTERLEAVE();
    } while (!head_.compare_exchange_weak(old, make(first, old), std::memory_order_release,
                                          std::memory_order_relaxed));
    size_.fetch_add(count, std::memory_order_relaxed);
  }

  // Any context. base::kNoLink: empty. The node comes back with its link cleared.
  std::uint32_t pop(std::span<Node> nodes) noexcept {
    std::uint64_t old = head_.load(std::memory_order_acquire);
    for (;;) {
      const std::uint32_t index = index_of(old);
      if (index == base::kNoLink) return index;
      const std::uint32_t next = Links::next(nodes[index]).load(std::memory_order_relaxed);
      HF_INTERLEAVE();
      if (head_.compare_exchange_weak(old, make(next, old), std::memory_order_acquire,
                                      std::memory_order_acquire)) {
        Links::next(nodes[index]).store(base::kNoLink, std::memory_order_relaxed);
        size_.fetch_sub(1, std::memory_order_relaxed);
        return index;
      }
    }
  }

  // Takes the whole chain; base::kNoLink: empty. The links stay as they are. Any context.
  std::uint32_t take_all() noexcept {
    std::uint64_t old = head_.load(std::memory_order_acquire);
    while (index_of(old) != base::kNoLink &&
           !head_.compare_exchange_weak(old, make(base::kNoLink, old), std::memory_order_acquire,
                                        std::memory_order_acquire)) {
    }
    return index_of(old);
  }
  // After take_all: tells how many of the chain were taken. Keeps size() right.
  void note_taken(std::uint32_t count) noexcept {
    size_.fetch_sub(count, std::memory_order_relaxed);
  }

  [[nodiscard]] bool empty() const noexcept {
    return index_of(head_.load(std::memory_order_relaxed)) == base::kNoLink;
  }
  // Exact when nobody pushes or pops; otherwise a hint that may lag (and even be briefly huge, as
  // a pop may be counted before its push: read it as signed).
  [[nodiscard]] std::uint32_t size() const noexcept {
    const auto n = static_cast<std::int32_t>(size_.load(std::memory_order_relaxed));
    return n < 0 ? 0 : static_cast<std::uint32_t>(n);
  }
  [[nodiscard]] std::uint32_t front() const noexcept {
    return index_of(head_.load(std::memory_order_acquire));
  }

 private:
  static std::uint32_t index_of(std::uint64_t word) noexcept {
    return static_cast<std::uint32_t>(word);
  }
  static std::uint64_t make(std::uint32_t index, std::uint64_t old) noexcept {
    return ((old >> 32) + 1) << 32 | index;
  }

  std::atomic<std::uint64_t> head_{base::kNoLink};  // tag << 32 | index of the top node
  std::atomic<std::uint32_t> size_{0};
};

}  // namespace holdfast::sync
