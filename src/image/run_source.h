// What an image is written of: memory that holds still, as runs and pages. A snapshot is one;
// tests bring their own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/base.h"
#include "image/format.h"

namespace holdfast::image {

// Successive image pages of one kind, as the source knows them without reading any.
struct PageRun {
  std::uint64_t first = 0;
  std::uint64_t pages = 0;
  PageKind kind = PageKind::data;
  std::uint64_t value = 0;  // filled: the word. unchanged: the first image page in the base
};

// Takes runs, in order.
class RunVisitor {
 public:
  // False: no more are wanted.
  [[nodiscard]] virtual bool visit(const PageRun& run) = 0;

 protected:
  ~RunVisitor() = default;
};

class RunSource {
 public:
  // Sizes of the regions, bytes, each a multiple of kPageSize and not 0. At least one.
  [[nodiscard]] virtual std::span<const std::uint64_t> regions() const = 0;
  // Tells all runs: they cover every image page once, in order. Errors pass through.
  [[nodiscard]] virtual Expected<void> for_each_run(RunVisitor& visitor) = 0;
  // Puts the content of `pages` pages from `first` on at `to`. Several threads at once.
  [[nodiscard]] virtual Expected<void> read(std::uint64_t first, std::uint32_t pages,
                                            std::byte* to) = 0;

 protected:
  ~RunSource() = default;
};

}  // namespace holdfast::image
