// Proving the address space consistent: every entry against its page, its slot and its region.
#include <algorithm>
#include <cstdio>
#include <vector>

#include "space/address_space.h"

namespace holdfast::space {

using page::Page;
using page::PageState;

namespace {

bool say(sys::Machine& machine, const char* what, std::uint64_t a, std::uint64_t b) noexcept {
  char line[160];
  std::snprintf(line, sizeof line, "holdfast: check: %s: %llu, %llu", what,
                static_cast<unsigned long long>(a), static_cast<unsigned long long>(b));
  machine.print_line(line);
  return false;
}

}  // namespace

void AddressSpace::come_to_rest() noexcept {
  for (std::uint32_t id = 0; id < parts_.regions.used(); ++id) {
    wait_for_users(parts_.regions.record(RegionId(static_cast<std::uint16_t>(id))));
  }
}

SpaceCounts AddressSpace::counts() noexcept {
  SpaceCounts counts;
  for (std::uint32_t id = 0; id < parts_.regions.used(); ++id) {
    RegionRecord& region = parts_.regions.record(RegionId(static_cast<std::uint16_t>(id)));
    const RegionRecord::State state = region.state();
    if (state == RegionRecord::State::zombie) ++counts.regions;
    if (state != RegionRecord::State::live) continue;
    ++counts.regions;
    counts.mapped_bytes += region.page_count() << kPageShift;
  }
  for (Page& page : parts_.pool.pages()) {
    const PageState state = page.state();
    counts.resident += state == PageState::resident ? 1 : 0;
    counts.cached += state == PageState::cached || state == PageState::writeback ? 1 : 0;
  }
  return counts;
}

bool AddressSpace::complain(const RegionRecord& region, std::uint64_t index,
                            const char* what) noexcept {
  char line[160];
  std::snprintf(line, sizeof line, "holdfast: check: region %u page %llu (entry 0x%llx): %s",
                region.id.value, static_cast<unsigned long long>(index),
                static_cast<unsigned long long>(region.entry(index).peek().raw()), what);
  parts_.machine.print_line(line);
  return false;
}

// How many hold each slot, as found; compared with its count at the end.
struct AddressSpace::Census {
  std::vector<std::uint32_t> holders;  // by slot
  std::vector<std::uint32_t> tables;   // references of each table, by id
  std::uint64_t slots = 0;             // that anybody holds
  std::uint64_t promised = 0;          // to pending tables

  void hold(SlotIndex slot) {
    if (slot.value >= holders.size()) holders.resize(slot.value + std::size_t{1});
    slots += holders[slot.value]++ == 0 ? 1 : 0;
  }
  void refer(TableId table) {
    if (table >= tables.size()) tables.resize(table + std::size_t{1});
    ++tables[table];
  }
};

bool AddressSpace::check_entry(RegionRecord& region, std::uint64_t index, Census& census) noexcept {
  const Entry& entry = region.entry(index);
  if (entry.locked()) return complain(region, index, "locked while nothing is in flight");
  const EntryValue value = entry.peek();
  if (value.kind() == EntryKind::swapped) census.hold(value.slot());
  if (value.is_absent()) return true;
  const Page& page = parts_.pool.page(value.frame());
  if (page.owner() != page::Owner{region.id, PageIndex(index)}) {
    return complain(region, index, "its page belongs to another entry");
  }
  const bool resident = value.kind() == EntryKind::resident;
  if (page.state() != (resident ? PageState::resident : PageState::cached)) {
    return complain(region, index, page::name(page.state()));
  }
  // VM 1, the entry 1 if it maps the page, its version 1 if it is shared, and pins. Nobody else is
  // at work now.
  const bool linked = sharing_.is_linked(page);
  const std::uint32_t expected = 1 + (resident ? 1 : 0) + (linked ? 1 : 0) + page.pins();
  if (page.count() != expected) return complain(region, index, "count is not the sum of holders");
  if (!linked && !page.version().is_none()) {
    return complain(region, index, "its page names a version that stands elsewhere");
  }
  if (linked && resident && region.leaf_of(index).is_writable(index % kLeafEntries)) {
    return complain(region, index, "its page is shared and may be written to");
  }
  if (resident && Sharing::is_wanted(region, index) &&
      region.leaf_of(index).is_writable(index % kLeafEntries)) {
    return complain(region, index, "a copy needs its page, which may be written to");
  }
  if (linked && page.pins() != 0) return complain(region, index, "its page is shared and pinned");
  if (!page.slot().is_none()) census.hold(page.slot());
  return true;
}

bool AddressSpace::check_region(RegionRecord& region, Census& census) noexcept {
  std::uint64_t paid = 0;
  if (region.before != nullptr) {
    region.before->for_each_table([&](TableId table) { census.refer(table); });
  }
  for (std::uint64_t leaf = 0; leaf < region.leaf_count(); ++leaf) {
    const TableId base = region.bases[leaf].load();
    if (base != 0) census.refer(base);
    const std::uint32_t pending = region.leaf_records[leaf].pending.load();
    if (pending >= SharedTables::kTablesMax) {
      return complain(region, leaf * kLeafEntries, "leaf is frozen while nothing is in flight");
    }
    if (pending != 0) census.refer(pending);
    if (region.leaves[leaf].load() == 0) continue;
    ++paid;
    const std::uint64_t end = std::min((leaf + 1) * kLeafEntries, region.capacity);
    for (std::uint64_t index = leaf * kLeafEntries; index < end; ++index) {
      if (!check_entry(region, index, census)) return false;
    }
  }
  return paid == region.leaves_charged.load() || complain(region, 0, "tables are paid for wrongly");
}

// What is shared: each table that somebody refers to, and what it holds.
void AddressSpace::count_tables(Census& census) noexcept {
  SharedTables& tables = parts_.regions.tables();
  for (TableId table = 1; table < tables.used(); ++table) {
    SharedTables::Header& header = tables.header(table);
    if (header.state.load() == SharedTables::kFree) continue;
    census.promised += header.promised;
    for (std::uint64_t i = 0; i < kLeafEntries; ++i) {
      const EntryValue value = tables.value(table, i);
      if (value.kind() == EntryKind::swapped) census.hold(value.slot());
    }
  }
}

// Copies: pages that only a version has.
bool AddressSpace::check_copies(Census& census) noexcept {
  for (const Page& page : parts_.pool.pages()) {
    const page::Owner owner = page.owner();
    if (owner.region != kVersionOwner || page.state() != PageState::cached) continue;
    const SlotIndex version = version_of(owner);
    const bool held = version.value < census.holders.size() && census.holders[version.value] > 0;
    if (!held || parts_.swap.frame_of(version) != parts_.pool.index_of(page) || page.count() != 2) {
      return say(parts_.machine,
                 "a copy's version stands elsewhere, or its count is not 2: version", version.value,
                 page.count());
    }
  }
  return true;
}

bool AddressSpace::check_slots(Census& census) noexcept {
  SharedTables& tables = parts_.regions.tables();
  census.tables.resize(tables.used());
  for (TableId table = 1; table < tables.used(); ++table) {
    const std::uint32_t references = tables.header(table).references.load();
    if (references != census.tables[table]) {
      return say(parts_.machine, "references of a table: counted, found", references,
                 census.tables[table]);
    }
  }
  for (std::uint32_t slot = 0; slot < census.holders.size(); ++slot) {
    if (census.holders[slot] == 0) continue;
    const std::uint32_t count = parts_.swap.count_of(SlotIndex(slot));
    if (count != census.holders[slot]) {
      return say(parts_.machine, "holders of a slot: counted, found", count, census.holders[slot]);
    }
  }
  if (census.promised != parts_.swap.promised()) {
    return say(parts_.machine, "promised slots: counted, found", parts_.swap.promised(),
               census.promised);
  }
  const std::uint64_t used = parts_.swap.stats().slots_used;
  return census.slots == used ||
         say(parts_.machine, "slots: in use, referred to", used, census.slots);
}

bool AddressSpace::check() noexcept {
  Census census;
  for (std::uint32_t id = 0; id < parts_.regions.used(); ++id) {
    RegionRecord& region = parts_.regions.record(RegionId(static_cast<std::uint16_t>(id)));
    if (region.state() == RegionRecord::State::empty) continue;
    if (!check_region(region, census)) return false;
  }
  count_tables(census);
  return check_copies(census) && check_slots(census);
}

}  // namespace holdfast::space
