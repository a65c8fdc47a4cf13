// Staging buffers: where pages are put together before a run of them enters a mapping. Fixed in
// number, reserved at start, taken lock-free, so that a fault handler never allocates. Whoever
// takes one holds no entry, and waits if there is none: each is given back after one run.
//
// A buffer also serves as scratch of a reclaim pass, which would be too much for the small stack on
// which a fault may happen.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "space/stream_detector.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::space {

class StagingPool {
 public:
  static constexpr std::uint32_t kBuffersMax = 64;
  static constexpr std::size_t kBufferBytes = kRunMax * kPageSize;

  explicit StagingPool(sys::Machine& machine) noexcept : machine_(machine) {}
  ~StagingPool();
  StagingPool(const StagingPool&) = delete;
  StagingPool& operator=(const StagingPool&) = delete;

  // Reserves the buffers: two for each CPU (one that faults, one that reclaims) and a few more.
  Expected<void> start() noexcept;
  [[nodiscard]] std::uint64_t bytes() const noexcept { return count_ * kBufferBytes; }

 private:
  friend class StagingBuffer;
  struct Node {
    std::atomic<std::uint32_t> next{base::kNoLink};
  };
  struct Links {
    static std::atomic<std::uint32_t>& next(Node& node) noexcept { return node.next; }
  };

  sys::Machine& machine_;
  Address address_ = 0;
  std::byte* memory_ = nullptr;
  std::uint32_t count_ = 0;
  std::array<Node, kBuffersMax> nodes_;
  sync::IndexStack<Node, Links> free_;
};

// One buffer, for as long as it lives.
class StagingBuffer {
 public:
  explicit StagingBuffer(StagingPool& pool) noexcept;
  ~StagingBuffer();
  StagingBuffer(const StagingBuffer&) = delete;
  StagingBuffer& operator=(const StagingBuffer&) = delete;

  [[nodiscard]] std::byte* page(std::uint32_t i) const noexcept {
    HF_DCHECK(i < kRunMax);
    return memory_ + i * kPageSize;
  }
  // The buffer as room for one T, not initialised: a scratch area.
  template <class T>
  [[nodiscard]] T& as() const noexcept {
    static_assert(sizeof(T) <= StagingPool::kBufferBytes && std::is_trivially_destructible_v<T>);
    return *new (memory_) T;
  }

 private:
  StagingPool& pool_;
  std::uint32_t index_ = base::kNoLink;
  std::byte* memory_ = nullptr;
};

}  // namespace holdfast::space
