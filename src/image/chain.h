// Opening an image with all that it stands on: the base of an incremental image, the base of that,
// down to a full one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/base.h"
#include "image/reader.h"
#include "sys/sys.h"

namespace holdfast::image {

// Finds images by their ids.
class ImageFinder {
 public:
  // The bytes of the image with this id. Errors: not_found, those of opening.
  [[nodiscard]] virtual Expected<std::unique_ptr<sys::ByteSource>> find(const Id& id) = 0;

 protected:
  ~ImageFinder() = default;
};

// Looks into the files that it was given, then into those of a directory ("": none). Only headers
// are read; the directory is looked through when an image is not among the files given.
class FileFinder final : public ImageFinder {
 public:
  FileFinder(std::vector<std::string> paths, std::string directory)
      : paths_(std::move(paths)), directory_(std::move(directory)) {}
  [[nodiscard]] Expected<std::unique_ptr<sys::ByteSource>> find(const Id& id) override;

 private:
  std::vector<std::string> paths_;
  std::string directory_;
};

// The id in an image's header, or none: it is no image. Proves the header, and nothing else.
[[nodiscard]] Id id_of(sys::ByteSource& source) noexcept;

// Opens the image and its bases. Errors: those of Reader::open, not_found (a base; value: how many
// images down the chain), invalid_argument (a chain longer than Reader::kChainMax).
[[nodiscard]] Expected<std::unique_ptr<Reader>> open_chain(sys::Machine& machine,
                                                           std::unique_ptr<sys::ByteSource> source,
                                                           ImageFinder& finder);

// The directory in which a path's file stands.
[[nodiscard]] std::string directory_of(const std::string& path);

}  // namespace holdfast::image
