#include "image/image_source.h"

#include <algorithm>

namespace holdfast::image {

bool ImageSource::read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                       Error& error) noexcept {
  return reader_->read(first, pages, to, error);
}

object::PageSpan ImageSource::around(std::uint64_t index) noexcept {
  // A run of zeros, or of pages in a base, may be long: no more of it than of a group.
  const Reader::Around run = reader_->around(index);
  const std::uint64_t begin = std::max(run.first, index / kGroupPages * kGroupPages);
  const std::uint64_t end = std::min(run.end, begin + kGroupPages);
  if (run.end - run.first <= kGroupPages) return {run.first, run.end - run.first};
  return {begin, end - begin};
}

bool ImageSource::holds(std::uint64_t index, const base::Hash128& hash) noexcept {
  Reader::HashCache cache;
  Error error;
  return reader_->holds(index, hash, cache, error) == Reader::Holds::yes;
}

// What lies beyond the region's end is zeros.
bool RegionSource::read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                        Error& error) noexcept {
  const std::uint64_t there = first < pages_ ? pages_ - first : 0;
  const auto inside = static_cast<std::uint32_t>(std::min<std::uint64_t>(there, pages));
  if (inside > 0 && !image_->read(first_ + first, inside, to, error)) return false;
  for (std::uint32_t i = inside; i < pages; ++i) base::fill_page(to[i], 0);
  return true;
}

object::PageSpan RegionSource::around(std::uint64_t index) noexcept {
  if (index >= pages_) return {index, 1};
  // A run may reach over from the region before, or into the next.
  const object::PageSpan span = image_->around(first_ + index);
  const std::uint64_t begin = std::max(span.first, first_);
  const std::uint64_t end = std::min(span.first + span.pages, first_ + pages_);
  return {begin - first_, end - begin};
}

bool RegionSource::holds(std::uint64_t index, const base::Hash128& hash) noexcept {
  return index < pages_ && image_->holds(first_ + index, hash);
}

}  // namespace holdfast::image
