// The states of a page and the transitions that are legal.
//
//                       allocate              enter (fault)
//          ┌──────────────────────────▶ held ──────────────▶ resident ──────────┐
//          │                            │ ▲                   ▲  │              │
//          │         last put           │ │            rescue │  │ unmap        │ region gone
//        free ◀─────────────────────────┤ │                   │  ▼              ▼
//        │ ▲ ▲                  memory  │ │ take              ├─ cached ─────▶ orphan
//        │ │ │                  stands  ▼ │ (fault run)       │  │  ▲            ▲
//        │ │ └─── drop memory ───────── warm                  │  ▼  │ failed     │
//        │ │                                                  └─ writeback ──────┘
//        ▼ │ uncharge
//      charged
//
//      held ──▶ cached     a copy made for those who share a page: it never was in a mapping
//      cached, writeback, orphan ──▶ warm   the VM's put, where the memory stays in its pool window
//      cached, writeback, orphan ──▶ free   the last put, where the memory is gone
//
//  free       on the free lists; no memory of its own stands anywhere. count 0.
//  held       allocated, known only to its holders; the VM has no reference. count >= 1.
//  resident   a page-table entry maps it; on the LRU's active list. count = VM 1 + entry 1 + pins +
//             callers, and 1 more of the version if it is shared copy-on-write. It never becomes
//             free at once: its entry goes first, then the VM finds it.
//  cached     unmapped by reclaim but still in its frame, in the swap cache, on the inactive list.
//             count = VM 1 + callers, and 1 of its version. A touch rescues it. A page that only a
//             version refers to (its writer went on with another frame) is cached, too.
//  writeback  cached, and its content is on its way to a swap slot. A touch rescues it just so.
//  orphan     its region is gone; only the VM (and pins) still hold it. On the inactive list.
//  warm       free, but memory still stands at its pool address; either a fault run takes it for a
//             MOVE, or the memory is dropped and it is free. count 0.
//  charged    a frame's right lent to compressed storage or to tables. count 0.
#pragma once

#include <cstdint>

namespace holdfast::page {

enum class PageState : std::uint8_t {
  free,
  held,
  resident,
  cached,
  writeback,
  orphan,
  warm,
  charged,
};
inline constexpr int kPageStates = 8;

[[nodiscard]] const char* name(PageState state) noexcept;

// True if the drawing above has an arrow from `from` to `to`. Any context.
[[nodiscard]] bool is_legal(PageState from, PageState to) noexcept;

}  // namespace holdfast::page
