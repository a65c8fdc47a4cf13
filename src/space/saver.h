// Pages that go back to their source: which have changed, and what they hold.
//
// A page has changed if its content has another hash than its source had; which are looked at at
// all is told by write protection, as for snapshots: what is looked at is protected, and a store
// opens it again. Where protection cannot be had everything is looked at every time. What a
// snapshot has protected, or left unread, is remembered (LeafRecord::unsaved). A leaf of which
// nothing was opened since it was saved is passed over as a whole (LeafRecord::as_saved), so that a
// save costs in proportion to what was stored to.
//
// One page at a time is locked, or a stretch of neighbours that is protected in one call: the first
// of them is waited for, the others are tried.
//
// Context: task, nothing held. One at a time for a region: its caller has the source's turn.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "space/parts.h"
#include "space/region_record.h"
#include "space/save.h"
#include "space/sharing.h"

namespace holdfast::space {

class Saver {
 public:
  [[nodiscard]] static std::uint64_t leaf_end_of(std::uint64_t index) noexcept {
    return (index / kLeafEntries + 1) * kLeafEntries;
  }

  Saver(Parts& parts, RegionRecord& region, bool all) noexcept
      : parts_(parts),
        sharing_(parts),
        region_(region),
        pages_(region.page_count()),
        all_(all),
        staging_(parts.staging) {}

  Expected<void> run(std::uint64_t first, std::uint64_t end, SaveSink& sink,
                     std::vector<SavedPage>& saved) {
    for (std::uint64_t at = first; at < end;) {
      const std::uint64_t stop = std::min(end, leaf_end_of(at));
      if (!is_as_saved(at)) {
        TRY_VOID(run_leaf(at, stop, sink, saved));
      } else if (kHoldfastDebug) {
        check_as_saved(at, stop);
      }
      at = stop;
    }
    return flush(sink);
  }

  ChangedSpan look(std::uint64_t first, std::uint64_t end, std::uint64_t most) noexcept {
    ChangedSpan span{.first = first, .end = first, .next = first};
    for (std::uint64_t looks = 0; looks < kLooksMax && span.next < end; ++looks) {
      if (is_as_saved(span.next)) {
        span.next = std::min(leaf_end_of(span.next), end);
        continue;
      }
      const std::uint64_t at = span.next++;
      if (!is_candidate(at)) continue;
      if (span.count == 0) span.first = at;
      span.end = at + 1;
      if (++span.count == most) break;
    }
    return span;
  }

  // True if no page of the leaf can differ from the source's.
  [[nodiscard]] bool is_as_saved(std::uint64_t index) const noexcept {
    if (region_.leaves[index / kLeafEntries].load(std::memory_order_acquire) == 0) return true;
    return !all_ && region_.leaf_of(index).as_saved.load(std::memory_order_seq_cst) != 0;
  }

  // True if the page is not as the source has it; its entry is not locked. `pinned`: it stays.
  bool is_changed(std::uint64_t index, bool& pinned) noexcept {
    if (!is_candidate(index)) return false;
    Entry& entry = region_.entry(index);
    (void)entry.lock();
    const EntryValue value = entry.peek();
    bool changed = value.kind() != EntryKind::none;
    if (const std::byte* const content = content_in_memory(index, value)) {
      changed = !parts_.clean.matches(value.frame(), base::hash_page(content));
      pinned = changed && parts_.pool.page(value.frame()).pins() != 0;
    }
    entry.unlock();
    return changed;
  }

 private:
  static constexpr std::uint64_t kLooksMax = 65536;
  static constexpr int kProtectTries = 8;  // EAGAIN: the mapping is changing

  // Pages of one leaf, of which something may have changed.
  Expected<void> run_leaf(std::uint64_t first, std::uint64_t end, SaveSink& sink,
                          std::vector<SavedPage>& saved) {
    LeafRecord& leaf = region_.leaf_of(first);
    const bool whole = first % kLeafEntries == 0 && (end == leaf_end_of(first) || end == pages_);
    if (parts_.pmap->can_protect()) leaf.guard();
    if (whole) leaf.as_saved.store(1, std::memory_order_seq_cst);
    HF_INTERLEAVE();
    bool all_closed = true;
    for (std::uint64_t at = first; at < end;) {
      if (is_candidate(at)) {
        at = TRY(take(at, end, saved, all_closed));
        if (count_ == kRunMax) TRY_VOID(flush(sink));
      } else {
        close_absent(at++);
      }
    }
    if (!all_closed) leaf.expect_change();
    return {};
  }

  void check_as_saved(std::uint64_t first, std::uint64_t end) noexcept {
    if (region_.leaves[first / kLeafEntries].load(std::memory_order_acquire) == 0) return;
    for (std::uint64_t at = first; at < end; ++at) {
      Entry& entry = region_.entry(at);
      (void)entry.lock();
      const EntryValue value = entry.peek();
      const std::byte* const content = content_in_memory(at, value);
      const bool same = content == nullptr
                            ? value.kind() == EntryKind::none
                            : parts_.clean.matches(value.frame(), base::hash_page(content));
      HF_CHECK2(same || !is_as_saved(at), at, value.raw());
      entry.unlock();
    }
  }

  // What is not there is not open, so that open_count() counts stores.
  void close_absent(std::uint64_t index) noexcept {
    const LeafRecord& leaf = region_.leaf_of(index);
    Entry& entry = region_.entry(index);
    if (!leaf.is_open(index % kLeafEntries) || !entry.try_lock()) return;
    if (entry.peek().is_absent()) close(index);
    entry.unlock();
  }

  // May the page differ from the source's? Looked at without its lock. Whoever opens a page has its
  // entry locked from before a store can land until it is told that the page is open: under thread
  // delivery the store goes on before that.
  [[nodiscard]] bool is_candidate(std::uint64_t index) const noexcept {
    EntryValue value;
    if (!region_.entry(index).unlocked_value(value)) return true;
    if (value.kind() == EntryKind::none) return false;
    if (value.kind() != EntryKind::resident || all_) return true;
    const LeafRecord& leaf = region_.leaf_of(index);
    return leaf.is_writable(index % kLeafEntries) || leaf.is_unsaved(index % kLeafEntries);
  }

  [[nodiscard]] const std::byte* content_in_memory(std::uint64_t index,
                                                   EntryValue value) const noexcept {
    return sharing_.content_in_memory(region_, index, value);
  }
  // The page, whose entry is locked, is looked at now: a store to it will be seen from here on.
  void close(std::uint64_t index) noexcept {
    region_.leaf_of(index).set_open(index % kLeafEntries, false);
    region_.leaf_of(index).set_unsaved(index % kLeafEntries, false);
  }

  // Takes the page, and those behind it that can be protected with it. Returns the next to look at.
  // closed: left as it is, or made false if one of them stays open.
  Expected<std::uint64_t> take(std::uint64_t index, std::uint64_t end,
                               std::vector<SavedPage>& saved, bool& closed) {
    Entry& entry = region_.entry(index);
    if (entry.lock()) parts_.counters.add(Count::faults_waited);
    const EntryValue value = entry.peek();
    if (value.kind() == EntryKind::swapped && parts_.swap.is_far(value.slot())) {
      return take_far(index, value, saved);
    }
    if (value.kind() == EntryKind::swapped && !parts_.swap.frame_of(value.slot()).is_none()) {
      return take_shared(index, value, saved);
    }
    if (value.kind() != EntryKind::resident) {
      auto copied = copy(index, value, saved);
      close(index);
      entry.unlock();
      if (!copied) return std::unexpected(copied.error());
      return index + 1;
    }
    std::uint64_t to = index + 1;
    if (is_pinned(value)) {  // whoever pinned it may write to it at any time: it stays open
      (void)copy(index, value, saved);
      entry.unlock();
      closed = false;
      return to;
    }
    const std::uint64_t most = std::min(end, index + kRunMax - count_);
    while (to < most && try_lock(to)) ++to;
    if (!protect(index, to)) closed = false;
    for (std::uint64_t at = index; at < to; ++at) {
      (void)copy(at, region_.entry(at).peek(), saved);
      region_.entry(at).unlock();
    }
    return to;
  }

  // A page that was left to those who share it, and has no image yet; its entry is locked. It may
  // get one, or go on in a copy, while we look: then we look again.
  std::uint64_t take_shared(std::uint64_t index, EntryValue value, std::vector<SavedPage>& saved) {
    std::byte* const to = staging_.page(count_);
    const bool read = sharing_.read_version(value.slot(), to) == Sharing::Read::done;
    if (read) {
      const base::Hash128 hash = base::hash_page(to);
      parts_.swap.note_hash(value.slot(), hash);
      add(index, value, hash, saved);
      close(index);
    }
    region_.entry(index).unlock();
    if (!read) sync::parking().relax();
    return read ? index + 1 : index;
  }

  // A page that is beyond this machine, its entry locked: it is waited for with the entry free, and
  // taken if it is the same afterwards.
  Expected<std::uint64_t> take_far(std::uint64_t index, EntryValue value,
                                   std::vector<SavedPage>& saved) {
    Entry& entry = region_.entry(index);
    parts_.swap.get(value.slot());
    entry.unlock();
    swap::LoadItem item{.slot = value.slot(), .page = staging_.page(count_), .error = {}};
    parts_.swap.load(std::span(&item, 1));
    (void)entry.lock();
    const bool same = entry.peek() == value;
    if (same && item.ok) {
      add(index, value, parts_.swap.hash_of(value.slot()), saved);
      close(index);
    }
    entry.unlock();
    sharing_.put_slot(value.slot());
    if (same && !item.ok) return fail(item.error);
    return same ? index + 1 : index;
  }

  [[nodiscard]] bool is_pinned(EntryValue value) const noexcept {
    return parts_.pool.page(value.frame()).pins() != 0;
  }

  [[nodiscard]] bool try_lock(std::uint64_t index) noexcept {
    if (!is_candidate(index) || !region_.entry(index).try_lock()) return false;
    const EntryValue value = region_.entry(index).peek();
    if (value.kind() == EntryKind::resident && !is_pinned(value)) return true;
    region_.entry(index).unlock();
    return false;
  }

  // Resident pages, their entries locked. False: they stay open, and are looked at again the next
  // time.
  [[nodiscard]] bool protect(std::uint64_t from, std::uint64_t to) noexcept {
    if (!parts_.pmap->can_protect()) return false;
    for (int tries = 0; tries < kProtectTries; ++tries) {
      const int error = parts_.pmap->protect(region_.address_of(from), (to - from) << kPageShift,
                                             sys::Protection::read_only);
      if (error == 0) {
        for (std::uint64_t at = from; at < to; ++at) close(at);
        return true;
      }
      if (error != EAGAIN) return false;
      sync::parking().relax();
    }
    return false;
  }

  // Copies the page, whose entry is locked, if it has changed.
  Expected<void> copy(std::uint64_t index, EntryValue value, std::vector<SavedPage>& saved) {
    std::byte* const to = staging_.page(count_);
    const std::byte* const from = content_in_memory(index, value);
    if (from != nullptr) {
      std::memcpy(to, from, kPageSize);
    } else if (value.kind() == EntryKind::filled) {
      base::fill_page(to, base::unpack_word(value.packed_word()));
    } else if (value.kind() == EntryKind::swapped) {
      swap::LoadItem item{.slot = value.slot(), .page = to, .error = {}};
      parts_.swap.load(std::span(&item, 1));
      if (!item.ok) return fail(item.error);
    } else {
      return {};
    }
    const base::Hash128 hash = base::hash_page(to);
    if (from != nullptr && parts_.clean.matches(value.frame(), hash)) return {};
    add(index, value, hash, saved);
    return {};
  }

  // The page's content is at its place among those that are to be written; its entry is locked.
  void add(std::uint64_t index, EntryValue value, base::Hash128 hash,
           std::vector<SavedPage>& saved) {
    // From here on the source may change under it: until that is over nobody knows what it has.
    saved.push_back({.index = index, .hash = hash, .value = value});
    if (content_in_memory(index, value) != nullptr) parts_.clean.clear(value.frame());
    writes_[count_] = {.index = index, .content = staging_.page(count_)};
    hashes_[count_++] = hash;
  }

  Expected<void> flush(SaveSink& sink) {
    const std::uint32_t count = std::exchange(count_, 0);
    if (count == 0) return {};
    return sink.take(std::span(writes_, count), std::span(hashes_, count));
  }

  Parts& parts_;
  Sharing sharing_;
  RegionRecord& region_;
  const std::uint64_t pages_;
  const bool all_;
  StagingBuffer staging_;
  object::PageWrite writes_[kRunMax];
  base::Hash128 hashes_[kRunMax];
  std::uint32_t count_ = 0;
};

}  // namespace holdfast::space
