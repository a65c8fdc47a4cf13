#include "space/before_images.h"

#include "space/sharing.h"

namespace holdfast::space {

Moment::Moment(base::CountedRef<BeforeImages> images, std::uint64_t pages)
    : images_(std::move(images)),
      pages_(pages),
      tables_((pages + kLeafEntries - 1) / kLeafEntries) {}

Moment::~Moment() { images_->end(*this); }

EntryValue Moment::find(std::uint64_t index) const noexcept { return images_->find(*this, index); }

RegionId Moment::region() const noexcept { return images_->region(); }

EntryValue BeforeImages::find(const Moment& moment, std::uint64_t index) const noexcept {
  const Guard guard(lock_);
  for (const Moment* at = &moment; at != nullptr; at = at->newer_) {
    const EntryValue found = value(*at, index);
    if (found.kind() != EntryKind::none) return found;
  }
  return {};
}

bool BeforeImages::note_copy(Moment& moment, std::uint64_t index, SlotIndex copy) noexcept {
  const Guard guard(lock_);
  TableId& table = moment.tables_[index / kLeafEntries];
  Kept refused = Kept::done;
  if (table == 0 && !provide_table(table, refused)) return false;
  parts_.swap.get(copy);
  parts_.regions.tables().set_value(table, index % kLeafEntries, EntryValue::swapped(copy));
  return true;
}

void BeforeImages::begin(Moment& moment) noexcept {
  const Guard guard(lock_);
  moment.older_ = youngest_.load(std::memory_order_relaxed);
  if (moment.older_ != nullptr) moment.older_->newer_ = &moment;
  moment.begun_ = true;
  youngest_.store(&moment, std::memory_order_seq_cst);
}

EntryValue BeforeImages::value(const Moment& moment, std::uint64_t index) const noexcept {
  const std::uint64_t leaf = index / kLeafEntries;
  const TableId table = leaf < moment.tables_.size() ? moment.tables_[leaf] : 0;
  return table == 0 ? EntryValue() : parts_.regions.tables().value(table, index % kLeafEntries);
}

bool BeforeImages::wants_locked(std::uint64_t index) const noexcept {
  const Moment* const moment = youngest_.load(std::memory_order_relaxed);
  return moment != nullptr && index < moment->pages_ &&
         value(*moment, index).kind() == EntryKind::none;
}

bool BeforeImages::wants(std::uint64_t index) const noexcept {
  if (!any()) return false;
  const Guard guard(lock_);
  return wants_locked(index);
}

BeforeImages::Kept BeforeImages::keep(page::Page& page, std::uint64_t index) noexcept {
  if (!any()) return Kept::done;
  const Guard guard(lock_);
  if (!wants_locked(index)) return Kept::done;
  TableId& table = youngest_.load(std::memory_order_relaxed)->tables_[index / kLeafEntries];
  Kept refused = Kept::done;
  if (table == 0 && !provide_table(table, refused)) return refused;
  if (!parts_.swap.promise(1)) return Kept::no_slot;
  bool made = false;
  const SlotIndex slot = Sharing(parts_).share(page, made);
  if (!made) parts_.swap.unpromise(1);
  parts_.regions.tables().set_value(table, index % kLeafEntries, EntryValue::swapped(slot));
  return Kept::done;
}

// It is guarded by the lock, and so is settled from the start.
bool BeforeImages::provide_table(TableId& table, Kept& refused) noexcept {
  refused = Kept::no_frame;
  if (!parts_.pool.charge(1, page::Priority::normal)) return false;
  table = parts_.regions.tables().make();
  if (table == 0) {
    parts_.pool.uncharge(1);
    refused = Kept::no_slot;
    return false;
  }
  parts_.regions.tables().header(table).state.store(SharedTables::kSettled,
                                                    std::memory_order_release);
  return true;
}

void BeforeImages::end(Moment& moment) noexcept {
  if (moment.begun_) unlink(moment);
  Sharing sharing(parts_);
  for (const TableId table : moment.tables_) {
    if (table != 0) sharing.put_table(table);
  }
}

// What is left in the moment's tables then is of no use to anybody.
void BeforeImages::unlink(Moment& moment) noexcept {
  const Guard guard(lock_);
  Moment* const newer = moment.newer_;
  Moment* const older = moment.older_;
  if (older != nullptr) hand_down(moment);
  if (newer != nullptr) newer->older_ = older;
  if (older != nullptr) older->newer_ = newer;
  if (newer == nullptr) youngest_.store(older, std::memory_order_seq_cst);
}

// Under the lock as a whole, so that nobody finds a before-image at neither place.
void BeforeImages::hand_down(Moment& moment) noexcept {
  SharedTables& tables = parts_.regions.tables();
  Moment& older = *moment.older_;
  for (std::size_t leaf = 0; leaf < moment.tables_.size() && leaf < older.tables_.size(); ++leaf) {
    const TableId from = moment.tables_[leaf];
    if (from == 0) continue;
    if (older.tables_[leaf] == 0) {
      older.tables_[leaf] = std::exchange(moment.tables_[leaf], 0);
      continue;
    }
    const TableId to = older.tables_[leaf];
    for (std::uint64_t i = 0; i < kLeafEntries; ++i) {
      const EntryValue value = tables.value(from, i);
      if (value.kind() == EntryKind::none) continue;
      if (tables.value(to, i).kind() != EntryKind::none) continue;
      tables.set_value(to, i, value);
      tables.set_value(from, i, EntryValue());
    }
  }
}

}  // namespace holdfast::space
