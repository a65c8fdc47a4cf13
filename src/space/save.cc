// Saving pages of a region to its source, and making them again what that has.
#include "space/save.h"

#include <cerrno>

#include "space/address_space.h"
#include "space/detach_scratch.h"
#include "space/saver.h"

namespace holdfast::space {

namespace {
constexpr int kDropTries = 64;  // a page that is rescued again and again while it is dropped
}  // namespace

Expected<void> AddressSpace::save(RegionRecord& region, std::uint64_t first, std::uint64_t end,
                                  bool all, SaveSink& sink, std::vector<SavedPage>& saved) {
  if (!region.enter()) return fail({.code = Errc::not_mapped, .doing = "save pages"});
  const auto result =
      Saver(parts_, region, all).run(first, std::min(end, region.page_count()), sink, saved);
  region.leave();
  return result;
}

ChangedSpan AddressSpace::look_for_changes(RegionRecord& region, std::uint64_t first,
                                           std::uint64_t end, std::uint64_t most,
                                           bool all) noexcept {
  if (!region.enter()) return {.first = first, .end = first, .next = end};
  const std::uint64_t to = std::min(end, region.page_count());
  const ChangedSpan span = Saver(parts_, region, all).look(first, to, most);
  region.leave();
  return span;
}

void AddressSpace::mark_saved(RegionRecord& region, std::span<const SavedPage> saved) noexcept {
  if (!region.enter()) return;
  for (const SavedPage& each : saved) {
    Entry& entry = region.entry(each.index);
    (void)entry.lock();
    const EntryValue value = entry.peek();
    switch (value.kind()) {
      case EntryKind::resident:
      case EntryKind::cached:  // whatever it holds now: that is what the source has
        parts_.clean.set(value.frame(), each.hash);
        break;
      case EntryKind::swapped:
        if (!parts_.swap.matches(value.slot(), each.hash)) {
          region.leaf_of(each.index).expect_change();
          break;
        }
        sharing_.put_slot(value.slot());
        entry.unlock(EntryValue());
        continue;
      case EntryKind::filled:
        if (value != each.value) {
          region.leaf_of(each.index).expect_change();
          break;
        }
        entry.unlock(EntryValue());
        continue;
      default:
        break;
    }
    entry.unlock();
  }
  region.leave();
}

Expected<void> AddressSpace::roll_back(RegionRecord& region, bool all) {
  if (!region.enter()) return fail({.code = Errc::not_mapped, .doing = "roll back"});
  const auto changes = find_changes(region, all);
  const Expected<void> result =
      changes ? drop_changes(region, *changes) : std::unexpected(changes.error());
  region.leave();
  return result;
}

// Every page that has changed, in ascending order.
Expected<std::vector<std::uint64_t>> AddressSpace::find_changes(RegionRecord& region, bool all) {
  Saver saver(parts_, region, all);
  std::vector<std::uint64_t> changes;
  for (std::uint64_t at = 0; at < region.page_count(); ++at) {
    if (saver.is_as_saved(at)) {
      at = Saver::leaf_end_of(at) - 1;
      continue;
    }
    bool pinned = false;
    if (!saver.is_changed(at, pinned)) continue;
    if (pinned) return fail(pinned_change(region, at));
    changes.push_back(at);
  }
  return changes;
}

Error AddressSpace::pinned_change(const RegionRecord& region, std::uint64_t index) noexcept {
  return {.code = Errc::busy,
          .doing = "roll back",
          .what = "changed page that is pinned, at address",
          .value = region.address_of(index),
          .remedy = "unpin it first"};
}

// Pages of one leaf. What snapshots share of them stays with them.
Expected<void> AddressSpace::drop_changed_run(RegionRecord& region, std::uint64_t first,
                                              std::uint32_t pages) {
  std::uint64_t kept = pages;
  std::uint64_t where = first;
  for (int tries = 0; kept > 0 && tries < kDropTries; ++tries) {
    if (any_pinned(region, first, first + pages, where)) break;
    (void)keep_for_others(region, first, pages);
    StagingBuffer buffer(parts_.staging);
    auto& scratch = buffer.as<DetachScratch>();
    kept = detach_chunk(region, first, pages, Gone::changes, scratch);
    if (scratch.error != 0) {
      return fail({.code = Errc::system,
                   .os_errno = scratch.error,
                   .doing = "roll back",
                   .what = "address",
                   .value = region.address_of(first),
                   .remedy = "munlock it first"});
    }
  }
  if (kept == 0) return {};
  if (any_pinned(region, first, first + pages, where)) return fail(pinned_change(region, where));
  return fail({.code = Errc::out_of_memory,
               .os_errno = ENOMEM,
               .doing = "roll back",
               .what = "no room to keep what snapshots share; address",
               .value = region.address_of(first),
               .remedy = "drop snapshots or clones, or raise memory_budget"});
}

// Takes the pages from memory and from swap, a run of them at a time.
Expected<void> AddressSpace::drop_changes(RegionRecord& region,
                                          const std::vector<std::uint64_t>& changes) {
  for (std::size_t i = 0; i < changes.size();) {
    std::size_t to = i + 1;
    const std::uint64_t end = Saver::leaf_end_of(changes[i]);
    while (to < changes.size() && changes[to] == changes[to - 1] + 1 && changes[to] < end) ++to;
    TRY_VOID(drop_changed_run(region, changes[i], static_cast<std::uint32_t>(to - i)));
    i = to;
  }
  if (parts_.reclaimer != nullptr) parts_.reclaimer->wake();
  return {};
}

}  // namespace holdfast::space
