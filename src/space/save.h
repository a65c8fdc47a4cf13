// Pages that go back to their source: what is handed over, and what is remembered of it.
//
// The flow, with the source's turn: AddressSpace::save() hands changed pages to a SaveSink, which
// writes them somewhere; when they are where the source finds them, mark_saved() makes them clean.
// A page that is stored to in between stays changed, for its hash differs from the one noted.
#pragma once

#include <cstdint>
#include <span>

#include "base/base.h"
#include "object/object.h"
#include "space/entry.h"

namespace holdfast::space {

// One page that was handed to a sink: what it was, and where it stood.
struct SavedPage {
  std::uint64_t index = 0;
  base::Hash128 hash;
  EntryValue value = {};
};

// Pages that may differ from what the source has, of those that were looked at.
struct ChangedSpan {
  std::uint64_t first = 0;  // the first of them, and the one behind the last
  std::uint64_t end = 0;
  std::uint64_t count = 0;
  std::uint64_t next = 0;  // those before this one were looked at
};

class SaveSink {
 public:
  // Up to kRunMax pages of ascending index; their contents are good for the length of the call.
  // hashes[i] is that of pages[i]. May wait.
  [[nodiscard]] virtual Expected<void> take(std::span<object::PageWrite> pages,
                                            std::span<const base::Hash128> hashes) = 0;

 protected:
  ~SaveSink() = default;
};

}  // namespace holdfast::space
