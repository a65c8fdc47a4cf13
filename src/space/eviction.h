// Taking pages out of their mappings and out of memory: what reclaim/ asks of the address space.
//
//   unmap_window   the window of an active page leaves the region in one call (or in the runs
//                  between its pinned pages) and stands in the swap cache; its pages are inactive
//   write_out      cached pages that nobody rescued are freed: same-filled ones leave a tag, clean
//                  ones their slot, changed ones are stored first; orphans are just put
//
// Pages that swap has no room for go to the end of the inactive list, and are counted. When all
// that are inactive have been refused, and nothing has been freed since, nothing is left to try:
// that is what makes "out of memory" quick to say, and true. Until then, what is unmapped newly is
// tried before them, as it may need no room.
//
// The life of an eviction: active ──unmap_window──▶ inactive (cached) ──write_out──▶ warm ──▶ free
//
// Context: task, nothing held; async-signal-safe, as a fault may reclaim for itself. Thread-safe:
// several threads may reclaim at once; entries decide who gets a page.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "page/page.h"
#include "space/parts.h"
#include "space/region_record.h"
#include "space/sharing.h"

namespace holdfast::space {

enum class Unmapped : std::uint8_t {
  pages,      // some left their mapping
  recent,     // the window has been rescued a lot: spared this time
  pinned,     // nothing in it could leave: pinned
  busy,       // nothing in it could leave: entries are locked, or the page is gone by now
  no_window,  // every pool window is in use: write out first
  failed,     // the kernel refused
};

struct UnmapResult {
  Unmapped what = Unmapped::busy;
  std::uint32_t pages = 0;
};

struct WriteOutResult {
  std::uint32_t left = 0;  // pages that left
  bool busy = false;       // somebody else was at work on one: it may be possible soon
  bool turn_busy = false;  // ... on its file: as soon as that has been written to
};

inline constexpr std::uint32_t kWriteOutBatch = 64;

class Evictor {
 public:
  explicit Evictor(Parts& parts) noexcept : parts_(parts), sharing_(parts) {}

  // Unmaps the window in which the active page stands. `urgent`: no second chances.
  UnmapResult unmap_window(FrameIndex frame, bool urgent) noexcept;
  // Unmaps the window in which the page of the region stands, come what may. The caller keeps the
  // region alive.
  UnmapResult unmap_window_of(RegionRecord& region, std::uint64_t index) noexcept;

  // Frees up to kWriteOutBatch inactive pages; the caller has a reference (Holder::caller) of each,
  // which is put here in any case.
  WriteOutResult write_out(std::span<const FrameIndex> frames) noexcept;

  // Pages became orphans: they need no room in swap, and are the next that the scan sees.
  void note_orphans() noexcept { refused_.store(0, std::memory_order_relaxed); }

  // True if swap has refused every inactive page, and nothing has been freed since.
  [[nodiscard]] bool all_refused(std::uint64_t inactive) const noexcept {
    return refused_.load(std::memory_order_relaxed) >= inactive &&
           refused_mark_.load(std::memory_order_relaxed) == parts_.swap.room_mark();
  }

 private:
  struct UnmapScratch;
  struct WriteOutItem;
  struct WriteOutScratch;

  UnmapResult unmap_locked(RegionRecord& region, std::uint64_t first, std::uint32_t pages,
                           UnmapScratch& scratch) noexcept;
  void remove_stretch(RegionRecord& region, std::uint64_t first, std::uint32_t from,
                      std::uint32_t to, cache::WindowIndex window, UnmapScratch& scratch) noexcept;
  bool spare(RegionRecord& region, std::uint64_t index) noexcept;

  void consider(FrameIndex frame, WriteOutScratch& scratch) noexcept;
  void consider_copy(page::Page& page, page::Owner owner, WriteOutScratch& scratch) noexcept;
  void settle_version(WriteOutItem& item, swap::StoreItem& stored,
                      WriteOutScratch& scratch) noexcept;
  bool settle_copy(WriteOutItem& item, bool ours) noexcept;
  bool settle_page(WriteOutItem& item, bool ours, bool ok) noexcept;
  void skip(WriteOutItem& item, WriteOutScratch& scratch) noexcept;
  void add_store(const WriteOutItem& item, const std::byte* content,
                 WriteOutScratch& scratch) noexcept;
  bool leave_without_store(WriteOutItem& item, const std::byte* content) noexcept;
  bool is_as_source(const WriteOutItem& item) noexcept;
  bool leave_to_source(WriteOutItem& item, const std::byte* content) noexcept;
  // write_back.cc
  enum class Back : std::uint8_t { added, busy, not_taken };
  Back add_write_back(const WriteOutItem& item, const std::byte* content,
                      WriteOutScratch& scratch) noexcept;
  void write_back(WriteOutScratch& scratch) noexcept;
  bool settle_write_back(WriteOutItem& item, int error) noexcept;
  void settle(WriteOutItem& item, swap::StoreItem& stored, WriteOutScratch& scratch) noexcept;
  void gone(page::Page& page, WriteOutScratch& scratch) noexcept;
  std::uint32_t free_gone(WriteOutScratch& scratch) noexcept;
  void deactivate(std::span<const FrameIndex> frames) noexcept;
  void note_refused(FrameIndex frame, std::uint64_t mark) noexcept;

  Parts& parts_;
  Sharing sharing_;
  std::atomic<std::uint32_t> writing_{0};  // batches that are being stored now
  // So many of the youngest inactive pages swap had no room for, while its mark was this one.
  std::atomic<std::uint64_t> refused_{0};
  std::atomic<std::uint64_t> refused_mark_{0};
};

}  // namespace holdfast::space
