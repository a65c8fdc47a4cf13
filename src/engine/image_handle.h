// What a public Image stands for: an opened chain of images, counted, so that restored regions keep
// it after the Image has gone. Also saving and opening on a machine and a store of one's choice,
// for tests and for stores other than files.
#pragma once

#include <memory>
#include <span>

#include "holdfast/image.h"
#include "image/image.h"
#include "object/object.h"
#include "sys/sys.h"

namespace holdfast::detail {

class ImageControl {
 public:
  explicit ImageControl(std::unique_ptr<image::Reader> reader)
      : image_(*new image::ImageSource(std::move(reader))), reference_(&image_) {}
  [[nodiscard]] static Image make(std::unique_ptr<image::Reader> reader) {
    return Image(new ImageControl(std::move(reader)));
  }

  [[nodiscard]] image::Reader& reader() noexcept { return image_.reader(); }
  // A source of the pages of one region, which exists.
  [[nodiscard]] object::SourceRef source_of(std::uint32_t region);
  [[nodiscard]] ImageInfo info();
  [[nodiscard]] Expected<void> verify(ImageProgressFn progress, void* context);

 private:
  image::ImageSource& image_;
  const object::SourceRef reference_;  // to it
};

}  // namespace holdfast::detail

namespace holdfast::engine {

// As save(), on `machine` and to `sink`, which has been opened before anything is read.
[[nodiscard]] Expected<SaveReport> save_on(sys::Machine& machine,
                                           std::span<const Snapshot* const> snapshots,
                                           sys::ByteSink& sink, const SaveOptions& options,
                                           std::span<const Snapshot* const> since);

// As Image::open, on `machine`.
[[nodiscard]] Expected<Image> open_on(sys::Machine& machine,
                                      std::unique_ptr<sys::ByteSource> source,
                                      image::ImageFinder& finder);

}  // namespace holdfast::engine
