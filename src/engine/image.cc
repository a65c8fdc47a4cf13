// The public calls of images.
#include "holdfast/image.h"

#include <cstdio>
#include <utility>

#include "engine/image_handle.h"
#include "sync/sync.h"

namespace holdfast {
namespace {

std::unexpected<Error> no_image(const char* doing) noexcept {
  return fail({.code = Errc::not_found, .doing = doing, .remedy = "open an image first"});
}

// options.since as the list that the other save() takes.
std::span<const Snapshot* const> since_of(const SaveOptions& options) noexcept {
  if (options.since == nullptr) return {};
  return {&options.since, 1};
}

}  // namespace

std::string ImageId::to_string() const {
  char text[33];
  std::snprintf(text, sizeof text, "%016llx%016llx", static_cast<unsigned long long>(high),
                static_cast<unsigned long long>(low));
  return text;
}

Expected<SaveReport> save(std::span<const Snapshot* const> snapshots, int fd,
                          const SaveOptions& options, std::span<const Snapshot* const> since) {
  TRY_VOID(sync::check_task_context("save image"));
  const auto sink = TRY(sys::byte_sink_of(fd));
  return engine::save_on(sys::real_machine(), snapshots, *sink, options, since);
}

Expected<SaveReport> save_to(std::span<const Snapshot* const> snapshots, const std::string& path,
                             const SaveOptions& options, std::span<const Snapshot* const> since) {
  TRY_VOID(sync::check_task_context("save image"));
  const auto sink = TRY(image::open_named_sink(sys::real_machine(), path));
  return engine::save_on(sys::real_machine(), snapshots, *sink, options, since);
}

Expected<SaveReport> save(const Snapshot& snapshot, int fd, const SaveOptions& options) {
  const Snapshot* const one = &snapshot;
  return save(std::span(&one, 1), fd, options, since_of(options));
}

Expected<SaveReport> save_to(const Snapshot& snapshot, const std::string& path,
                             const SaveOptions& options) {
  const Snapshot* const one = &snapshot;
  return save_to(std::span(&one, 1), path, options, since_of(options));
}

Image& Image::operator=(Image&& other) noexcept {
  if (this != &other) {
    delete control_;
    control_ = std::exchange(other.control_, nullptr);
  }
  return *this;
}

Image::~Image() { delete control_; }

Expected<Image> Image::open(const std::string& path, const std::vector<std::string>& bases) {
  TRY_VOID(sync::check_task_context("open image"));
  image::NameFinder finder(bases, image::place_of(path));
  auto source = TRY(image::open_named_source(sys::real_machine(), path));
  return engine::open_on(sys::real_machine(), std::move(source), finder);
}

Expected<Image> Image::open(int fd, const std::vector<std::string>& bases) {
  TRY_VOID(sync::check_task_context("open image"));
  image::NameFinder finder(bases, "");
  return engine::open_on(sys::real_machine(), TRY(sys::byte_source_of(fd)), finder);
}

ImageInfo Image::info() const { return control_ == nullptr ? ImageInfo() : control_->info(); }

Expected<void> Image::verify(ImageProgressFn progress, void* context) const {
  TRY_VOID(sync::check_task_context("verify image"));
  if (control_ == nullptr) return no_image("verify image");
  return control_->verify(progress, context);
}

Expected<Region> Engine::restore(const Image&, const RestoreOptions&) {
  return fail({.code = Errc::unsupported,
               .doing = "restore image",
               .remedy = "this engine cannot bring pages in from an image"});
}

Expected<Region> restore(Engine& engine, const Image& image, const RestoreOptions& options) {
  if (!image) return no_image("restore image");
  return engine.restore(image, options);
}

Expected<Region> restore(Engine& engine, int fd, const RestoreOptions& options) {
  const Image image = TRY(Image::open(fd, options.bases));
  return engine.restore(image, options);
}

Expected<Region> restore_from(Engine& engine, const std::string& path,
                              const RestoreOptions& options) {
  const Image image = TRY(Image::open(path, options.bases));
  return engine.restore(image, options);
}

}  // namespace holdfast
