#include "space/region_table.h"

#include <algorithm>
#include <new>

#include "space/before_images.h"

namespace holdfast::space {

RegionTable::~RegionTable() {
  for (std::uint32_t i = 0; i < used(); ++i) records_[i].source.reset();
  if (memory_ != 0) machine_.release(memory_, memory_bytes_);
}

Expected<void> RegionTable::start() noexcept {
  memory_bytes_ = round_up(kRegionsMax * sizeof(RegionRecord), kPageSize);
  memory_ = TRY(machine_.reserve(memory_bytes_, kPageSize, sys::Purpose::table));
  records_ = reinterpret_cast<RegionRecord*>(machine_.view(memory_));
  TRY_VOID(tables_.start());
  return map_.start();
}

std::uint16_t RegionTable::free_id_locked() noexcept {
  const std::uint32_t used = used_.load(std::memory_order_relaxed);
  for (std::uint32_t i = 0; i < used; ++i) {
    if (records_[i].state() == RegionRecord::State::empty && !records_[i].has_users()) {
      return static_cast<std::uint16_t>(i);
    }
  }
  if (used == kRegionsMax) return RegionId::kNoneValue;
  new (&records_[used]) RegionRecord();
  used_.store(used + 1, std::memory_order_release);
  return static_cast<std::uint16_t>(used);
}

Expected<RegionRecord*> RegionTable::claim(std::uint64_t capacity, std::uint32_t window_pages) {
  const std::uint64_t reserved = round_up(capacity << kPageShift, kHugeSize);
  const std::uint64_t entry_bytes = round_up(capacity * sizeof(Entry), kPageSize);
  const std::uint64_t windows = (capacity + window_pages - 1) / window_pages;
  const std::uint64_t window_bytes = round_up(windows * sizeof(WindowRecord), kPageSize);
  const std::uint64_t leaves = (capacity + kLeafEntries - 1) / kLeafEntries;
  const std::uint64_t paid_bytes = round_up(leaves, kPageSize);
  const std::uint64_t record_bytes = round_up(leaves * sizeof(LeafRecord), kPageSize);
  const std::uint64_t base_bytes = round_up(leaves * sizeof(std::atomic<TableId>), kPageSize);
  const std::uint64_t table_bytes =
      entry_bytes + window_bytes + paid_bytes + record_bytes + base_bytes;
  const Address tables = TRY(machine_.reserve(table_bytes, kPageSize, sys::Purpose::table));
  const auto base = machine_.reserve(reserved, kHugeSize, sys::Purpose::region);
  if (!base) {
    machine_.release(tables, table_bytes);
    return std::unexpected(base.error());
  }
  sync::MutexGuard guard(lock_);
  const std::uint16_t id = free_id_locked();
  if (id == RegionId::kNoneValue) {
    machine_.release(tables, table_bytes);
    machine_.release(*base, reserved);
    return fail({.code = Errc::out_of_memory,
                 .doing = "map region",
                 .what = "regions of one engine",
                 .value = kRegionsMax + 1,
                 .limit = kRegionsMax,
                 .remedy = "unmap a region, or map one large region instead of many small ones"});
  }
  RegionRecord& region = records_[id];
  region.id = RegionId(id);
  region.base = *base;
  region.capacity = capacity;
  region.reserved_bytes = reserved;
  region.tables = tables;
  region.tables_bytes = table_bytes;
  std::byte* memory = machine_.view(tables);
  region.entries = reinterpret_cast<Entry*>(memory);
  region.windows = reinterpret_cast<WindowRecord*>(memory + entry_bytes);
  memory += entry_bytes + window_bytes;
  region.leaves = reinterpret_cast<std::atomic<std::uint8_t>*>(memory);
  region.leaf_records = reinterpret_cast<LeafRecord*>(memory + paid_bytes);
  region.bases = reinterpret_cast<std::atomic<TableId>*>(memory + paid_bytes + record_bytes);
  region.read_only = false;
  region.from_file = false;
  region.before.reset();
  region.moment.reset();
  region.frozen.store(0, std::memory_order_relaxed);
  region.marking.store(0, std::memory_order_relaxed);
  region.advice.store(Advice::normal, std::memory_order_relaxed);
  region.leaves_charged.store(0, std::memory_order_relaxed);
  region.streams.reset();
  region.write_streams.reset();
  region.set_state(RegionRecord::State::dying);  // taken, not yet live
  return &region;
}

void RegionTable::publish(RegionRecord& region) noexcept {
  sync::MutexGuard guard(lock_);
  map_.set(region.base, region.reserved_bytes, region.id);
  region.set_state(RegionRecord::State::live);
}

void RegionTable::drop(RegionRecord& region) noexcept {
  // Put after the lock.
  const object::SourceRef source = std::move(region.source);
  const base::CountedRef<BeforeImages> before = std::move(region.before);
  const base::CountedRef<Moment> moment = std::move(region.moment);
  region.source_pages = 0;
  sync::MutexGuard guard(lock_);
  map_.set(region.base, region.reserved_bytes, RegionId::none());
  machine_.release(region.base, region.reserved_bytes);
  machine_.release(region.tables, region.tables_bytes);
  region.entries = nullptr;
  region.set_state(RegionRecord::State::empty);
}

}  // namespace holdfast::space
