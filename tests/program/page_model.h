// Plain memory, as a random program believes it to be: the content of every page of one region.
//
// On the simulated machine a page's part of a load or store and the model's own change happen
// without a switch in between, so the model is exact at every moment, however many threads there
// are. Only what the engine was made to fail half-way is unknown; such a page is compared again
// once it has been written whole.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/base.h"

namespace holdfast::tests {

class PageModel {
 public:
  explicit PageModel(std::uint64_t pages) : pages_(pages) {}

  [[nodiscard]] std::uint64_t pages() const noexcept { return pages_.size(); }
  // New pages are zeros; pages cut off are forgotten.
  void resize(std::uint64_t pages) { pages_.resize(pages); }
  // [offset, offset + size) lies in one page.
  void store(std::uint64_t offset, const std::byte* from, std::uint64_t size);
  [[nodiscard]] bool agrees(std::uint64_t offset, const std::byte* with,
                            std::uint64_t size) const noexcept;
  void clear(std::uint64_t page);   // reads as zeros
  void forget(std::uint64_t page);  // old content, or zeros
  // What was loaded of a page that is not known: from now on it is. A copy never changes on its
  // own.
  void learn(std::uint64_t page, const std::byte* bytes);
  [[nodiscard]] bool known(std::uint64_t page) const noexcept { return pages_[page].known; }
  // How often the pages were changed: to tell which were while a copy was made.
  [[nodiscard]] std::vector<std::uint64_t> changes() const;
  // A copy of the region, made while its pages went on from `before`: those that changed since are
  // not known.
  [[nodiscard]] PageModel copy(const std::vector<std::uint64_t>& before) const;
  [[nodiscard]] bool touched(std::uint64_t page) const noexcept {
    return pages_[page].bytes != nullptr;
  }

 private:
  struct Page {
    std::unique_ptr<std::byte[]> bytes;  // null: zeros
    bool known = true;
    std::uint64_t changes = 0;
  };
  std::vector<Page> pages_;
};

}  // namespace holdfast::tests
