// Counters of the engine: one for every reason something happened or was refused. Sharded by CPU so
// that faulting threads do not share a cache line. Any context, lock-free.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "sys/sys.h"

namespace holdfast::space {

enum class Count : std::uint8_t {
  faults,
  faults_zero,
  faults_source,
  faults_swap,
  faults_same_filled,
  faults_rescued,
  faults_spurious,
  faults_waited,
  faults_refused,
  runs,
  run_pages,
  runs_moved,
  windows_unmapped,
  pages_unmapped,
  evicted_clean,
  evicted_same_filled,
  evicted_written,
  orphans_freed,
  reclaim_direct,
  reclaim_background,
  skipped_pinned,
  skipped_busy,
  skipped_rescued,
  skipped_recent,
  write_out_failed,
  refused_interrupt,
  refused_pins,
  refused_memory,
  refused_budget,
  cow_faults,
  cow_copied,
  cow_lifted,
  cow_settled,
  refused_write,
  background_written,
  background_failed,
};
inline constexpr std::size_t kCounts = 36;

class Counters {
 public:
  explicit Counters(sys::Machine& machine) noexcept : machine_(machine) {}

  void add(Count count, std::uint64_t n = 1) noexcept {
    shards_[machine_.current_cpu() % kShards].values[static_cast<std::size_t>(count)].fetch_add(
        n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t sum(Count count) const noexcept {
    std::uint64_t total = 0;
    for (const Shard& shard : shards_) {
      total += shard.values[static_cast<std::size_t>(count)].load(std::memory_order_relaxed);
    }
    return total;
  }

 private:
  static constexpr std::size_t kShards = 8;
  struct alignas(64) Shard {
    std::array<std::atomic<std::uint64_t>, kCounts> values{};
  };
  sys::Machine& machine_;
  std::array<Shard, kShards> shards_{};
};
static_assert(static_cast<std::size_t>(Count::background_failed) + 1 == kCounts);

}  // namespace holdfast::space
