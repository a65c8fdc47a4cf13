// What a detach of one chunk of pages works with: in a staging buffer, being too much for a stack.
#pragma once

#include <cstdint>

#include "base/base.h"
#include "space/address_space.h"
#include "space/entry.h"

namespace holdfast::space {

struct AddressSpace::DetachScratch {
  static constexpr std::uint32_t kPages = 512;
  bool skipped[kPages];       // pinned, or mapped and shared: stays as it is
  EntryValue values[kPages];  // what the entry was
  FrameIndex orphans[kPages];
  std::uint32_t orphan_count;
  std::uint32_t skipped_count;
  int error;  // the kernel would not drop the memory (it is mlocked)
};

}  // namespace holdfast::space
