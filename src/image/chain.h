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

// Looks into the images that it was given by name, then among those of a place ("": none): the
// files of a directory, or the images of a pool, which any image's name in it stands for. Only
// headers are read; the place is looked through when an image is not among those given.
class NameFinder final : public ImageFinder {
 public:
  NameFinder(std::vector<std::string> names, std::string place,
             sys::Machine& machine = sys::real_machine())
      : names_(std::move(names)), place_(std::move(place)), machine_(machine) {}
  [[nodiscard]] Expected<std::unique_ptr<sys::ByteSource>> find(const Id& id) override;

 private:
  Expected<std::unique_ptr<sys::ByteSource>> find_in_directory(const Id& id);
  Expected<std::unique_ptr<sys::ByteSource>> find_in_pool(const Id& id);

  std::vector<std::string> names_;
  std::string place_;
  sys::Machine& machine_;
};

// --- images by name: paths of files, or rados:POOL/NAME; task context ---
// Errors: those of sys::open_byte_source and of sys::Machine::open_far_image.
[[nodiscard]] Expected<std::unique_ptr<sys::ByteSource>> open_named_source(sys::Machine& machine,
                                                                           const std::string& name);
// Errors: those of sys::replace_file and of sys::Machine::open_object_store. What stands in a pool
// is never replaced: a name that is there is invalid_argument with EEXIST.
[[nodiscard]] Expected<std::unique_ptr<sys::ByteSink>> open_named_sink(sys::Machine& machine,
                                                                       const std::string& name);
// Where the bases of an image of this name are looked for: its directory, or the pool.
[[nodiscard]] std::string place_of(const std::string& name);

// The id in an image's header, or none: it is no image. Proves the header, and nothing else.
[[nodiscard]] Id id_of(sys::ByteSource& source) noexcept;

// Opens the image and its bases. Errors: those of Reader::open, not_found (a base; value: how many
// images down the chain), invalid_argument (a chain longer than Reader::kChainMax).
[[nodiscard]] Expected<std::unique_ptr<Reader>> open_chain(sys::Machine& machine,
                                                           std::unique_ptr<sys::ByteSource> source,
                                                           ImageFinder& finder);

}  // namespace holdfast::image
