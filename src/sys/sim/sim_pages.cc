#include "sys/sim/sim_pages.h"

#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#define HF_SIM_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HF_SIM_ASAN 1
#endif
#endif
#if defined(HF_SIM_ASAN)
#include <sanitizer/asan_interface.h>
#endif

namespace holdfast::sys {
namespace {

constexpr std::size_t kFirstCells = 1024;
constexpr int kGonePattern = 0xD9;  // what a page that has left reads as

std::vector<std::byte*>& free_pages() {
  thread_local auto* pages = new std::vector<std::byte*>;  // for good: outlives every machine
  return *pages;
}

}  // namespace

std::byte* take_sim_page() {
  std::vector<std::byte*>& pages = free_pages();
  if (pages.empty()) {
    constexpr std::size_t kBatch = 64;
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPageSize, kBatch * kPageSize));
    HF_CHECK(memory != nullptr);
    for (std::size_t i = 0; i < kBatch; ++i) pages.push_back(memory + i * kPageSize);
  }
  std::byte* page = pages.back();
  pages.pop_back();
#if defined(HF_SIM_ASAN)
  __asan_unpoison_memory_region(page, kPageSize);
#endif
  return page;
}

void give_sim_page(std::byte* page) noexcept {
  HF_DCHECK(page != nullptr);
  std::memset(page, kGonePattern, kPageSize);
#if defined(HF_SIM_ASAN)
  __asan_poison_memory_region(page, kPageSize);
#endif
  free_pages().push_back(page);
}

SimPages::SimPages() : cells_(kFirstCells) {}

SimPages::~SimPages() {
  for (const Cell& cell : cells_) {
    if (cell.page != nullptr) give_sim_page(cell.page);
  }
}

std::size_t SimPages::home(std::uint64_t number) const noexcept {
  const std::uint64_t mixed = number * 0x9e3779b97f4a7c15ULL;
  return static_cast<std::size_t>(mixed >> 32) & (cells_.size() - 1);
}

// The cell that holds the number, or the empty one where it would go.
std::size_t SimPages::place(std::uint64_t number) const noexcept {
  std::size_t i = home(number);
  while (cells_[i].page != nullptr && cells_[i].number != number) i = (i + 1) & (cells_.size() - 1);
  return i;
}

std::byte* SimPages::find(std::uint64_t number) const noexcept {
  return cells_[place(number)].page;
}

void SimPages::insert(std::uint64_t number, std::byte* page) {
  HF_DCHECK(page != nullptr);
  if ((size_ + 1) * 2 > cells_.size()) grow();
  Cell& cell = cells_[place(number)];
  HF_CHECK2(cell.page == nullptr, number, size_);
  cell = {number, page, false};
  ++size_;
}

std::byte* SimPages::remove(std::uint64_t number) noexcept {
  std::size_t hole = place(number);
  std::byte* page = cells_[hole].page;
  if (page == nullptr) return nullptr;
  // Backward shift (Knuth, 6.4 R): no tombstones. A later cell may fill the hole unless its home
  // lies behind the hole.
  const std::size_t mask = cells_.size() - 1;
  for (std::size_t i = (hole + 1) & mask; cells_[i].page != nullptr; i = (i + 1) & mask) {
    if (((i - home(cells_[i].number)) & mask) >= ((i - hole) & mask)) {
      cells_[hole] = cells_[i];
      hole = i;
    }
  }
  cells_[hole] = {};
  --size_;
  return page;
}

std::uint64_t SimPages::protect(std::uint64_t first, std::uint64_t count, bool read_only) noexcept {
  std::uint64_t changed = 0;
  const auto mark = [&](Cell& cell) {
    changed += cell.read_only != read_only ? 1 : 0;
    cell.read_only = read_only;
  };
  if (count < cells_.size()) {
    for (std::uint64_t n = first; n < first + count; ++n) {
      Cell& cell = cells_[place(n)];
      if (cell.page != nullptr) mark(cell);
    }
    return changed;
  }
  for (Cell& cell : cells_) {
    if (cell.page != nullptr && cell.number >= first && cell.number < first + count) mark(cell);
  }
  return changed;
}

bool SimPages::is_protected(std::uint64_t number) const noexcept {
  const Cell& cell = cells_[place(number)];
  return cell.page != nullptr && cell.read_only;
}

void SimPages::grow() {
  std::vector<Cell> old(cells_.size() * 2);
  old.swap(cells_);
  for (const Cell& cell : old) {
    if (cell.page != nullptr) cells_[place(cell.number)] = cell;
  }
}

std::vector<std::uint64_t> SimPages::numbers_in(std::uint64_t first, std::uint64_t end) const {
  std::vector<std::uint64_t> numbers;
  if (end - first < cells_.size()) {
    for (std::uint64_t n = first; n < end; ++n) {
      if (find(n) != nullptr) numbers.push_back(n);
    }
    return numbers;
  }
  for (const Cell& cell : cells_) {
    if (cell.page != nullptr && cell.number >= first && cell.number < end) {
      numbers.push_back(cell.number);
    }
  }
  return numbers;
}

}  // namespace holdfast::sys
