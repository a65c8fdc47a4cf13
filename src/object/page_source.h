// Where the pages of a region come from that has not been written to: the seam between the address
// space and what stands behind it (a memory image, a file). A region without a source is anonymous:
// what was never touched reads as zeros.
//
// In a region with a source, an entry `none` means "as the source has it"; zeros, and whatever was
// given back, are `filled` with 0. So the entry stays one page's whole state, and nothing beside it
// says whether a page has left its source for good.
//
// Who owns what: a source is counted (SourceRef); each region that it stands behind holds one
// reference, so it lives as long as the last of them. The last one is put in task context.
//
// Context: read() and around() are called in faults, with entries locked: async-signal-safe, they
// take no ranked lock and touch no managed memory. They may wait for I/O. Several threads at once.
#pragma once

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "base/base.h"
#include "sync/sync.h"

namespace holdfast::object {

// Pages [first, first + pages).
struct PageSpan {
  std::uint64_t first = 0;
  std::uint64_t pages = 0;
};

// A page that is to be read.
struct PageRead {
  std::uint64_t index = 0;
  std::byte* to = nullptr;  // kPageSize bytes, aligned to 8
};

// A page that goes back to its source.
struct PageWrite {
  std::uint64_t index = 0;
  const std::byte* content = nullptr;  // kPageSize bytes, aligned to that; nobody changes them
  int error = 0;                       // out: errno
};

class PageSource : public base::Counted {
 public:
  PageSource() = default;
  PageSource(const PageSource&) = delete;
  PageSource& operator=(const PageSource&) = delete;

  // Puts the content of page `first + i` at to[i] (kPageSize bytes each, aligned to 8) for i below
  // `pages`. What lies beyond the source's end is zeros. False: it could not, and `error` says why
  // and where (io_error, corrupted); the room is undefined then.
  [[nodiscard]] virtual bool read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                                  Error& error) noexcept = 0;

  // The same for pages that need not be neighbours, of ascending index. What waits for a device has
  // all of them in flight at once.
  [[nodiscard]] virtual bool read_scattered(std::span<const PageRead> pages,
                                            Error& error) noexcept {
    for (const PageRead& page : pages) {
      if (!read(page.index, 1, &page.to, error)) return false;
    }
    return true;
  }

  // The pages around `index` that cost little more than it alone. Contains `index`.
  [[nodiscard]] virtual PageSpan around(std::uint64_t index) noexcept = 0;

  // Pages first, first + step, ... will probably be asked for soon. A hint; never waits.
  virtual void expect(std::uint64_t first, std::uint32_t step, std::uint32_t pages) noexcept {
    (void)first, (void)step, (void)pages;
  }

  // True if the source has a page of this hash at `index`: then a page that leaves memory needs no
  // slot. False where it is not known.
  [[nodiscard]] virtual bool holds(std::uint64_t index, const base::Hash128& hash) noexcept = 0;

  // --- sources that take pages back: files that are mapped shared ---
  // Whoever writes to the source, or wants what was written to stay as it is, takes the turn
  // first; an eviction only tries it. So of two contents of a page the younger is written last.
  [[nodiscard]] sync::Turn& turn() noexcept { return turn_; }
  // True if pages go back to it at all.
  [[nodiscard]] virtual bool is_written() const noexcept { return false; }
  // True if the page, when it is changed and has to leave memory, goes there; false: to swap.
  [[nodiscard]] virtual bool takes(std::uint64_t index) const noexcept {
    (void)index;
    return false;
  }
  // Memory of kRoomPages pages for what is about to be written: a page that is rescued meanwhile
  // may be carried away and stored to. For whoever has the turn. Null where takes() is never true.
  static constexpr std::uint32_t kRoomPages = 64;
  [[nodiscard]] virtual std::byte* room() noexcept { return nullptr; }
  // Puts the pages, of ascending index, where read() finds them; not durably. The caller has the
  // turn. May wait; async-signal-safe.
  virtual void write(std::span<PageWrite> pages) noexcept {
    for (PageWrite& page : pages) page.error = EROFS;
  }

 protected:
  virtual ~PageSource() = default;

 private:
  friend class base::CountedRef<PageSource>;
  sync::Turn turn_;
};

// One counted reference to a source.
using SourceRef = base::CountedRef<PageSource>;

}  // namespace holdfast::object
