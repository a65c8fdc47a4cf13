// What one batch of an eviction works with: in a staging buffer, being too much for a stack.
#pragma once

#include <cstdint>

#include "base/base.h"
#include "page/page.h"
#include "space/eviction.h"
#include "swap/swap.h"

namespace holdfast::space {

struct Evictor::WriteOutItem {
  page::Page* page;
  RegionRecord* region;  // null: a copy, which only its version has
  Entry* entry;
  std::uint32_t window;
  base::Hash128 hash;
  SlotIndex version;  // that gets the image, and of which we hold a count; none: a new slot
};

struct Evictor::WriteOutScratch {
  WriteOutItem items[kWriteOutBatch];
  swap::StoreItem stores[kWriteOutBatch];
  std::uint32_t count;
  bool busy;
  bool turn_busy;
  std::uint64_t mark;  // of swap, before the stores
  page::Page* leaving[kWriteOutBatch];
  page::Owner leaving_owner[kWriteOutBatch];
  std::uint32_t leaving_count;

  // Pages that go back to their source, and the sources whose turns we have.
  struct BackItem {
    WriteOutItem item;
    const std::byte* content;
  };
  BackItem backs[kWriteOutBatch];
  object::PageWrite writes[kWriteOutBatch];
  std::uint32_t back_count;
  object::PageSource* turns[kWriteOutBatch];
  std::uint32_t turn_count;
};

}  // namespace holdfast::space
