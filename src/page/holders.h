// Who holds a page, by kind, for debug builds: a leak names its holder.
//
// Each reference is taken and dropped with a Holder kind. In debug builds a side table counts the
// kinds of each frame (and, on demand, remembers the call sites of the last few takers); release
// builds keep nothing and the calls compile to nothing.
#pragma once

#include <cstdint>

namespace holdfast::page {

enum class Holder : std::uint8_t {
  vm,      // the VM: the page is on an LRU list or in a cache. Exactly one
  entry,   // a page-table entry that refers to it
  pin,     // a pin: I/O, a device, a caller who asked for residency
  caller,  // somebody who is working on it
};
inline constexpr int kHolderKinds = 4;
[[nodiscard]] const char* name(Holder holder) noexcept;

class HolderTable;  // page/holder_table.h

}  // namespace holdfast::page
