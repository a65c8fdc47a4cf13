#include "engine/page_runs.h"

#include <iterator>
#include <limits>
#include <new>

namespace holdfast::engine {
namespace {

// Best fit looks at so many runs for one that suits the alignment before it takes fresh pages.
constexpr std::uint64_t kQuickTries = 8;
constexpr std::uint64_t kAllTries = std::numeric_limits<std::uint64_t>::max();

constexpr std::uint64_t align_up(std::uint64_t value, std::uint64_t align) noexcept {
  return (value + align - 1) & ~(align - 1);
}

}  // namespace

PageRuns::PageRuns(std::uint64_t first, std::uint64_t pages, PageTaker& taker) noexcept
    : first_(first), end_(first + pages), taker_(taker), frontier_(first) {
  HF_CHECK(first <= end_);
}

std::optional<std::uint64_t> PageRuns::allocate(std::uint64_t pages, std::uint64_t align) {
  HF_CHECK2(pages != 0 && align != 0 && (align & (align - 1)) == 0, pages, align);
  if (pages > end_ - first_) return std::nullopt;
  auto found = allocate_from_runs(pages, align, kQuickTries);
  if (!found) found = allocate_from_frontier(pages, align);
  if (!found) {
    // What is left of the fresh pages joins the free runs: together they may be long enough.
    if (frontier_ != end_) add_untouched(frontier_, end_ - frontier_);
    frontier_ = end_;
    found = allocate_from_runs(pages, align, kAllTries);
  }
  if (found) used_ += pages;
  HF_DCHECK(!found || (*found % align == 0 && *found >= first_ && *found + pages <= end_));
  return found;
}

std::optional<std::uint64_t> PageRuns::allocate_from_runs(std::uint64_t pages, std::uint64_t align,
                                                          std::uint64_t tries) {
  for (auto it = by_size_.lower_bound({pages, 0}); it != by_size_.end() && tries != 0;
       ++it, --tries) {
    const std::uint64_t start = align_up(it->second, align);
    if (start - it->second > it->first - pages) continue;
    carve(by_address_.find(it->second), start, pages);
    return start;
  }
  return std::nullopt;
}

std::optional<std::uint64_t> PageRuns::allocate_from_frontier(std::uint64_t pages,
                                                              std::uint64_t align) {
  const std::uint64_t start = align_up(frontier_, align);
  if (start < frontier_ || start > end_ || pages > end_ - start) return std::nullopt;
  if (start != frontier_) add_untouched(frontier_, start - frontier_);
  frontier_ = start + pages;
  return start;
}

// The pages that alignment skips at the frontier become free; they were never touched.
void PageRuns::add_untouched(std::uint64_t first, std::uint64_t pages) {
  if (!by_address_.empty()) {
    const auto last = std::prev(by_address_.end());
    if (last->first + last->second.pages == first) {
      const bool returned = last->second.returned;
      set_pages(last, last->second.pages + pages);
      if (!returned && last->second.pages >= kReturnPages) {
        last->second.returned = taker_.give_back(last->first, last->second.pages);
      }
      return;
    }
  }
  insert(first, {pages, true});
}

void PageRuns::insert(std::uint64_t first, Run run) {
  HF_DCHECK(run.pages != 0);
  const auto position = by_address_.emplace(first, run).first;
  try {
    by_size_.emplace(run.pages, first);
  } catch (...) {
    by_address_.erase(position);
    throw;
  }
}

void PageRuns::erase(ByAddress::iterator position) noexcept {
  by_size_.erase({position->second.pages, position->first});
  by_address_.erase(position);
}

// Changes a run's length; takes its tree node along, so it cannot fail.
void PageRuns::set_pages(ByAddress::iterator position, std::uint64_t pages) noexcept {
  auto node = by_size_.extract({position->second.pages, position->first});
  HF_DCHECK(!node.empty());
  position->second.pages = pages;
  node.value() = {pages, position->first};
  by_size_.insert(std::move(node));
}

// Takes [first, first + pages) out of a free run; what is left on either side stays free.
void PageRuns::carve(ByAddress::iterator position, std::uint64_t first, std::uint64_t pages) {
  const std::uint64_t run_first = position->first;
  const Run run = position->second;
  HF_CHECK2(first >= run_first && pages <= run.pages, first, pages);
  const std::uint64_t head = first - run_first;
  const std::uint64_t tail = run.pages - head - pages;
  // The tail first: it is the step that may throw, and nothing has changed until then.
  if (tail != 0) insert(first + pages, {tail, run.returned});
  if (head == 0) {
    erase(position);
  } else {
    set_pages(position, head);
  }
}

void PageRuns::free(std::uint64_t first, std::uint64_t pages) noexcept {
  HF_CHECK2(pages != 0 && first >= first_ && first + pages <= frontier_, first, pages);
  try {
    free_or_throw(first, pages);
  } catch (const std::bad_alloc&) {
    (void)taker_.give_back(first, pages);  // lost as addresses, but not as memory
  }
}

void PageRuns::free_or_throw(std::uint64_t first, std::uint64_t pages) {
  const auto next = by_address_.lower_bound(first);
  const auto previous = next == by_address_.begin() ? by_address_.end() : std::prev(next);
  const bool joins_next = next != by_address_.end() && next->first == first + pages;
  const bool joins_previous =
      previous != by_address_.end() && previous->first + previous->second.pages == first;
  // A free run that overlaps means that the pages were freed twice.
  HF_CHECK2(next == by_address_.end() || next->first >= first + pages, first, pages);
  HF_CHECK2(previous == by_address_.end() || previous->first + previous->second.pages <= first,
            first, pages);

  const std::uint64_t run_first = joins_previous ? previous->first : first;
  const std::uint64_t run_end = joins_next ? next->first + next->second.pages : first + pages;
  // The part that still holds memory: what is freed now and neighbours not yet given back.
  const std::uint64_t held_first = joins_previous && !previous->second.returned ? run_first : first;
  const std::uint64_t held_end = joins_next && !next->second.returned ? run_end : first + pages;

  insert(first, {pages, false});  // may throw; from here on nothing does
  used_ -= pages;
  const auto self = by_address_.find(first);
  if (joins_next) erase(next);
  if (joins_previous) erase(self);
  const auto run = joins_previous ? previous : self;
  set_pages(run, run_end - run_first);
  run->second.returned = false;
  if (run_end - run_first < kReturnPages) return;
  run->second.returned = taker_.give_back(held_first, held_end - held_first);
}

void PageRuns::check() const {
  HF_CHECK(by_address_.size() == by_size_.size());
  std::uint64_t end_of_last = 0;
  std::uint64_t free_total = 0;
  for (const auto& [first, run] : by_address_) {
    HF_CHECK2(end_of_last == 0 || first > end_of_last, first, end_of_last);
    HF_CHECK2(first >= first_ && first + run.pages <= frontier_, first, run.pages);
    HF_CHECK(by_size_.contains({run.pages, first}));
    end_of_last = first + run.pages;
    free_total += run.pages;
  }
  HF_CHECK2(used_ + free_total == frontier_ - first_, used_, free_total);
}

}  // namespace holdfast::engine
