#include "program/page_model.h"

#include <algorithm>
#include <cstring>

namespace holdfast::tests {

void PageModel::store(std::uint64_t offset, const std::byte* from, std::uint64_t size) {
  Page& page = pages_.at(offset >> kPageShift);
  if (page.bytes == nullptr) page.bytes = std::make_unique<std::byte[]>(kPageSize);
  std::memcpy(page.bytes.get() + (offset & (kPageSize - 1)), from, size);
  if (size == kPageSize) page.known = true;
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
