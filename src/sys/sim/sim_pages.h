// Which host buffer stands at which simulated page: a flat hash table from page number to buffer,
// and the free buffers of the process.
//
// Who owns what: a table owns the buffers in it. Free buffers are kept for the next machine; while
// they are free they are filled with a pattern and poisoned for AddressSanitizer, so that whoever
// still reads a page that has left finds out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/base.h"

namespace holdfast::sys {

// A 4 KiB buffer, content undefined / back to the free ones.
[[nodiscard]] std::byte* take_sim_page();
void give_sim_page(std::byte* page) noexcept;

class SimPages {
 public:
  SimPages();
  ~SimPages();
  SimPages(const SimPages&) = delete;
  SimPages& operator=(const SimPages&) = delete;

  // The page's buffer; null: nothing stands there. number: address >> kPageShift.
  [[nodiscard]] std::byte* find(std::uint64_t number) const noexcept;
  // Nothing may stand there.
  void insert(std::uint64_t number, std::byte* page);
  // Takes the buffer out of the table, to the caller; null: nothing stood there.
  [[nodiscard]] std::byte* remove(std::uint64_t number) noexcept;
  // Marks the pages of [first, first + count) that are there; returns how many changed.
  std::uint64_t protect(std::uint64_t first, std::uint64_t count, bool read_only) noexcept;
  [[nodiscard]] bool is_protected(std::uint64_t number) const noexcept;
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  // The numbers of all pages in [first, end), in no particular order. Allocates.
  [[nodiscard]] std::vector<std::uint64_t> numbers_in(std::uint64_t first, std::uint64_t end) const;

 private:
  struct Cell {
    std::uint64_t number = 0;
    std::byte* page = nullptr;  // null: the cell is empty
    bool read_only = false;
  };
  [[nodiscard]] std::size_t home(std::uint64_t number) const noexcept;
  [[nodiscard]] std::size_t place(std::uint64_t number) const noexcept;
  void grow();

  std::vector<Cell> cells_;  // a power of two of them, at most half full; linear probing
  std::uint64_t size_ = 0;
};

}  // namespace holdfast::sys
