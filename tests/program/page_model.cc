#include "program/page_model.h"

#include <algorithm>
#include <cstring>

namespace holdfast::tests {

void PageModel::store(std::uint64_t offset, const std::byte* from, std::uint64_t size) {
  Page& page = pages_.at(offset >> kPageShift);
  if (page.bytes == nullptr) page.bytes = std::make_unique<std::byte[]>(kPageSize);
  std::memcpy(page.bytes.get() + (offset & (kPageSize - 1)), from, size);
  ++page.changes;
  if (size == kPageSize) page.known = true;
}

void PageModel::clear(std::uint64_t page) {
  pages_[page].bytes.reset();
  pages_[page].known = true;
  ++pages_[page].changes;
}

void PageModel::forget(std::uint64_t page) {
  pages_[page].known = false;
  ++pages_[page].changes;
}

void PageModel::learn(std::uint64_t page, const std::byte* bytes) {
  store(page << kPageShift, bytes, kPageSize);
}

std::vector<std::uint64_t> PageModel::changes() const {
  std::vector<std::uint64_t> changes;
  for (const Page& page : pages_) changes.push_back(page.changes);
  return changes;
}

PageModel PageModel::copy(const std::vector<std::uint64_t>& before) const {
  PageModel copied(before.size());
  for (std::size_t i = 0; i < before.size(); ++i) {
    Page& to = copied.pages_[i];
    const bool same = i < pages_.size() && pages_[i].changes == before[i];
    to.known = same && pages_[i].known;
    if (!to.known || pages_[i].bytes == nullptr) continue;
    to.bytes = std::make_unique<std::byte[]>(kPageSize);
    std::memcpy(to.bytes.get(), pages_[i].bytes.get(), kPageSize);
  }
  return copied;
}

bool PageModel::agrees(std::uint64_t offset, const std::byte* with,
                       std::uint64_t size) const noexcept {
  const Page& page = pages_[offset >> kPageShift];
  if (!page.known) return true;
  if (page.bytes == nullptr) {
    return std::all_of(with, with + size, [](std::byte b) { return b == std::byte{0}; });
  }
  return std::memcmp(page.bytes.get() + (offset & (kPageSize - 1)), with, size) == 0;
}

}  // namespace holdfast::tests
