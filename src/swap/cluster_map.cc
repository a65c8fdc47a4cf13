#include "swap/cluster_map.h"

#include <algorithm>

namespace holdfast::swap {
namespace {
// A tail shorter than this is not worth another write.
constexpr std::uint32_t kTailRoom = 2 * kPageSize;
// Below this many clusters the one kept for compaction would cost too large a share.
constexpr std::uint32_t kReserveFrom = 4;

constexpr std::uint64_t use_word(std::uint32_t count, std::uint32_t units) noexcept {
  return std::uint64_t{units} << 32 | count;
}
}  // namespace

ClusterMap::~ClusterMap() {
  if (bytes_ != 0) machine_.release(address_, bytes_);
}

Expected<void> ClusterMap::reserve(std::uint32_t clusters_max,
                                   std::uint32_t cluster_bytes) noexcept {
  HF_CHECK2(clusters_max > 0 && bytes_ == 0, clusters_max, bytes_);
  const std::uint64_t bytes = round_up(std::uint64_t{clusters_max} * sizeof(Cluster), kPageSize);
  address_ = TRY(machine_.reserve(bytes, kPageSize, sys::Purpose::table));
  bytes_ = bytes;
  cluster_bytes_ = cluster_bytes;
  // Zero-filled memory is a valid Cluster: untouched.
  clusters_ = {reinterpret_cast<Cluster*>(machine_.view(address_)), clusters_max};
  return {};
}

std::uint32_t ClusterMap::room(std::uint32_t cluster) noexcept {
  const Cluster& c = at(cluster);
  const std::uint32_t end = growing_.load(std::memory_order_relaxed) ? cluster_bytes_ : c.backed;
  return end > c.fill ? end - c.fill : 0;
}

void ClusterMap::open_anew(std::uint32_t cluster) noexcept {
  Cluster& c = at(cluster);
  c.fill = 0;
  c.damaged = false;
  ++c.generation;
  c.uses.store(use_word(1, 0), std::memory_order_relaxed);
  c.state.store(ClusterState::open, std::memory_order_relaxed);
}

std::uint32_t ClusterMap::take(std::uint32_t room_wanted, bool compacting) noexcept {
  std::uint32_t cluster = take_tail(room_wanted);
  if (cluster != base::kNoLink) return cluster;
  if (!compacting && max() >= kReserveFrom && available() <= 1) return base::kNoLink;
  cluster = take_free(room_wanted);
  if (cluster != base::kNoLink) return cluster;
  return take_new();
}

std::uint32_t ClusterMap::take_tail(std::uint32_t room_wanted) noexcept {
  for (;;) {
    const std::uint32_t cluster = tail_.pop(clusters_);
    if (cluster == base::kNoLink) return cluster;
    Cluster& c = at(cluster);
    c.state.store(ClusterState::open, std::memory_order_relaxed);
    // Only our own use is left: nothing in it lives, so it starts anew.
    if (static_cast<std::uint32_t>(c.uses.load(std::memory_order_acquire)) == 1) open_anew(cluster);
    if (room(cluster) >= room_wanted) return cluster;
    close(cluster);
  }
}

std::uint32_t ClusterMap::take_free(std::uint32_t room_wanted) noexcept {
  for (;;) {
    const std::uint32_t cluster = free_.pop(clusters_);
    if (cluster == base::kNoLink) return cluster;
    open_anew(cluster);
    if (room(cluster) >= room_wanted) return cluster;
    at(cluster).state.store(ClusterState::unbacked, std::memory_order_relaxed);
    unbacked_.push(clusters_, cluster);
  }
}

std::uint32_t ClusterMap::take_new() noexcept {
  if (!growing_.load(std::memory_order_relaxed)) return base::kNoLink;
  std::uint32_t cluster = unbacked_.pop(clusters_);
  if (cluster == base::kNoLink) {
    cluster = touched_.load(std::memory_order_relaxed);
    do {
      if (cluster >= max()) return base::kNoLink;
    } while (!touched_.compare_exchange_weak(cluster, cluster + 1, std::memory_order_acq_rel,
                                             std::memory_order_relaxed));
  }
  open_anew(cluster);
  return cluster;
}

void ClusterMap::put_back(std::uint32_t cluster) noexcept {
  if (room(cluster) < kTailRoom) return close(cluster);
  at(cluster).state.store(ClusterState::tail, std::memory_order_relaxed);
  tail_.push(clusters_, cluster);
}

void ClusterMap::close(std::uint32_t cluster) noexcept {
  at(cluster).state.store(ClusterState::closed, std::memory_order_release);
  HF_INTERLEAVE();
  drop(cluster, 1, 0);
}

void ClusterMap::retire(std::uint32_t cluster) noexcept {
  at(cluster).state.store(ClusterState::retired, std::memory_order_release);
  retired_.fetch_add(1, std::memory_order_relaxed);
}

void ClusterMap::use(std::uint32_t cluster, std::uint32_t count, std::uint32_t units) noexcept {
  const std::uint64_t old =
      at(cluster).uses.fetch_add(use_word(count, units), std::memory_order_relaxed);
  HF_DCHECK2(static_cast<std::uint32_t>(old) != 0, cluster, old);
  live_units_.fetch_add(units, std::memory_order_relaxed);
}

void ClusterMap::drop(std::uint32_t cluster, std::uint32_t count, std::uint32_t units) noexcept {
  Cluster& c = at(cluster);
  const std::uint64_t word = use_word(count, units);
  const std::uint64_t old = c.uses.fetch_sub(word, std::memory_order_acq_rel);
  HF_CHECK2(static_cast<std::uint32_t>(old) >= count && old >> 32 >= units, cluster, old);
  live_units_.fetch_sub(units, std::memory_order_relaxed);
  if (static_cast<std::uint32_t>(old) != count) return;
  HF_DCHECK2(c.state.load() == ClusterState::closed, cluster, static_cast<int>(c.state.load()));
  c.state.store(ClusterState::free, std::memory_order_relaxed);
  free_.push(clusters_, cluster);
}

bool ClusterMap::isolate(std::uint32_t cluster) noexcept {
  Cluster& c = at(cluster);
  std::uint64_t old = c.uses.load(std::memory_order_relaxed);
  do {
    if (static_cast<std::uint32_t>(old) == 0) return false;  // being freed just now
  } while (!c.uses.compare_exchange_weak(old, old + 1, std::memory_order_acq_rel,
                                         std::memory_order_relaxed));
  ClusterState expected = ClusterState::closed;
  if (c.state.compare_exchange_strong(expected, ClusterState::draining)) return true;
  drop(cluster, 1, 0);
  return false;
}

void ClusterMap::restore(std::uint32_t cluster) noexcept {
  HF_DCHECK(at(cluster).state.load() == ClusterState::draining);
  // While something in a damaged cluster lives it would be chosen again and again.
  if (at(cluster).damaged && live_units(cluster) != 0) return retire(cluster);
  close(cluster);
}

std::uint32_t ClusterMap::touched() const noexcept {
  return touched_.load(std::memory_order_acquire);
}

std::uint32_t ClusterMap::in_use() const noexcept {
  const std::uint32_t idle = free_.size() + unbacked_.size() + retired();
  return touched() > idle ? touched() - idle : 0;
}

std::uint32_t ClusterMap::available() const noexcept {
  const std::uint32_t freed = free_.size();
  if (!growing_.load(std::memory_order_relaxed)) return freed;
  return freed + unbacked_.size() + (max() - std::min(max(), touched()));
}

bool ClusterMap::has_less_than(std::uint32_t share) const noexcept {
  const bool growing = growing_.load(std::memory_order_relaxed);
  return available() <= std::max<std::uint32_t>(1, (growing ? max() : touched()) / share);
}

}  // namespace holdfast::swap
