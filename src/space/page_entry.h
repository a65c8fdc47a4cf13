// The steps that bind a page to its entry and loose it, shared by faults, eviction and unmapping,
// so that the ownership rule is kept in one place. The caller holds the entry's lock throughout.
#pragma once

#include "page/page.h"
#include "space/parts.h"
#include "space/region_record.h"
#include "space/sharing.h"

namespace holdfast::space {

// A page just brought in becomes resident: it comes with the caller's one reference, which becomes
// the entry's; the VM takes its own and the page goes on the active list. `slot`: a slot with the
// same content, whose count passes to the page; none: there is none.
void bind_resident(Parts& parts, RegionRecord& region, std::uint64_t index, page::Page& page,
                   SlotIndex slot) noexcept;

// The page has left its entry: puts the slot that it kept, if any.
void drop_kept_slot(Parts& parts, page::Page& page) noexcept;

// The VM forgets a page that is on no LRU list any more: puts the VM's reference. If its memory
// stands at a place of a pool window it becomes warm there (or is left to the window, if somebody
// else still holds the page for a moment). `owner`: whose it was.
void free_unlisted(Parts& parts, page::Page& page, page::Owner owner) noexcept;

}  // namespace holdfast::space
