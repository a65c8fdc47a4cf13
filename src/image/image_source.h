// An opened image as the source of regions' pages.
#pragma once

#include <cstdint>
#include <memory>

#include "image/reader.h"
#include "object/object.h"

namespace holdfast::image {

// A whole image: its pages are the image pages. The reader has its bases.
class ImageSource final : public object::PageSource {
 public:
  explicit ImageSource(std::unique_ptr<Reader> reader) noexcept : reader_(std::move(reader)) {}
  [[nodiscard]] Reader& reader() noexcept { return *reader_; }

  [[nodiscard]] bool read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                          Error& error) noexcept override;
  [[nodiscard]] object::PageSpan around(std::uint64_t index) noexcept override;
  [[nodiscard]] bool holds(std::uint64_t index, const base::Hash128& hash) noexcept override;

 private:
  const std::unique_ptr<Reader> reader_;
};

// One region of an image: a window of its pages. Holds a reference of the image.
class RegionSource final : public object::PageSource {
 public:
  RegionSource(object::SourceRef image, const RegionEntry& region) noexcept
      : image_(std::move(image)), first_(region.first), pages_(region.bytes >> kPageShift) {}

  [[nodiscard]] bool read(std::uint64_t first, std::uint32_t pages, std::byte* const* to,
                          Error& error) noexcept override;
  [[nodiscard]] object::PageSpan around(std::uint64_t index) noexcept override;
  [[nodiscard]] bool holds(std::uint64_t index, const base::Hash128& hash) noexcept override;

 private:
  const object::SourceRef image_;
  const std::uint64_t first_, pages_;
};

}  // namespace holdfast::image
