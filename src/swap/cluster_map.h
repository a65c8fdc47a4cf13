// The books of a swap file's clusters: which are free, which have room at their end, which hold
// images, and which are retired.
//
//   untouched / unbacked ──take──▶ open ──put_back──▶ tail ──take──▶ open ...
//                                   │ close            │ (no room) close
//   free ◀── the last use goes ── closed ──isolate──▶ draining ──restore──▶ closed
//    └──────────take─────────▶ open ──retire──▶ retired (a device error: never written again)
//
// A cluster's uses are its images, holds of readers, and one for being open, tail, draining or
// retired; whoever drops the last use frees it. So a cluster is never written while an image of it
// is live or being read, except behind its fill mark.
//
// unbacked: the file system had no room for it (ENOSPC); tried again after allow_growing().
// Concurrency: lock-free throughout. fill, backed, generation and damaged belong to whoever has the
// cluster open or draining.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "swap/location.h"
#include "sync/sync.h"
#include "sys/sys.h"

namespace holdfast::swap {

enum class ClusterState : std::uint8_t {
  untouched,
  free,
  unbacked,
  open,
  tail,
  closed,
  draining,
  retired
};

struct Cluster {
  std::atomic<std::uint64_t> uses{0};  // high 32 bits: units of live images; low: uses
  std::atomic<std::uint32_t> link{0};
  std::uint32_t fill = 0;        // bytes from the start that hold segments
  std::uint32_t backed = 0;      // bytes from the start that were ever written
  std::uint32_t generation = 0;  // of its content: how often it was filled anew
  std::uint32_t checked = 0;     // for check()
  std::atomic<ClusterState> state{ClusterState::untouched};
  bool damaged = false;  // its directories could not be read: do not compact
};
static_assert(sizeof(Cluster) == 32);

class ClusterMap {
 public:
  explicit ClusterMap(sys::Machine& machine) noexcept : machine_(machine) {}
  ~ClusterMap();
  ClusterMap(const ClusterMap&) = delete;
  ClusterMap& operator=(const ClusterMap&) = delete;

  [[nodiscard]] Expected<void> reserve(std::uint32_t clusters_max,
                                       std::uint32_t cluster_bytes) noexcept;

  // Opens a cluster with `room` bytes behind its fill mark; base::kNoLink: there is none.
  // compacting: may take the last one, which is kept so that compaction can always work.
  [[nodiscard]] std::uint32_t take(std::uint32_t room, bool compacting) noexcept;
  // Ends the writing: others may continue behind the fill mark.
  void put_back(std::uint32_t cluster) noexcept;
  void close(std::uint32_t cluster) noexcept;
  void retire(std::uint32_t cluster) noexcept;

  // Adds / drops uses; `units` of images among them.
  void use(std::uint32_t cluster, std::uint32_t count, std::uint32_t units) noexcept;
  void drop(std::uint32_t cluster, std::uint32_t count, std::uint32_t units) noexcept;

  // Takes a closed cluster for compaction. False: it is not closed.
  [[nodiscard]] bool isolate(std::uint32_t cluster) noexcept;
  // Ends it: closes the cluster, or retires it if it is damaged and something in it still lives.
  void restore(std::uint32_t cluster) noexcept;

  void stop_growing() noexcept { growing_.store(false, std::memory_order_relaxed); }
  void allow_growing() noexcept { growing_.store(true, std::memory_order_relaxed); }

  [[nodiscard]] Cluster& at(std::uint32_t cluster) noexcept {
    HF_DCHECK2(cluster < clusters_.size(), cluster, clusters_.size());
    return clusters_[cluster];
  }
  [[nodiscard]] std::uint32_t room(std::uint32_t cluster) noexcept;
  [[nodiscard]] std::uint32_t live_units(std::uint32_t cluster) noexcept {
    return static_cast<std::uint32_t>(at(cluster).uses.load(std::memory_order_relaxed) >> 32);
  }
  [[nodiscard]] std::uint64_t live_units() const noexcept {
    return live_units_.load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t touched() const noexcept;
  // Clusters that hold images or may: neither free nor retired.
  [[nodiscard]] std::uint32_t in_use() const noexcept;
  [[nodiscard]] std::uint32_t retired() const noexcept {
    return retired_.load(std::memory_order_relaxed);
  }
  // Clusters that could be taken.
  [[nodiscard]] std::uint32_t available() const noexcept;
  // At most one in `share` clusters is left (of those that were ever used, if the file cannot
  // grow).
  [[nodiscard]] bool has_less_than(std::uint32_t share) const noexcept;
  [[nodiscard]] std::uint32_t max() const noexcept {
    return static_cast<std::uint32_t>(clusters_.size());
  }

 private:
  struct Links {
    static std::atomic<std::uint32_t>& next(Cluster& cluster) noexcept { return cluster.link; }
  };
  using Stack = sync::IndexStack<Cluster, Links>;

  [[nodiscard]] std::uint32_t take_tail(std::uint32_t room) noexcept;
  [[nodiscard]] std::uint32_t take_free(std::uint32_t room) noexcept;
  [[nodiscard]] std::uint32_t take_new() noexcept;
  void open_anew(std::uint32_t cluster) noexcept;

  // --- constant after reserve() ---
  sys::Machine& machine_;
  Address address_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint32_t cluster_bytes_ = 0;
  std::span<Cluster> clusters_;
  // --- lock-free ---
  Stack free_, tail_, unbacked_;
  std::atomic<std::uint32_t> touched_{0}, retired_{0};
  std::atomic<std::uint64_t> live_units_{0};
  std::atomic<bool> growing_{true};
};

}  // namespace holdfast::swap
