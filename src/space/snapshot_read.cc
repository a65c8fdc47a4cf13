// Reading a snapshot as data: pages without mapping them, and runs of what there is to read.
#include <algorithm>
#include <cstring>

#include "space/address_space.h"

namespace holdfast::space {

namespace {
constexpr std::uint32_t kReadMax = 64;  // pages that are loaded in one batch

// True if what is none in the leaf that ends at `end` is the same in both.
bool same_source(const RegionRecord& a, const RegionRecord& b, std::uint64_t end) noexcept {
  if (a.source.get() != b.source.get() || a.moment != b.moment) return false;
  return a.source_pages == b.source_pages || (a.has_source(end - 1) && b.has_source(end - 1));
}
}  // namespace

// What the page is, as of the snapshot: zeros (none), filled, a slot that the snapshot's table
// holds, or the source's.
AddressSpace::SnapshotPage AddressSpace::snapshot_page(RegionRecord& snapshot,
                                                       std::uint64_t index) noexcept {
  const EntryValue value = table_value(snapshot, index);
  if (value.kind() == EntryKind::none && snapshot.has_source(index)) {
    return {.value = {},
            .source = snapshot.source.get(),
            .index = index,
            .moment = snapshot.moment.get()};
  }
  const bool zero =
      value.kind() == EntryKind::filled && base::unpack_word(value.packed_word()) == 0;
  return {.value = zero ? EntryValue() : value, .source = nullptr, .index = 0};
}

EntryValue AddressSpace::table_value(RegionRecord& snapshot, std::uint64_t index) noexcept {
  const TableId table = snapshot.base_of(index);
  if (table != 0 && !parts_.regions.tables().is_settled(table)) sharing_.settle(table);
  return sharing_.content_of(snapshot, index, {});
}

// A stretch of pages that are one source's, as far as there are any at `pages`; returns how many of
// them have been read as they were. It is none if the first has changed meanwhile: then it is told
// what that was.
Expected<std::uint32_t> AddressSpace::read_from_source(SnapshotPage* pages, std::uint32_t most,
                                                       std::byte* to) {
  if (pages[0].moment != nullptr && sharing_.read_unchanged(*pages[0].moment, pages[0].index, to)) {
    return 1;
  }
  std::byte* places[kReadMax];
  std::uint32_t count = 0;
  while (count < most && pages[count].source != nullptr && pages[count].source == pages[0].source &&
         pages[count].index == pages[0].index + count) {
    places[count] = to + std::uint64_t{count} * kPageSize;
    ++count;
  }
  Error error;
  const bool read = count == 0 || pages[0].source->read(pages[0].index, count, places, error);
  // The file may have been made shorter, and the page kept before that.
  if (!read && count > 1) return read_from_source(pages, 1, to);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (pages[i].moment == nullptr) continue;
    const EntryValue kept = pages[i].moment->find(pages[i].index);
    if (kept.kind() == EntryKind::none) continue;
    pages[i] = {.value = kept};
    return i;
  }
  if (!read) return fail(error);
  return count;
}

Expected<void> AddressSpace::read_values(SnapshotPage* values, std::uint32_t pages, std::byte* to) {
  swap::LoadItem items[kReadMax];
  std::uint32_t loads = 0;
  for (std::uint32_t i = 0; i < pages;) {
    std::byte* page = to + std::uint64_t{i} * kPageSize;
    if (const std::uint32_t read = TRY(read_from_source(values + i, pages - i, page))) {
      i += read;
      continue;
    }
    const EntryValue value = values[i++].value;
    if (value.kind() != EntryKind::swapped) {
      const bool filled = value.kind() == EntryKind::filled;
      base::fill_page(page, filled ? base::unpack_word(value.packed_word()) : 0);
      continue;
    }
    Sharing::Read read;
    while ((read = sharing_.read_version(value.slot(), page)) == Sharing::Read::busy) {
      sync::parking().relax();
    }
    if (read == Sharing::Read::done) continue;
    items[loads++] = {.slot = value.slot(), .page = page, .error = {}};
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
    SnapshotPage values[kReadMax];
    const std::uint32_t n = std::min(pages - done, kReadMax);
    for (std::uint32_t i = 0; i < n; ++i) values[i] = snapshot_page(snapshot, first + done + i);
    result = read_values(values, n, to + std::uint64_t{done} * kPageSize);
    done += n;
  }
  snapshot.leave();
  return result;
}

Expected<RunKind> AddressSpace::kind_of(RegionRecord& snapshot, RegionRecord* since, bool compare,
                                        std::uint64_t index, std::byte* buffer) {
  const SnapshotPage mine = snapshot_page(snapshot, index);
  const RunKind plain = mine.is_zero() ? RunKind::zero : RunKind::data;
  if (since == nullptr) return plain;
  const bool inside = index < since->page_count();
  const SnapshotPage theirs = inside ? snapshot_page(*since, index) : SnapshotPage();
  if (mine == theirs) return RunKind::unchanged;
  if (!compare) return plain;
  SnapshotPage both[2] = {mine, theirs};
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
    const std::uint64_t leaf_end = std::min((at / kLeafEntries + 1) * kLeafEntries, end);
    const bool whole = since != nullptr && at < since->page_count() &&
                       snapshot.base_of(at) == since->base_of(at) &&
                       same_source(snapshot, *since, leaf_end);
    const bool empty = since == nullptr && snapshot.base_of(at) == 0 && !snapshot.has_source(at);
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
