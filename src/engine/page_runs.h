// Which pages of a range are free, as runs: the page half of RegionResource's allocator.
//
// What it is for: hands out runs of whole pages and takes them back; neighbours coalesce. It works
// on page numbers only and never looks at the pages, so a free never brings a cold page in.
//
// Who owns what: the range belongs to the caller; this table lives in ordinary memory.
//
// Invariants: free runs do not touch or overlap; pages from frontier() on are fresh and in no run;
// a run of kReturnPages or more has been offered to the taker.
//
// Context: task, one thread at a time (the caller locks).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/base.h"

namespace holdfast::engine {

// Takes whole free pages back; implemented over Region::advise, and by tests.
class PageTaker {
 public:
  // The pages' content is no longer needed. False: it could not be dropped, which only costs
  // memory.
  virtual bool give_back(std::uint64_t first_page, std::uint64_t pages) noexcept = 0;

 protected:
  ~PageTaker() = default;
};

class PageRuns {
 public:
  // Shorter runs are kept for reuse: giving a page back costs a system call and a TLB flush.
  static constexpr std::uint64_t kReturnPages = 16;

  // Manages [first, first + pages), all free. The taker outlives this.
  PageRuns(std::uint64_t first, std::uint64_t pages, PageTaker& taker) noexcept;

  // The first page of a run of `pages` (not 0) whose number is a multiple of `align` (a power of
  // two), or nothing: no run is long enough. Throws std::bad_alloc when the table cannot grow, and
  // has changed nothing then.
  [[nodiscard]] std::optional<std::uint64_t> allocate(std::uint64_t pages, std::uint64_t align);
  // Takes back a run that allocate() gave, or a part of one. When the table cannot grow the pages
  // stay lost until the range goes: a free has nobody to report to.
  void free(std::uint64_t first, std::uint64_t pages) noexcept;

  [[nodiscard]] std::uint64_t frontier() const noexcept { return frontier_; }
  // Pages handed out and not taken back (lost ones count as handed out).
  [[nodiscard]] std::uint64_t used_pages() const noexcept { return used_; }
  [[nodiscard]] std::size_t run_count() const noexcept { return by_address_.size(); }
  // About how many bytes of ordinary memory the table takes.
  [[nodiscard]] std::uint64_t table_bytes() const noexcept { return run_count() * kBytesPerRun; }
  // Proves the invariants; aborts if one is broken. For tests.
  void check() const;

 private:
  // Two tree nodes with malloc's share: 48 + 16 and 48 + 16 bytes.
  static constexpr std::uint64_t kBytesPerRun = 128;

  struct Run {
    std::uint64_t pages = 0;
    bool returned = false;  // given back, or never touched: it holds no memory
  };
  using ByAddress = std::map<std::uint64_t, Run>;
  using BySize = std::set<std::pair<std::uint64_t, std::uint64_t>>;  // (pages, first)

  [[nodiscard]] std::optional<std::uint64_t> allocate_from_runs(std::uint64_t pages,
                                                                std::uint64_t align,
                                                                std::uint64_t tries);
  [[nodiscard]] std::optional<std::uint64_t> allocate_from_frontier(std::uint64_t pages,
                                                                    std::uint64_t align);
  void add_untouched(std::uint64_t first, std::uint64_t pages);
  void insert(std::uint64_t first, Run run);
  void set_pages(ByAddress::iterator position, std::uint64_t pages) noexcept;
  void erase(ByAddress::iterator position) noexcept;
  void carve(ByAddress::iterator position, std::uint64_t first, std::uint64_t pages);
  void free_or_throw(std::uint64_t first, std::uint64_t pages);

  const std::uint64_t first_;
  const std::uint64_t end_;
  PageTaker& taker_;
  std::uint64_t frontier_;
  std::uint64_t used_ = 0;
  ByAddress by_address_;
  BySize by_size_;
};

}  // namespace holdfast::engine
