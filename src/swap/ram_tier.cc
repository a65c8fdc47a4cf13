#include "swap/ram_tier.h"

#include <algorithm>
#include <bit>

namespace holdfast::swap {
namespace {
constexpr std::uint32_t kEmptyKept = 4;  // empty blocks that wait for reuse: saves system calls
constexpr std::uint32_t kSparseSearched = 64;  // partial blocks looked at for the sparsest
constexpr std::uint64_t kReliefStart = 90;  // percent of the limit at which write-back begins ...
constexpr std::uint64_t kReliefEnd = 80;    // ... and ends
}  // namespace

RamTier::RamTier(sys::Machine& machine, page::FramePool& pool, const TierOptions& options,
                 unsigned index)
    : machine_(machine), pool_(pool), options_(options), index_(index), blocks_(machine) {}

Expected<std::unique_ptr<Tier>> RamTier::create(sys::Machine& machine, page::FramePool& pool,
                                                const TierOptions& options, std::uint64_t slots_max,
                                                unsigned index) {
  std::unique_ptr<RamTier> tier(new RamTier(machine, pool, options, index));
  TRY_VOID(tier->prepare(slots_max));
  return tier;
}

Expected<void> RamTier::prepare(std::uint64_t slots_max) {
  const std::uint32_t block = options_.block_bytes;
  if (!std::has_single_bit(block) || block < kPageSize || block > kHugeSize) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create swap",
                 .what = "block_bytes",
                 .value = block,
                 .limit = kHugeSize,
                 .remedy = "a power of two, 4 KiB to 2 MiB"});
  }
  if (options_.limit_bytes != 0 && options_.limit_bytes < block) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "create swap",
                 .what = "limit_bytes",
                 .value = options_.limit_bytes,
                 .limit = block,
                 .remedy = "give the tier at least one block, or 0 for no limit"});
  }
  block_frames_ = block / static_cast<std::uint32_t>(kPageSize);
  // What there are frames for, and what all slots could need with a block to spare in each class.
  const std::uint64_t affordable = pool_.pages().size() / block_frames_;
  const std::uint64_t needed = slots_max * kPageSize / block + 1 + kSizeClasses;
  std::uint64_t most = std::max<std::uint64_t>(1, std::min(affordable, needed));
  if (options_.limit_bytes != 0) most = std::min(most, options_.limit_bytes / block);
  blocks_max_ = static_cast<std::uint32_t>(std::min<std::uint64_t>(most, base::kNoLink - 1));
  TRY_VOID(blocks_.reserve(blocks_max_, block));
  for (std::uint32_t c = 0; c < kSizeClasses; ++c) classes_.emplace_back(blocks_.all());
  return {};
}

RamTier::~RamTier() {
  // Slots may still be used when an engine goes: give everything back whatever stands there.
  pool_.uncharge(held_.load() * block_frames_);
}

// --- writing ---

Verdict RamTier::add(std::uint32_t&, const Image& image, const WriteTerms& terms, Completion&,
                     std::uint64_t& place, Error& error) noexcept {
  HF_DCHECK2(image.length > 0 && image.length <= kPageSize, image.length, image.slot.value);
  place = allocate(RamBlocks::class_of(image.length), image, terms.priority);
  if (place == kNoPlace) {
    refused_.fetch_add(1, std::memory_order_relaxed);
    error = {.code = Errc::swap_full,
             .doing = "store page",
             .what = "compressed memory",
             .value = charged_bytes(),
             .limit = std::uint64_t{blocks_max_} * options_.block_bytes};
    return Verdict::refused;
  }
  std::memcpy(blocks_.bytes_at(place), image.data, image.length);
  if (terms.compacting) moved_.fetch_add(1, std::memory_order_relaxed);
  return Verdict::stored;
}

std::uint64_t RamTier::allocate(std::uint32_t size_class, const Image& image,
                                page::Priority priority) noexcept {
  SizeClass& c = classes_[size_class];
  {
    const ClassGuard guard(c.mutex);
    if (!c.partial.empty()) return take_object(c, size_class, image);
  }
  const std::uint32_t block = obtain_block(priority);
  if (block == base::kNoLink) return kNoPlace;
  const ClassGuard guard(c.mutex);
  blocks_.open(block, size_class, clock_.fetch_add(1, std::memory_order_relaxed));
  c.partial.push_front(block);
  c.room += blocks_.capacity(size_class);
  return take_object(c, size_class, image);
}

std::uint64_t RamTier::take_object(SizeClass& c, std::uint32_t size_class,
                                   const Image& image) noexcept {
  const std::uint32_t block = c.partial.front();
  const std::uint32_t object = blocks_.take(block, image.slot.value);
  RamBlock& b = blocks_.all()[block];
  if (b.used == blocks_.capacity(size_class)) {
    c.partial.remove(block);
    b.state.store(BlockState::full, std::memory_order_relaxed);
  }
  ++c.used;
  ++c.added;
  c.image_bytes += image.length;
  return blocks_.place_of(block, size_class, object);
}

std::uint32_t RamTier::obtain_block(page::Priority priority) noexcept {
  std::uint32_t block = empty_.pop(blocks_.all());
  if (block != base::kNoLink) return block;
  std::uint32_t held = held_.load(std::memory_order_relaxed);
  do {
    if (held >= blocks_max_) return base::kNoLink;
  } while (!held_.compare_exchange_weak(held, held + 1, std::memory_order_relaxed));
  if (!pool_.charge(block_frames_, priority)) {
    held_.fetch_sub(1, std::memory_order_relaxed);
    pressed_.store(true, std::memory_order_relaxed);
    return base::kNoLink;
  }
  // held_ counts this block, so that one of the blocks_max_ is absent.
  block = absent_.pop(blocks_.all());
  if (block == base::kNoLink) block = touched_.fetch_add(1, std::memory_order_acq_rel);
  HF_CHECK2(block < blocks_max_, block, blocks_max_);
  return block;
}

// --- freeing ---

void RamTier::free(Location location, Freeing freeing) noexcept {
  if (freeing == Freeing::hold_only) return;
  const std::uint32_t block = blocks_.block_of(location.place());
  RamBlock& b = blocks_.all()[block];
  const std::uint32_t size_class = b.size_class.load(std::memory_order_relaxed);
  HF_DCHECK2(size_class == RamBlocks::class_of(location.length()), size_class, location.word());
  SizeClass& c = classes_[size_class];
  {
    const ClassGuard guard(c.mutex);
    blocks_.give(block, blocks_.object_of(location.place(), size_class));
    ++c.removed;
    c.image_bytes -= location.length();
    const BlockState state = b.state.load(std::memory_order_relaxed);
    if (state == BlockState::draining) return;  // restore() looks at what is left
    --c.used;
    note_sparse(c, size_class);
    if (state == BlockState::full) {
      c.partial.push_back(block);
      b.state.store(BlockState::partial, std::memory_order_relaxed);
    }
    if (b.used != 0) return;
    c.partial.remove(block);
    c.room -= blocks_.capacity(size_class);
    b.state.store(BlockState::empty, std::memory_order_relaxed);
  }
  release_block(block);
}

void RamTier::release_block(std::uint32_t block) noexcept {
  if (empty_.size() < kEmptyKept) {
    empty_.push(blocks_.all(), block);
  } else {
    give_back(block);
  }
}

void RamTier::give_back(std::uint32_t block) noexcept {
  blocks_.discard(block);
  blocks_.all()[block].state.store(BlockState::absent, std::memory_order_relaxed);
  absent_.push(blocks_.all(), block);  // before held_ falls: see obtain_block()
  held_.fetch_sub(1, std::memory_order_release);
  pool_.uncharge(block_frames_);
}

// Half of them each time: those that the next stores would only have to fault in again stay.
void RamTier::trim() noexcept {
  for (std::uint32_t n = (empty_.size() + 1) / 2; n > 0; --n) {
    const std::uint32_t block = empty_.pop(blocks_.all());
    if (block == base::kNoLink) return;
    give_back(block);
  }
}

// --- reading ---

void RamTier::read(std::span<ReadItem> items, ReadSink&) noexcept {
  HF_CHECK2(items.empty(), items.size(), index_);  // image_at() has them all
}

void RamTier::count_loads(std::uint64_t count) noexcept {
  loads_.fetch_add(count, std::memory_order_relaxed);
}

// --- moving ---

std::uint64_t RamTier::blocks_in_use() const noexcept {
  const std::uint64_t held = held_.load(std::memory_order_relaxed);
  const std::uint64_t empty = empty_.size();
  return held > empty ? held - empty : 0;
}

bool RamTier::over(std::uint64_t percent) const noexcept {
  return blocks_in_use() * 100 > std::uint64_t{blocks_max_} * percent;
}

bool RamTier::is_sparse(const SizeClass& c, std::uint32_t capacity) noexcept {
  const std::uint64_t unused = c.room - c.used;
  return unused >= 2 * std::uint64_t{capacity} && unused * 8 > c.room;
}

// So that looking for sparse classes costs nothing where none has changed.
void RamTier::note_sparse(const SizeClass& c, std::uint32_t size_class) noexcept {
  if (is_sparse(c, blocks_.capacity(size_class))) sparse_.store(true, std::memory_order_relaxed);
}

std::uint64_t RamTier::growth() const noexcept {
  const std::uint64_t held = held_.load(std::memory_order_relaxed);
  return std::min<std::uint64_t>(pool_.free_count() / block_frames_, blocks_max_ - held);
}

bool RamTier::wants(Reason reason) noexcept {
  if (reason == Reason::write_back) {
    if (over(kReliefStart)) relieving_ = true;
    if (!over(kReliefEnd)) relieving_ = false;
    return relieving_ || pressed_.load(std::memory_order_relaxed);
  }
  return sparse_.load(std::memory_order_relaxed);
}

std::uint32_t RamTier::choose(Reason reason, std::span<std::uint32_t> units) noexcept {
  if (!wants(reason)) return 0;
  return reason == Reason::write_back ? choose_oldest(units) : choose_sparse(units);
}

std::uint32_t RamTier::choose_oldest(std::span<std::uint32_t> units) noexcept {
  const std::uint64_t end = std::uint64_t{blocks_max_} * kReliefEnd / 100;
  const std::uint64_t in_use = blocks_in_use();
  std::size_t wanted = units.size();
  if (!pressed_.exchange(false, std::memory_order_relaxed) && in_use > end) {
    wanted = std::min<std::size_t>(wanted, in_use - end);
  }
  const std::span<RamBlock> all = blocks_.all();
  const auto age = [&](std::uint32_t b) {
    return clock_.load(std::memory_order_relaxed) - all[b].age.load(std::memory_order_relaxed);
  };
  std::size_t found = 0;  // units[0 .. found) in order of falling age
  const std::uint32_t touched = touched_.load(std::memory_order_acquire);
  for (std::uint32_t b = 0; b < touched; ++b) {
    const BlockState state = all[b].state.load(std::memory_order_relaxed);
    if (state != BlockState::partial && state != BlockState::full) continue;
    std::size_t at = found;
    while (at > 0 && age(units[at - 1]) < age(b)) --at;
    if (at == wanted) continue;
    if (found < wanted) ++found;
    for (std::size_t i = found - 1; i > at; --i) units[i] = units[i - 1];
    units[at] = b;
  }
  std::uint32_t isolated = 0;
  for (std::size_t i = 0; i < found; ++i) {
    if (isolate(units[i])) units[isolated++] = units[i];
  }
  return isolated;
}

bool RamTier::isolate(std::uint32_t block) noexcept {
  RamBlock& b = blocks_.all()[block];
  const std::uint32_t size_class = b.size_class.load(std::memory_order_relaxed);
  SizeClass& c = classes_[size_class];
  const ClassGuard guard(c.mutex);
  if (b.size_class.load(std::memory_order_relaxed) != size_class) return false;  // just reused
  const BlockState state = b.state.load(std::memory_order_relaxed);
  if (state != BlockState::partial && state != BlockState::full) return false;
  if (state == BlockState::partial) c.partial.remove(block);
  c.room -= blocks_.capacity(size_class);
  c.used -= b.used;
  note_sparse(c, size_class);
  b.state.store(BlockState::draining, std::memory_order_relaxed);
  return true;
}

std::uint32_t RamTier::choose_sparse(std::span<std::uint32_t> units) noexcept {
  // Before the look: what becomes sparse meanwhile is noted again.
  sparse_.store(false, std::memory_order_relaxed);
  std::uint32_t found = 0;
  for (std::uint32_t i = 0; i < kSizeClasses; ++i) {
    while (found < units.size()) {
      const std::uint32_t block = isolate_sparsest(classes_[i], i);
      if (block == base::kNoLink) break;
      units[found++] = block;
    }
  }
  // Where something was found there may be more.
  if (found > 0) sparse_.store(true, std::memory_order_relaxed);
  compactions_.fetch_add(found > 0 ? 1 : 0, std::memory_order_relaxed);
  return found;
}

std::uint32_t RamTier::isolate_sparsest(SizeClass& c, std::uint32_t size_class) noexcept {
  const std::uint32_t capacity = blocks_.capacity(size_class);
  const ClassGuard guard(c.mutex);
  if (!is_sparse(c, capacity)) return base::kNoLink;
  const std::span<RamBlock> all = blocks_.all();
  std::uint32_t best = c.partial.back();
  std::uint32_t looked = 0;
  for (std::uint32_t b = best; b != base::kNoLink && looked < kSparseSearched; ++looked) {
    if (all[b].used < all[best].used) best = b;
    b = c.partial.before(b);
  }
  // A block whose objects do not fit into the others would only make a new one.
  const std::uint64_t room_elsewhere = (c.room - c.used) - (capacity - all[best].used);
  if (room_elsewhere < all[best].used) return base::kNoLink;
  c.partial.remove(best);
  c.room -= capacity;
  c.used -= all[best].used;
  all[best].state.store(BlockState::draining, std::memory_order_relaxed);
  return best;
}

void RamTier::visit(std::uint32_t unit, ImageVisitor& visitor) noexcept {
  RamBlock& b = blocks_.all()[unit];
  const std::uint32_t size_class = b.size_class.load(std::memory_order_relaxed);
  std::uint32_t fresh = 0;
  {
    const ClassGuard guard(classes_[size_class].mutex);
    HF_DCHECK(b.state.load(std::memory_order_relaxed) == BlockState::draining);
    fresh = b.fresh;  // stays: nothing is put into a block that drains
  }
  for (std::uint32_t object = 0; object < fresh; ++object) {
    const std::uint32_t slot =
        blocks_.owner(unit, size_class, object).load(std::memory_order_relaxed);
    if (slot == SlotIndex::kNoneValue) continue;
    const std::uint64_t place = blocks_.place_of(unit, size_class, object);
    if (!visitor.visit(SlotIndex(slot), place, blocks_.bytes_at(place))) return;
  }
}

void RamTier::restore(std::uint32_t unit) noexcept {
  RamBlock& b = blocks_.all()[unit];
  const std::uint32_t size_class = b.size_class.load(std::memory_order_relaxed);
  SizeClass& c = classes_[size_class];
  const std::uint32_t capacity = blocks_.capacity(size_class);
  {
    const ClassGuard guard(c.mutex);
    HF_DCHECK(b.state.load(std::memory_order_relaxed) == BlockState::draining);
    if (b.used != 0) {
      c.room += capacity;
      c.used += b.used;
      note_sparse(c, size_class);
      const bool full = b.used == capacity;
      if (!full) c.partial.push_back(unit);
      b.state.store(full ? BlockState::full : BlockState::partial, std::memory_order_relaxed);
      return;
    }
    b.state.store(BlockState::empty, std::memory_order_relaxed);
  }
  release_block(unit);
}

}  // namespace holdfast::swap
