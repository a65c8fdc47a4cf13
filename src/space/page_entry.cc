#include "space/page_entry.h"

namespace holdfast::space {

using page::Holder;
using page::Page;
using page::PageState;

void bind_resident(Parts& parts, RegionRecord& region, std::uint64_t index, Page& page,
                   SlotIndex slot) noexcept {
  HF_DCHECK2(page.count() >= 1 && region.entry(index).locked(), index, page.count());
  page.set_owner({region.id, PageIndex(index)});
  page.set_slot(slot);
  page.set_pool_window(Page::kNoPoolWindow);  // a frame that was carried in was there before
  page.to(PageState::resident);
  parts.pool.get(page, Holder::vm);
  parts.lru.add(page);
}

void drop_kept_slot(Parts& parts, Page& page) noexcept {
  const SlotIndex slot = page.slot();
  if (slot.is_none()) return;
  page.set_slot(SlotIndex::none());
  Sharing(parts).put_slot(slot);
}

void free_unlisted(Parts& parts, Page& page, page::Owner owner) noexcept {
  HF_DCHECK(page.lru_list() == page::LruList::none);
  if (page.pool_window() == Page::kNoPoolWindow) {
    parts.pool.put(page, Holder::vm);  // its memory was dropped with its region's
    return;
  }
  const cache::WindowIndex window(page.pool_window());
  const std::uint32_t place = place_of(owner, parts.window_pages);
  if (parts.pool.put_to_warm(page, Holder::vm)) {
    parts.cache->left_warm(window);
    return;
  }
  // A pinner that lost a race holds the page for the blink of an eye; its put frees the frame, and
  // the memory at the place goes when the window does.
  page.set_pool_window(Page::kNoPoolWindow);
  parts.cache->vacate(window, place, FrameIndex::none());
  parts.pool.put(page, Holder::vm);
}

}  // namespace holdfast::space
