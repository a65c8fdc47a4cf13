// Reading a snapshot as data: pages without mapping them, and runs of what there is to read.
#include <algorithm>
#include <cstring>

#include "space/address_space.h"

namespace holdfast::space {

namespace {
constexpr std::uint32_t kReadMax = 64;  // pages that are loaded in one batch
}  // namespace

// What the page is, as of the snapshot: none, filled, or a slot that the snapshot's table holds.
EntryValue AddressSpace::snapshot_value(RegionRecord& snapshot, std::uint64_t index) noexcept {
  const TableId table = snapshot.base_of(index);
  if (table == 0) return {};
  if (!parts_.regions.tables().is_settled(table)) sharing_.settle(table);
  const EntryValue value = parts_.regions.tables().value(table, index % kLeafEntries);
  const bool zero =
      value.kind() == EntryKind::filled && base::unpack_word(value.packed_word()) == 0;
  return zero ? EntryValue() : value;
}

Expected<void> AddressSpace::read_values(const EntryValue* values, std::uint32_t pages,
                                         std::byte* to) {
  swap::LoadItem items[kReadMax];
  std::uint32_t loads = 0;
  for (std::uint32_t i = 0; i < pages; ++i) {
    std::byte* page = to + std::uint64_t{i} * kPageSize;
    if (values[i].kind() != EntryKind::swapped) {
      const bool filled = values[i].kind() == EntryKind::filled;
      base::fill_page(page, filled ? base::unpack_word(values[i].packed_word()) : 0);
      continue;
    }
    Sharing::Read read;
    while ((read = sharing_.read_version(values[i].slot(), page)) == Sharing::Read::busy) {
      sync::parking().relax();
    }
    if (read == Sharing::Read::done) continue;
    items[loads++] = {.slot = values[i].slot(), .page = page, .error = {}};
  }
  if (loads == 0) return {};
  parts_.swap.load(std::span(items, loads));
  for (std::uint32_t i = 0; i < loads; ++i) {
    if (!items[i].ok) return fail(items[i].error);
  }
  return {};
}

Expected<void> AddressSpace::read_pages(RegionRecord& snapshot, std::uint64_t first,
                                        std::uint32_t pages, std::byte* to) {
  if (!snapshot.enter()) return fail({.code = Errc::not_mapped, .doing = "read snapshot"});
  Expected<void> result;
  for (std::uint32_t done = 0; done < pages && result;) {
    EntryValue values[kReadMax];
    const std::uint32_t n = std::min(pages - done, kReadMax);
    for (std::uint32_t i = 0; i < n; ++i) values[i] = snapshot_value(snapshot, first + done + i);
    result = read_values(values, n, to + std::uint64_t{done} * kPageSize);
    done += n;
  }
  snapshot.leave();
  return result;
}

Expected<RunKind> AddressSpace::kind_of(RegionRecord& snapshot, RegionRecord* since, bool compare,
                                        std::uint64_t index, std::byte* buffer) {
  const EntryValue mine = snapshot_value(snapshot, index);
  const RunKind plain = mine.kind() == EntryKind::none ? RunKind::zero : RunKind::data;
  if (since == nullptr) return plain;
  const bool inside = index < since->page_count();
  const EntryValue theirs = inside ? snapshot_value(*since, index) : EntryValue();
  if (mine == theirs) return RunKind::unchanged;
  if (!compare) return plain;
  const EntryValue both[2] = {mine, theirs};
  TRY_VOID(read_values(both, 2, buffer));
  const bool equal = std::memcmp(buffer, buffer + kPageSize, kPageSize) == 0;
  return equal ? RunKind::unchanged : plain;
}

Expected<Run> AddressSpace::next_run(RegionRecord& snapshot, RegionRecord* since, bool compare,
                                     std::uint64_t first, std::byte* buffer) {
  if (!snapshot.enter()) return fail({.code = Errc::not_mapped, .doing = "look through snapshot"});
  if (since != nullptr && !since->enter()) {
    snapshot.leave();
    return fail({.code = Errc::not_mapped, .doing = "look through snapshot"});
  }
  const std::uint64_t end = snapshot.page_count();
  Expected<RunKind> result = RunKind::data;
  RunKind kind = RunKind::data;
  std::uint64_t at = first;
  while (at < end) {
    // A table that both have is the same without looking at its pages, and so is none at all.
    const bool whole =
        since != nullptr && at < since->page_count() && snapshot.base_of(at) == since->base_of(at);
    const bool empty = since == nullptr && snapshot.base_of(at) == 0;
    const std::uint64_t leaf_end = std::min((at / kLeafEntries + 1) * kLeafEntries, end);
    std::uint64_t step = 1;
    if (whole || empty) {
      result = whole ? RunKind::unchanged : RunKind::zero;
      step = (whole ? std::min(leaf_end, since->page_count()) : leaf_end) - at;
    } else {
      result = kind_of(snapshot, since, compare, at, buffer);
    }
    if (!result || (at > first && *result != kind)) break;
    kind = *result;
    at += step;
  }
  if (since != nullptr) since->leave();
  snapshot.leave();
  if (at == first) return std::unexpected(result.error());
  return Run{first << kPageShift, (at - first) << kPageShift, kind};
}

}  // namespace holdfast::space
