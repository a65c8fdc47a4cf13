// Proving the address space consistent: every entry against its page, its slot and its region.
#include <cstdio>

#include "space/address_space.h"

namespace holdfast::space {

using page::Page;
using page::PageState;

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

bool AddressSpace::check_entry(RegionRecord& region, std::uint64_t index) noexcept {
  const Entry& entry = region.entry(index);
  if (entry.locked()) return complain(region, index, "locked while nothing is in flight");
  const EntryValue value = entry.peek();
  if (value.kind() == EntryKind::swapped) {
    return parts_.swap.count_of(value.slot()) == 1 ||
           complain(region, index, "slot count is not 1");
  }
  if (value.is_absent()) return true;
  const Page& page = parts_.pool.page(value.frame());
  if (page.owner() != page::Owner{region.id, PageIndex(index)}) {
    return complain(region, index, "its page belongs to another entry");
  }
  const bool resident = value.kind() == EntryKind::resident;
  if (page.state() != (resident ? PageState::resident : PageState::cached)) {
    return complain(region, index, page::name(page.state()));
  }
  // VM 1, the entry 1 if it maps the page, and pins. Nobody else is at work now.
  const std::uint32_t expected = 1 + (resident ? 1 : 0) + page.pins();
  if (page.count() != expected) return complain(region, index, "count is not the sum of holders");
  if (!page.slot().is_none() && parts_.swap.count_of(page.slot()) != 1) {
    return complain(region, index, "the slot that its page keeps has another count than 1");
  }
  return true;
}

bool AddressSpace::check_region(RegionRecord& region) noexcept {
  std::uint64_t paid = 0;
  for (std::uint64_t leaf = 0; leaf * kLeafEntries < region.capacity; ++leaf) {
    if (region.leaves[leaf].load() == 0) continue;
    ++paid;
    const std::uint64_t end = std::min((leaf + 1) * kLeafEntries, region.capacity);
    for (std::uint64_t index = leaf * kLeafEntries; index < end; ++index) {
      if (!check_entry(region, index)) return false;
    }
  }
  return paid == region.leaves_charged.load() || complain(region, 0, "tables are paid for wrongly");
}

bool AddressSpace::check() noexcept {
  std::uint64_t slots = 0;
  for (std::uint32_t id = 0; id < parts_.regions.used(); ++id) {
    RegionRecord& region = parts_.regions.record(RegionId(static_cast<std::uint16_t>(id)));
    if (region.state() == RegionRecord::State::empty) continue;
    if (!check_region(region)) return false;
    for (std::uint64_t leaf = 0; leaf * kLeafEntries < region.capacity; ++leaf) {
      if (region.leaves[leaf].load() == 0) continue;
      const std::uint64_t end = std::min((leaf + 1) * kLeafEntries, region.capacity);
      for (std::uint64_t index = leaf * kLeafEntries; index < end; ++index) {
        slots += region.entry(index).peek().kind() == EntryKind::swapped ? 1 : 0;
      }
    }
  }
  for (Page& page : parts_.pool.pages()) slots += page.slot().is_none() ? 0 : 1;
  const std::uint64_t used = parts_.swap.stats().slots_used;
  if (slots == used) return true;
  char line[120];
  std::snprintf(line, sizeof line, "holdfast: check: %llu slots are used, %llu are referred to",
                static_cast<unsigned long long>(used), static_cast<unsigned long long>(slots));
  parts_.machine.print_line(line);
  return false;
}

}  // namespace holdfast::space
