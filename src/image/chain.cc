#include "image/chain.h"

#include "image/far_bytes.h"

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

Expected<std::unique_ptr<sys::ByteSource>> open_named_source(sys::Machine& machine,
                                                             const std::string& name) {
  if (!sys::is_far_name(name)) return sys::open_byte_source(name);
  const sys::ObjectStoreOptions options = TRY(sys::parse_image_name(name));
  return std::make_unique<FarSource>(TRY(machine.open_far_image(options)));
}

Expected<std::unique_ptr<sys::ByteSink>> open_named_sink(sys::Machine& machine,
                                                         const std::string& name) {
  if (!sys::is_far_name(name)) return sys::replace_file(name);
  const sys::ObjectStoreOptions options = TRY(sys::parse_image_name(name));
  return std::make_unique<FarSink>(TRY(machine.open_object_store(options)), options.image);
}

std::string place_of(const std::string& name) {
  if (sys::is_far_name(name)) return name;
  const std::size_t slash = name.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : name.substr(0, slash);
}

Expected<std::unique_ptr<sys::ByteSource>> NameFinder::find(const Id& id) {
  for (const std::string& name : names_) {
    auto source = TRY(open_named_source(machine_, name));
    if (id_of(*source) == id) return source;
  }
  auto found = sys::is_far_name(place_) ? TRY(find_in_pool(id)) : TRY(find_in_directory(id));
  if (found != nullptr) return found;
  return fail({.code = Errc::not_found,
               .doing = "open image",
               .what = "base with id (its lower half)",
               .value = id.low,
               .remedy = "name the image that this one was made against, or put both into one "
                         "directory or pool"});
}

Expected<std::unique_ptr<sys::ByteSource>> NameFinder::find_in_directory(const Id& id) {
  if (place_.empty()) return nullptr;
  for (const std::string& path : TRY(sys::list_files(place_))) {
    auto source = sys::open_byte_source(path);  // what cannot be opened is not it
    if (source && id_of(**source) == id) return source;
  }
  return nullptr;
}

Expected<std::unique_ptr<sys::ByteSource>> NameFinder::find_in_pool(const Id& id) {
  sys::ObjectStoreOptions options = TRY(sys::parse_image_name(place_));
  for (const sys::FarImage& image : TRY(machine_.list_far_images(options))) {
    if (label_in(image.label).id != id) continue;
    options.image = image.name;
    return std::make_unique<FarSource>(TRY(machine_.open_far_image(options)));
  }
  return nullptr;
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

}  // namespace holdfast::image
