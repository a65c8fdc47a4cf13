// The engine's counters, gathered.
#include <array>
#include <utility>

#include "engine/paging_engine.h"

namespace holdfast::engine {

using space::Count;

namespace {

// Where each counter goes in the public structure.
constexpr std::array<std::pair<Count, std::uint64_t Stats::*>, space::kCounts> kFields = {{
    {Count::faults, &Stats::faults},
    {Count::faults_zero, &Stats::faults_zero},
    {Count::faults_source, &Stats::faults_source},
    {Count::faults_swap, &Stats::faults_swap},
    {Count::faults_same_filled, &Stats::faults_same_filled},
    {Count::faults_rescued, &Stats::faults_rescued},
    {Count::faults_spurious, &Stats::faults_spurious},
    {Count::faults_waited, &Stats::faults_waited},
    {Count::faults_refused, &Stats::faults_refused},
    {Count::runs, &Stats::runs},
    {Count::run_pages, &Stats::run_pages},
    {Count::runs_moved, &Stats::runs_moved},
    {Count::windows_unmapped, &Stats::windows_unmapped},
    {Count::pages_unmapped, &Stats::pages_unmapped},
    {Count::evicted_clean, &Stats::evicted_clean},
    {Count::evicted_same_filled, &Stats::evicted_same_filled},
    {Count::evicted_written, &Stats::evicted_written},
    {Count::orphans_freed, &Stats::orphans_freed},
    {Count::reclaim_direct, &Stats::reclaim_direct},
    {Count::reclaim_background, &Stats::reclaim_background},
    {Count::skipped_pinned, &Stats::skipped_pinned},
    {Count::skipped_busy, &Stats::skipped_busy},
    {Count::skipped_rescued, &Stats::skipped_rescued},
    {Count::skipped_recent, &Stats::skipped_recent},
    {Count::write_out_failed, &Stats::write_out_failed},
    {Count::refused_interrupt, &Stats::refused_interrupt},
    {Count::refused_pins, &Stats::refused_pins},
    {Count::refused_memory, &Stats::refused_memory},
    {Count::refused_budget, &Stats::refused_budget},
    {Count::cow_faults, &Stats::cow_faults},
    {Count::cow_copied, &Stats::cow_copied},
    {Count::cow_lifted, &Stats::cow_lifted},
    {Count::cow_settled, &Stats::cow_settled},
    {Count::refused_write, &Stats::refused_write},
    {Count::background_written, &Stats::background_written},
    {Count::background_failed, &Stats::background_failed},
}};

SwapTierStats tier_stats(const swap::TierStats& from) {
  SwapTierStats to;
  to.kind = swap::name(from.kind);
  to.pages = from.pages;
  to.image_bytes = from.image_bytes;
  to.held_bytes = from.held_bytes;
  to.limit_bytes = from.limit_bytes;
  to.stores = from.stores;
  to.loads = from.loads;
  to.frees = from.frees;
  to.written_bytes = from.written_bytes;
  to.read_bytes = from.read_bytes;
  to.refused_full = from.refused_full;
  to.write_errors = from.write_errors;
  to.read_errors = from.read_errors;
  to.places_retired = from.places_retired;
  to.compactions = from.compactions;
  to.moved = from.moved;
  return to;
}

// Beside the budget: stacks of the engine's threads as far as they are used, the codecs' and the
// tiers' work areas, and the loaded code.
constexpr std::uint64_t kFixedOverhead = 12ULL << 20;

}  // namespace

void PagingEngine::fill_counters(Stats& stats) const {
  for (const auto& [count, field] : kFields) stats.*field = counters_.sum(count);
}

void PagingEngine::fill_swap(Stats& stats) const {
  const swap::SwapStats from = swap_->stats();
  for (const swap::TierStats& tier : from.tiers) stats.tiers.push_back(tier_stats(tier));
  stats.slots_used = from.slots_used;
  stats.hash_mismatches = from.hash_mismatches;
  stats.written_back = from.written_back;
  stats.incompressible = from.incompressible;
  stats.compressed_bytes = swap_->compressed_bytes();
}

Stats PagingEngine::stats() {
  Stats stats;
  if (sync::in_interrupt()) {
    (void)refused_in_interrupt("stats");
    return stats;
  }
  fill_counters(stats);
  fill_swap(stats);
  const page::FrameCounts frames = pool_->counts();
  stats.frames_total = frames.total;
  stats.frames_free = frames.free + frames.deferred + frames.reserved;
  stats.frames_charged = frames.charged;
  stats.frames_warm = frames.warm;
  const space::SpaceCounts space = space_->counts();
  stats.pages_resident = space.resident;
  stats.pages_cached = space.cached;
  stats.pins = space_->pinned_pages();
  for (std::size_t i = 0; i < space::PinAccounts::kAccountsMax; ++i) {
    const space::PinAccounts::View account = space_->accounts().view(i);
    if (account.name == nullptr) continue;
    stats.pin_accounts.push_back({.name = account.name,
                                  .pages = account.pages,
                                  .limit = account.limit,
                                  .refused = account.refused});
  }
  stats.budget_bytes = options_.memory_budget;
  stats.managed_bytes = space.mapped_bytes;
  stats.metadata_bytes =
      pool_->metadata_bytes() + swap_->metadata_bytes() + cache_->metadata_bytes();
  // Slots, the buffers of far memory and what is read ahead of files are not charged to the budget:
  // they are stated here.
  stats.overhead_bytes = staging_->bytes() + kFixedOverhead + swap_->metadata_bytes() +
                         swap_->staging_bytes() + files_.overhead_bytes();
  if (far_rooms_) stats.overhead_bytes += far_rooms_->bytes();
  return stats;
}

}  // namespace holdfast::engine
