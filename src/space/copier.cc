#include "space/copier.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace holdfast::space {

namespace {

constexpr int kCopyTries = 16;  // each made room for what the one before had lacked
// Pages that are protected already cost less to protect again than a call for those on both sides.
constexpr std::uint64_t kGapMax = 12;

std::unexpected<Error> refused(int error, Address address) {
  return fail({.code = error == ENOMEM ? Errc::out_of_memory : Errc::system,
               .os_errno = error,
               .doing = "write-protect a region for a copy",
               .what = "address",
               .value = address,
               .remedy = "the mapping was changed behind the engine"});
}

}  // namespace

std::unexpected<Error> Copier::short_of_frames(std::uint64_t wanted, std::uint64_t free) noexcept {
  return fail({.code = Errc::out_of_memory,
               .os_errno = ENOMEM,
               .doing = "copy regions",
               .what = "free frames, for tables and pinned pages",
               .value = free,
               .limit = wanted,
               .remedy = "unpin memory, raise memory_budget, or add a swap tier with room"});
}

Copier::~Copier() {
  if (charged_ > 0) parts_.pool.uncharge(charged_);
  if (promised_ > 0) parts_.swap.unpromise(promised_);
}

// --- the whole ---

Expected<void> Copier::copy(std::span<RegionRecord* const> sources, AddressSpace::CopyKind kind,
                            std::span<RegionRecord*> made) {
  std::size_t claimed = 0;
  Expected<void> result;
  for (; claimed < sources.size() && result; ++claimed) {
    made[claimed] = nullptr;
    result = claim(*sources[claimed], kind, made[claimed]);
  }
  for (int tries = 0; result && tries < kCopyTries; ++tries) {
    result = provide(sources);
    if (!result) break;
    result = attempt(sources, made);
    if (result) return result;
    const bool short_of_memory = result.error().code == Errc::out_of_memory;
    if (!short_of_memory) break;
    // Places for copies come free when pages leave, however many frames are free.
    const auto wanted =
        static_cast<std::uint32_t>(page::kReservationMax + parts_.pool.free_count());
    if (!parts_.relief->relieve(wanted, page::Priority::normal)) break;
    if (tries + 1 < kCopyTries) result = {};
  }
  for (std::size_t i = 0; i < claimed; ++i) give_back(made[i]);
  return result;
}

Expected<void> Copier::claim(RegionRecord& source, AddressSpace::CopyKind kind,
                             RegionRecord*& made) {
  const std::uint64_t pages = source.page_count();
  const bool read_only = kind == AddressSpace::CopyKind::snapshot;
  made = TRY(parts_.regions.claim(read_only ? pages : source.capacity, parts_.window_pages));
  made->read_only = read_only;
  made->pages.store(pages, std::memory_order_release);
  made->source = source.source;
  made->from_file = source.from_file && source.before == nullptr;
  made->moment = source.moment;
  made->source_pages = std::min(source.source_pages, pages);
  made->advice.store(source.advice.load(std::memory_order_relaxed), std::memory_order_relaxed);
  const int error = parts_.pmap->attach(made->base, made->reserved_bytes);
  if (error == 0) return {};
  const Address base = made->base;
  parts_.regions.drop(*made);
  made = nullptr;
  return fail({.code = error == ENOMEM ? Errc::out_of_memory : Errc::system,
               .os_errno = error,
               .doing = "register the copy of a region",
               .what = "address",
               .value = base});
}

void Copier::give_back(RegionRecord* made) noexcept {
  if (made == nullptr) return;
  space_.release_bases(*made);
  parts_.pmap->detach(made->base, made->reserved_bytes);
  parts_.regions.drop(*made);
}

// Frames and slots for all the tables that it may take.
Expected<void> Copier::provide(std::span<RegionRecord* const> sources) {
  std::uint32_t tables = 0;
  for (const RegionRecord* source : sources) {
    if (source->read_only) continue;
    for (std::uint64_t leaf = 0; leaf < source->leaf_count(); ++leaf) {
      tables += source->leaves[leaf].load(std::memory_order_acquire);
    }
  }
  const std::uint64_t slots = tables * kLeafEntries;
  if (slots > promised_) {
    if (!parts_.swap.promise(slots - promised_)) {
      return fail({.code = Errc::swap_full,
                   .doing = "copy regions",
                   .what = "slots, for pages that are shared",
                   .value = slots,
                   .limit = parts_.swap.stats().slots_max,
                   .remedy = "drop snapshots or clones, or unmap regions"});
    }
    promised_ = slots;
  }
  for (std::uint32_t most = page::kReservationMax; tables > charged_;) {
    const std::uint32_t more = std::min(tables - charged_, most);
    if (parts_.pool.charge(more, page::Priority::normal)) {
      charged_ += more;
    } else if (!parts_.relief->relieve(more, page::Priority::normal)) {
      return short_of_frames(tables, parts_.pool.free_count());
    } else {
      most = std::max(most / 2, 1U);  // it may have made some free, but not as many
    }
  }
  return {};
}

Expected<void> Copier::attempt(std::span<RegionRecord* const> sources,
                               std::span<RegionRecord*> made) {
  make_moments(sources, made);
  for (RegionRecord* source : sources) source->frozen.fetch_add(1, std::memory_order_seq_cst);
  for (const RegionRecord* source : sources) wait_for_marks(*source);
  Expected<void> result;
  for (std::size_t i = 0; i < sources.size() && result; ++i) {
    result = copy_region(*sources[i], *made[i]);
  }
  const Expected<void> flushed = flush();
  if (result) result = flushed;
  if (result) {
    begin_moments(sources, made);
    for (RegionRecord* each : made) parts_.regions.publish(*each);
  } else {
    for (RegionRecord* each : made) space_.release_bases(*each);
  }
  for (RegionRecord* source : sources) thaw(*source);
  for (RegionRecord* source : sources) {
    source->frozen.fetch_sub(1, std::memory_order_seq_cst);
    sync::parking().wake(source->frozen, sync::kWakeAll);
  }
  if (!result) {
    for (RegionRecord* source : sources) cancel_unwanted(*source);
  }
  return result;
}

// One for each file, anew for each attempt: what the last one has noted is of another moment.
void Copier::make_moments(std::span<RegionRecord* const> sources, std::span<RegionRecord*> made) {
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (sources[i]->before == nullptr) continue;
    const auto first = static_cast<std::size_t>(
        std::find(sources.begin(), sources.end(), sources[i]) - sources.begin());
    made[i]->moment =
        first < i
            ? made[first]->moment
            : base::CountedRef<Moment>(new Moment(sources[i]->before, sources[i]->page_count()));
  }
}

void Copier::begin_moments(std::span<RegionRecord* const> sources,
                           std::span<RegionRecord*> made) noexcept {
  for (std::size_t i = 0; i < sources.size(); ++i) {
    const bool is_first = std::find(sources.begin(), sources.end(), sources[i]) ==
                          sources.begin() + static_cast<std::ptrdiff_t>(i);
    if (sources[i]->before != nullptr && is_first) sources[i]->before->begin(*made[i]->moment);
  }
}

Expected<void> Copier::copy_region(RegionRecord& source, RegionRecord& made) {
  SharedTables& tables = parts_.regions.tables();
  moment_ = source.before != nullptr ? made.moment.get() : nullptr;
  for (std::uint64_t leaf = 0; leaf < source.leaf_count(); ++leaf) {
    if (made.leaf_count() <= leaf) break;  // beyond the size that a snapshot has for good
    settle_if_pinned(source, leaf);
    pinned_.fill(0);
    LeafRecord& record = source.leaf_records[leaf];
    // A region that is named twice is frozen already, and protected.
    const bool again = (record.pending.load(std::memory_order_seq_cst) & LeafRecord::kFrozen) != 0;
    if (!source.read_only && !freeze(source, leaf)) {
      if (source.before != nullptr) close_untouched(record);
      continue;
    }
    const bool touched =
        !source.read_only && source.leaves[leaf].load(std::memory_order_acquire) != 0;
    TableId table = source.read_only
                        ? 0
                        : record.pending.load(std::memory_order_seq_cst) & ~LeafRecord::kFrozen;
    if (table == 0 && !touched) table = source.bases[leaf].load(std::memory_order_acquire);
    if (table != 0) {
      tables.get(table);
      made.bases[leaf].store(table, std::memory_order_release);
    } else if (touched) {
      table = TRY(new_table(source, leaf));
      tables.get(table);
      made.bases[leaf].store(table, std::memory_order_release);
      record.pending.store(table | LeafRecord::kFrozen, std::memory_order_seq_cst);
      TRY_VOID(copy_pinned(source, leaf, table));
    }
    if (touched && !again) TRY_VOID(protect_leaf(source, leaf));
  }
  return {};
}

// A pending table stands for what nobody has changed since; a page that was pinned when it was made
// may have been.
void Copier::settle_if_pinned(RegionRecord& source, std::uint64_t leaf) noexcept {
  if (source.read_only) return;
  const LeafRecord& record = source.leaf_records[leaf];
  if (record.pinned.load(std::memory_order_seq_cst) == 0) return;
  if ((record.pending.load(std::memory_order_seq_cst) & LeafRecord::kFrozen) != 0) return;
  sharing_.make_ready(source, leaf * kLeafEntries);
}

Expected<TableId> Copier::new_table(RegionRecord& source, std::uint64_t leaf) {
  if (charged_ == 0) return short_of_frames(1, 0);  // touched since provide() looked
  const TableId table = parts_.regions.tables().make();
  if (table == 0) {
    return fail({.code = Errc::budget_exceeded,
                 .doing = "copy regions",
                 .what = "tables of what is shared",
                 .value = SharedTables::kTablesMax,
                 .limit = SharedTables::kTablesMax - 1,
                 .remedy = "drop snapshots or clones"});
  }
  SharedTables::Header& header = parts_.regions.tables().header(table);
  header.source = source.id;
  header.leaf = leaf;
  header.pages = source.page_count();
  header.promised = kLeafEntries;
  --charged_;
  promised_ -= kLeafEntries;
  return table;
}

// --- freezing ---

// A leaf that nobody has touched stays so until the region is thawed: whoever is about to touch one
// either has done it when this returns, or waits.
void Copier::wait_for_marks(const RegionRecord& source) noexcept {
  while (source.marking.load(std::memory_order_seq_cst) != 0) sync::parking().relax();
}

// Marks the leaf and waits for those who were faster. False: there is nothing in it.
bool Copier::freeze(RegionRecord& source, std::uint64_t leaf) noexcept {
  const bool touched = source.leaves[leaf].load(std::memory_order_seq_cst) != 0;
  HF_INTERLEAVE();
  if (!touched && source.bases[leaf].load(std::memory_order_acquire) == 0) return false;
  std::atomic<std::uint32_t>& pending = source.leaf_records[leaf].pending;
  std::uint32_t old = pending.load(std::memory_order_seq_cst);
  while ((old & LeafRecord::kFrozen) == 0) {
    if ((old & LeafRecord::kCancelling) != 0) {
      sync::parking().relax();
      old = pending.load(std::memory_order_seq_cst);
    } else if (pending.compare_exchange_weak(old, old | LeafRecord::kFrozen,
                                             std::memory_order_seq_cst)) {
      break;
    }
  }
  const std::uint64_t first = leaf * kLeafEntries;
  const std::uint64_t end = std::min(first + kLeafEntries, source.capacity);
  for (std::uint64_t index = first; index < end && touched; ++index) {
    Entry& entry = source.entry(index);
    if (!entry.locked()) continue;
    (void)entry.lock();
    entry.unlock();
  }
  return true;
}

void Copier::thaw_leaf(LeafRecord& leaf) noexcept {
  if ((leaf.pending.load(std::memory_order_seq_cst) & LeafRecord::kFrozen) == 0) return;
  leaf.pending.fetch_and(~LeafRecord::kFrozen, std::memory_order_seq_cst);
}

void Copier::thaw(RegionRecord& source) noexcept {
  if (source.read_only) return;
  for (std::uint64_t leaf = 0; leaf < source.leaf_count(); ++leaf) {
    const bool maybe = source.leaves[leaf].load(std::memory_order_acquire) != 0 ||
                       source.bases[leaf].load(std::memory_order_acquire) != 0;
    if (maybe) thaw_leaf(source.leaf_records[leaf]);
  }
}

// Tables that were made for a copy which then failed.
void Copier::cancel_unwanted(RegionRecord& source) noexcept {
  if (source.read_only) return;
  SharedTables& tables = parts_.regions.tables();
  for (std::uint64_t leaf = 0; leaf < source.leaf_count(); ++leaf) {
    if (source.leaves[leaf].load(std::memory_order_acquire) == 0) continue;
    const std::uint32_t pending = source.leaf_records[leaf].pending.load();
    if (pending == 0 || pending >= SharedTables::kTablesMax) continue;
    if (tables.header(pending).references.load() == 1) {
      sharing_.make_ready(source, leaf * kLeafEntries);
    }
  }
}

// --- protection ---

// Of a file, what comes in from here on may have to be protected, for its copies' sake. Nothing is
// there yet, and nothing comes while the region is frozen.
void Copier::close_untouched(LeafRecord& leaf) noexcept {
  if (leaf.is_guarded()) return;
  leaf.guard();
  for (auto& word : leaf.open) word.store(0, std::memory_order_seq_cst);
}

// Protects what may be written to, but for pages that are pinned.
Expected<void> Copier::protect_leaf(RegionRecord& source, std::uint64_t leaf) {
  LeafRecord& record = source.leaf_records[leaf];
  const std::uint64_t first = leaf * kLeafEntries;
  const std::uint64_t end = std::min(first + kLeafEntries, source.page_count());
  record.guard();
  std::array<std::uint64_t, kLeafEntries / 64> writable;
  for (std::size_t w = 0; w < writable.size(); ++w) {
    writable[w] = record.open[w].load(std::memory_order_seq_cst) & ~pinned_[w];
    if (source.from_file) record.unsaved[w].fetch_or(writable[w], std::memory_order_seq_cst);
    record.open[w].store(pinned_[w], std::memory_order_seq_cst);
  }
  const auto is = [](const auto& bits, std::uint64_t i) {
    return (bits[i / 64] >> (i % 64) & 1) != 0;
  };
  for (std::uint64_t i = 0; first + i < end;) {
    if (!is(writable, i)) {
      if (is(pinned_, i)) TRY_VOID(flush());
      ++i;
      continue;
    }
    std::uint64_t to = i;
    while (first + to < end && is(writable, to)) ++to;
    TRY_VOID(protect_pages(source, first + i, first + to));
    i = to;
  }
  return {};
}

// Joined with what came before, if little lies between.
Expected<void> Copier::protect_pages(RegionRecord& source, std::uint64_t first, std::uint64_t end) {
  if (range_region_ == &source && first >= range_end_ && first - range_end_ <= kGapMax) {
    range_end_ = end;
    return {};
  }
  TRY_VOID(flush());
  range_region_ = &source;
  range_first_ = first;
  range_end_ = end;
  return {};
}

Expected<void> Copier::flush() noexcept {
  RegionRecord* region = std::exchange(range_region_, nullptr);
  if (region == nullptr) return {};
  const int error =
      parts_.pmap->protect(region->address_of(range_first_),
                           (range_end_ - range_first_) << kPageShift, sys::Protection::read_only);
  if (error == 0) return {};
  // Some may be protected, some not. Those that were shared before certainly are, and those that an
  // older copy may need yet; the others must pass for writable, or the next copy would not protect
  // them.
  for (std::uint64_t index = range_first_; index < range_end_; ++index) {
    const EntryValue value = region->entry(index).peek();
    if (value.kind() != EntryKind::resident) continue;
    if (sharing_.is_linked(parts_.pool.page(value.frame()))) continue;
    if (Sharing::is_wanted(*region, index)) continue;
    region->leaf_of(index).set_open(index % kLeafEntries, true);
  }
  return refused(error, region->address_of(range_first_));
}

Expected<void> Copier::arm(RegionRecord& region) {
  Expected<void> result;
  for (std::uint64_t leaf = 0; leaf < region.leaf_count() && result && !region.read_only; ++leaf) {
    if (region.leaves[leaf].load(std::memory_order_acquire) == 0) continue;
    settle_if_pinned(region, leaf);  // the mark by which a copy would know goes here
    region.frozen.fetch_add(1, std::memory_order_seq_cst);
    if (freeze(region, leaf)) {
      result = copy_pinned(region, leaf, 0);
      if (result) result = protect_leaf(region, leaf);
      const Expected<void> flushed = flush();
      if (result) result = flushed;
    }
    thaw_leaf(region.leaf_records[leaf]);
    region.frozen.fetch_sub(1, std::memory_order_seq_cst);
    sync::parking().wake(region.frozen, sync::kWakeAll);
  }
  return result;
}

}  // namespace holdfast::space
