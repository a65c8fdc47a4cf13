#include "swap/stacked_swap.h"

#include <algorithm>

#include "swap/far_tier.h"
#include "swap/file_tier.h"
#include "swap/ram_tier.h"
#include "swap/report.h"
#include "swap/write_session.h"

namespace holdfast::swap {
namespace {
// Passes of compaction in a row that free nothing, after which it waits for a change. A cluster
// that is written anew next to others may need several until one less is held.
constexpr std::uint32_t kPassesWithoutGain = 16;
constexpr std::size_t kBlocksMoved = 16;   // blocks of memory in one pass: 1 MiB
constexpr std::size_t kClustersMoved = 4;  // clusters of a file in one pass: 1 MiB
}  // namespace

Expected<std::unique_ptr<Swap>> StackedSwap::create(sys::Machine& machine, page::FramePool& pool,
                                                    const SwapOptions& options) {
  std::unique_ptr<StackedSwap> swap(new StackedSwap(machine, pool));
  TRY_VOID(swap->slots_.reserve(options.slots_max));
  const bool with_zstd = std::ranges::any_of(
      options.tiers, [](const TierOptions& tier) { return tier.compression == Compression::zstd; });
  swap->codec_ = TRY(Codec::create(machine, with_zstd));
  TRY_VOID(swap->add_tiers(pool, options));
  return swap;
}

Expected<void> StackedSwap::add_tiers(page::FramePool& pool, const SwapOptions& options) {
  for (const TierOptions& tier : options.tiers) {
    const auto index = static_cast<unsigned>(tiers_.size());
    switch (tier.kind) {
      case TierKind::ram:
        tiers_.push_back(TRY(RamTier::create(machine_, pool, tier, options.slots_max, index)));
        break;
      case TierKind::file:
        tiers_.push_back(TRY(FileTier::create(machine_, tier, options.slots_max, index)));
        break;
      case TierKind::rados:
        tiers_.push_back(TRY(FarTier::create(machine_, tier, options.slots_max, index)));
        has_far_tier_ = true;
        break;
    }
  }
  return {};
}

// --- storing and freeing ---

void StackedSwap::store(std::span<StoreItem> items, page::Priority priority) noexcept {
  if (items.empty()) return;
  sync::check_may_wait();
  StoreSession session(tiers_, *codec_, slots_, items, {.priority = priority}, promised());
  session.store_all();
  if (session.incompressible() != 0) {
    incompressible_.fetch_add(session.incompressible(), std::memory_order_relaxed);
  }
}

FrameIndex StackedSwap::put(SlotIndex slot) noexcept {
  if (!slots_.put(slot)) return FrameIndex::none();
  const Location location = slots_.lock(slot);
  HF_CHECK2(!location.is_none(), slot.value, location.word());
  slots_.unlock(slot, Location());
  if (location.is_frame()) {
    // Before the slot can serve another page: whoever looks from the page must not find that one.
    pool_.page(location.frame()).clear_version(slot);
  } else {
    tiers_[location.tier()]->free(location, Freeing::image);
  }
  slots_.release(slot);
  releases_.fetch_add(1, std::memory_order_release);
  return location.frame();
}

// --- versions ---

namespace {
// Slots that are left to stores which looked before a promise was made.
constexpr std::uint64_t kPromiseMargin = 256;
}  // namespace

bool StackedSwap::promise(std::uint64_t slots) noexcept {
  std::uint64_t old = promised_.load(std::memory_order_relaxed);
  do {
    if (slots_.used() + old + slots + kPromiseMargin > slots_.max()) return false;
  } while (!promised_.compare_exchange_weak(old, old + slots, std::memory_order_relaxed));
  return true;
}

void StackedSwap::unpromise(std::uint64_t slots) noexcept {
  const std::uint64_t old = promised_.fetch_sub(slots, std::memory_order_relaxed);
  HF_CHECK2(old >= slots, old, slots);
}

SlotIndex StackedSwap::share(FrameIndex frame) noexcept {
  const SlotIndex slot = slots_.allocate({});
  HF_CHECK2(!slot.is_none(), slots_.used(), slots_.max());  // it was promised
  unpromise(1);
  slots_.publish(slot, Location::in_frame(frame));
  return slot;
}

bool StackedSwap::try_get(SlotIndex slot, FrameIndex frame) noexcept {
  const Location location = slots_.lock(slot);
  const bool got = location.frame() == frame && !frame.is_none() && slots_.try_get_locked(slot);
  slots_.unlock(slot, location);
  return got;
}

bool StackedSwap::relocate(SlotIndex slot, FrameIndex from, FrameIndex to) noexcept {
  const Location location = slots_.lock(slot);
  const bool there = location.is_frame() && location.frame() == from;
  slots_.unlock(slot, there ? Location::in_frame(to) : location);
  return there;
}

void StackedSwap::note_hash(SlotIndex slot, base::Hash128 hash) noexcept {
  const Location location = slots_.lock(slot);
  if (location.is_frame()) slots_.set_hash_locked(slot, hash);
  slots_.unlock(slot, location);
}

bool StackedSwap::matches(SlotIndex slot, base::Hash128 hash) noexcept {
  const Location location = slots_.lock(slot);
  const bool same = slots_.hash_of(slot) == hash;
  slots_.unlock(slot, location);
  return same;
}

// --- loading ---

namespace {
Reach reach_of(TierKind kind) noexcept {
  switch (kind) {
    case TierKind::ram:
      return Reach::memory;
    case TierKind::file:
      return Reach::here;
    case TierKind::rados:
      return Reach::anywhere;
  }
  return Reach::anywhere;
}
}  // namespace

void StackedSwap::load(std::span<LoadItem> items, Reach reach) noexcept {
  sync::check_may_wait();
  Reads reads;
  for (const LoadItem& item : items) slots_.prefetch(item.slot);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i + 1 < items.size()) prefetch_image(slots_.peek(items[i + 1].slot));
    load_one(items[i], reach, reads);
    if (reads.count == kReadItemsMax) run_reads(reads);
  }
  if (reads.count != 0) run_reads(reads);
}

// Brings all lines of an image in memory under way at once; read one by one they would be waited
// for one by one.
void StackedSwap::prefetch_image(Location location) const noexcept {
  if (location.is_none() || location.is_frame()) return;
  const std::byte* image = tiers_[location.tier()]->image_at(location.place());
  if (image == nullptr) return;
  for (std::uint32_t at = 0; at < location.length(); at += kPlaceUnit) {
    __builtin_prefetch(image + at);
  }
}

void StackedSwap::load_one(LoadItem& item, Reach reach, Reads& reads) noexcept {
  HF_DCHECK2(slots_.count_of(item.slot) != 0, item.slot.value, 0);
  const Location location = slots_.lock(item.slot);
  HF_CHECK2(!location.is_none() && !location.is_frame(), item.slot.value, location.word());
  Tier& tier = *tiers_[location.tier()];
  const std::byte* image = tier.image_at(location.place());
  item.from_memory = image != nullptr;
  item.is_beyond = reach < reach_of(tier.kind());
  if (item.is_beyond) {
    slots_.unlock(item.slot, location);
    item.ok = false;
    return;
  }
  if (image == nullptr) {
    tier.hold(location);
    slots_.unlock(item.slot, location);
    reads.items[reads.count++] = {.location = location, .item = &item};
    return;
  }
  prefetch_image(location);
  const bool decoded = codec_->decompress(location.encoding(), image, location.length(), item.page);
  slots_.unlock(item.slot, location);
  tier.count_loads(1);
  accept(item, decoded);
}

bool StackedSwap::is_far(SlotIndex slot) const noexcept {
  const Location location = slots_.peek(slot);
  return !location.is_none() && !location.is_frame() &&
         tiers_[location.tier()]->kind() == TierKind::rados;
}

void StackedSwap::run_reads(Reads& reads) noexcept {
  const std::span<ReadItem> all(reads.items.data(), reads.count);
  std::ranges::sort(all, {}, [](const ReadItem& read) { return read.location.tier(); });
  for (auto first = all.begin(); first != all.end();) {
    const unsigned t = first->location.tier();
    const auto last = std::find_if(first, all.end(),
                                   [t](const ReadItem& read) { return read.location.tier() != t; });
    const std::span<ReadItem> group(first, last);
    tiers_[t]->read(group, *this);
    tiers_[t]->count_loads(group.size());
    for (const ReadItem& read : group) tiers_[t]->free(read.location, Freeing::hold_only);
    first = last;
  }
  reads.count = 0;
}

void StackedSwap::arrived(const ReadItem& read, const std::byte* image) noexcept {
  const bool in_place = image == read.item->page;  // a raw page, read to where it belongs
  accept(*read.item, in_place || codec_->decompress(read.location.encoding(), image,
                                                    read.location.length(), read.item->page));
}

void StackedSwap::failed(const ReadItem& read, const Error& error) noexcept {
  read.item->ok = false;
  read.item->error = error;
}

void StackedSwap::accept(LoadItem& item, bool decoded) noexcept {
  item.ok = decoded && base::hash_page(item.page) == slots_.hash_of(item.slot);
  if (item.ok) return;
  hash_mismatches_.fetch_add(1, std::memory_order_relaxed);
  item.error = {.code = Errc::corrupted,
                .doing = "load page from swap",
                .what = "slot",
                .value = item.slot.value};
}

// --- housekeeping ---

bool StackedSwap::maintain() noexcept {
  sync::check_may_wait();
  if (maintaining_.exchange(true, std::memory_order_acquire)) return false;
  bool more = false;
  for (unsigned t = 0; t < tiers_.size(); ++t) {
    const bool has_below = t + 1 < tiers_.size();
    if (has_below && tiers_[t]->kind() != TierKind::file) more |= move(t, Reason::write_back);
    more |= move(t, Reason::compaction);
    tiers_[t]->trim();
  }
  maintaining_.store(false, std::memory_order_release);
  return more;
}

bool StackedSwap::move(unsigned tier, Reason reason) noexcept {
  Tier& from = *tiers_[tier];
  const bool down = reason == Reason::write_back;
  const std::uint64_t mark = room_mark() + 1;
  Progress& progress = progress_[static_cast<std::size_t>(reason)][tier];
  if (progress.futile_at == mark) return false;
  std::array<std::uint32_t, kBlocksMoved> units;
  std::size_t most = kBlocksMoved;
  // A crowded file has room for one victim at a time: the cluster kept for that.
  if (from.kind() == TierKind::file) most = from.nearly_full() ? 1 : kClustersMoved;
  const std::uint32_t chosen = from.choose(reason, std::span(units).first(most));
  if (chosen == 0) return false;

  const auto bottom = static_cast<unsigned>(tiers_.size()) - 1;
  const std::uint64_t held = from.held_bytes();
  MoveSession session(tiers_, *codec_, slots_, tier, down ? tier + 1 : tier, down ? bottom : tier);
  for (std::uint32_t i = 0; i < chosen; ++i) from.visit(units[i], session);
  session.finish();
  for (std::uint32_t i = 0; i < chosen; ++i) from.restore(units[i]);
  if (down) written_back_.fetch_add(session.moved(), std::memory_order_relaxed);
  releases_.fetch_add(session.moved(), std::memory_order_release);

  const bool gained = down || from.held_bytes() < held;
  progress.passes_without_gain = gained ? 0 : progress.passes_without_gain + 1;
  if (session.moved() == 0) {
    progress.futile_at = mark;
    return false;
  }
  // The images that are left fill as much as before: what was moved is not to be moved again.
  const bool in_vain = progress.passes_without_gain >= kPassesWithoutGain;
  if (in_vain) progress = {};
  progress.futile_at = in_vain ? room_mark() + 1 : 0;
  return !in_vain && from.wants(reason);
}

bool StackedSwap::nearly_full() const noexcept {
  const std::uint64_t used = slots_.used();
  return (slots_.max() - used) * 16 < slots_.max() || tiers_.back()->nearly_full();
}

// --- looking ---

std::uint64_t StackedSwap::room_mark() const noexcept {
  std::uint64_t growth = 0;
  for (const auto& tier : tiers_) growth += tier->growth();
  return releases_.load(std::memory_order_acquire) << 32 | (growth & 0xffffffffU);
}

SwapStats StackedSwap::stats() const {
  SwapStats s;
  for (const auto& tier : tiers_) s.tiers.push_back(tier->stats());
  s.slots_used = slots_.used();
  s.slots_max = slots_.max();
  s.hash_mismatches = hash_mismatches_.load(std::memory_order_relaxed);
  s.written_back = written_back_.load(std::memory_order_relaxed);
  s.incompressible = incompressible_.load(std::memory_order_relaxed);
  s.metadata_bytes = metadata_bytes();
  return s;
}

std::uint64_t StackedSwap::compressed_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& tier : tiers_) bytes += tier->charged_bytes();
  return bytes;
}

std::uint64_t StackedSwap::metadata_bytes() const noexcept {
  std::uint64_t bytes = slots_.metadata_bytes();
  for (const auto& tier : tiers_) bytes += tier->metadata_bytes();
  return bytes;
}

std::uint64_t StackedSwap::staging_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const auto& tier : tiers_) bytes += tier->staging_bytes();
  return bytes;
}

bool StackedSwap::check() noexcept {
  for (const auto& tier : tiers_) tier->begin_check();
  std::uint64_t used = 0;
  for (std::uint64_t i = 0; i < slots_.touched(); ++i) {
    if (!check_slot(SlotIndex(static_cast<std::uint32_t>(i)), used)) return false;
  }
  if (used != slots_.used()) return report(machine_, "slots are miscounted", used, slots_.used());
  if (!codec_->idle()) return report(machine_, "workspaces are still lent", 0, 0);
  return std::ranges::all_of(tiers_, [](const auto& tier) { return tier->end_check(); });
}

bool StackedSwap::check_slot(SlotIndex slot, std::uint64_t& used) noexcept {
  const Location location = slots_.peek(slot);
  if ((slots_.count_of(slot) == 0) != location.is_none()) {
    return report(machine_, "slot has an image or a holder, but not both", slot.value,
                  slots_.count_of(slot));
  }
  if (location.is_none()) return true;
  ++used;
  if (location.is_frame()) return true;
  if (location.moving()) return report(machine_, "slot is still being moved", slot.value, 0);
  if (location.tier() >= tiers_.size()) {
    return report(machine_, "slot names no tier", slot.value, location.tier());
  }
  return tiers_[location.tier()]->check_image(slot, location);
}

}  // namespace holdfast::swap
