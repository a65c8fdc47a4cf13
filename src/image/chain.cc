#include "image/chain.h"

namespace holdfast::image {

Id id_of(sys::ByteSource& source) noexcept {
  Header header;
  if (source.size() < sizeof header ||
      source.read(0, reinterpret_cast<std::byte*>(&header), sizeof header) != 0 ||
      header.magic != kHeaderMagic || checksum_of(header) != header.checksum) {
    return {};
  }
  return header.id;
}

Expected<std::unique_ptr<sys::ByteSource>> FileFinder::find(const Id& id) {
  for (const std::string& path : paths_) {
    auto source = TRY(sys::open_byte_source(path));
    if (id_of(*source) == id) return source;
  }
  if (!directory_.empty()) {
    for (const std::string& path : TRY(sys::list_files(directory_))) {
      auto source = sys::open_byte_source(path);  // what cannot be opened is not it
      if (source && id_of(**source) == id) return source;
    }
  }
  return fail({.code = Errc::not_found,
               .doing = "open image",
               .what = "base with id (its lower half)",
               .value = id.low,
               .remedy = "name the image that this one was made against, or put both into one "
                         "directory"});
}

Expected<std::unique_ptr<Reader>> open_chain(sys::Machine& machine,
                                             std::unique_ptr<sys::ByteSource> source,
                                             ImageFinder& finder) {
  auto image = TRY(Reader::open(machine, std::move(source)));
  // The whole chain first, as each image belongs to the one above it.
  std::vector<std::unique_ptr<Reader>> bases;
  for (const Reader* top = image.get(); top->is_incremental(); top = bases.back().get()) {
    if (bases.size() == Reader::kChainMax) {
      return fail({.code = Errc::invalid_argument,
                   .doing = "open image",
                   .what = "images in its chain",
                   .value = bases.size() + 1,
                   .limit = Reader::kChainMax,
                   .remedy = "save a full image now and then"});
    }
    auto found = TRY(finder.find(top->header().base_id));
    bases.push_back(TRY(Reader::open(machine, std::move(found))));
  }
  while (!bases.empty()) {
    auto base = std::move(bases.back());
    bases.pop_back();
    Reader& above = bases.empty() ? *image : *bases.back();
    TRY_VOID(above.set_base(std::move(base)));
  }
  return image;
}

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace holdfast::image
