// The balancer: counts what the tree of a run has in memory, so often that little can have been
// touched in between; registers new mappings; and holds the programs that have taken more than
// there is room for.
//
// Memory that fits is left alone. Once it is nearly used up (the run is armed) everything that
// could leave is registered, and from then on what is new as soon as it is seen.
//
// One thread's own, that of the pager's main loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "run/client.h"
#include "run/process_files.h"
#include "run/registry.h"

namespace holdfast::run {

class Balancer {
 public:
  Balancer(Parts& parts, Registry& registry) noexcept : parts_(parts), registry_(registry) {}

  // Looks at everything once. In how many milliseconds to look again.
  int look();
  // Anonymous pages of the tree, as it was counted last. Any thread.
  [[nodiscard]] std::uint64_t resident_pages() const noexcept {
    return resident_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] bool is_armed() const noexcept { return armed_; }

 private:
  struct Process {
    MemoryCount memory;
    std::uint64_t looked_ns = 0;  // at its mappings; 0: never
  };
  void refresh_tree(std::uint64_t now);
  std::uint64_t count();
  std::uint64_t count_shared_once(std::uint64_t pages);
  bool manage(std::uint64_t now);
  void hold_or_release();
  [[nodiscard]] int rest_ms(std::uint64_t cost_ns, bool busy);

  Parts& parts_;
  Registry& registry_;
  std::vector<int> tree_;
  std::uint64_t tree_ns_ = 0;   // when it was listed
  std::uint64_t tree_key_ = 0;  // how many programs and forks there had been then
  std::unordered_map<int, Process> processes_;
  bool armed_ = false;
  int rest_ms_ = 1;
  std::atomic<std::uint64_t> resident_{0};
  // The last count of shared pages: what it said, of which sum, after how many faults.
  std::uint64_t shared_pages_ = 0;
  std::uint64_t shared_sum_ = 0;
  std::uint64_t shared_faults_ = 0;
  std::uint64_t shared_again_ns_ = 0;  // not before, unless much was touched
};

}  // namespace holdfast::run
