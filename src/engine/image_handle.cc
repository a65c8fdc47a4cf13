#include "engine/image_handle.h"

#include "engine/snapshot_source.h"

namespace holdfast::detail {
namespace {

ImageId id_of(const image::Id& id) noexcept { return {id.low, id.high}; }

class Verifying final : public image::VerifyProgress {
 public:
  Verifying(ImageProgressFn progress, void* context, std::uint64_t before, std::uint64_t in_all)
      : progress_(progress), context_(context), before_(before), in_all_(in_all) {}
  bool verified(std::uint64_t bytes, std::uint64_t) override {
    return progress_ == nullptr ||
           progress_({.bytes_done = before_ + bytes, .bytes_in_all = in_all_}, context_);
  }

 private:
  const ImageProgressFn progress_;
  void* const context_;
  const std::uint64_t before_, in_all_;
};

}  // namespace

object::SourceRef ImageControl::source_of(std::uint32_t region) {
  return object::SourceRef(new image::RegionSource(reference_, reader().regions()[region]));
}

ImageInfo ImageControl::info() {
  const image::Reader& top = reader();
  ImageInfo info;
  info.id = id_of(top.header().id);
  info.base = id_of(top.header().base_id);
  info.version = top.header().version;
  info.file_bytes = top.footer().file_bytes;
  for (const image::RegionEntry& region : top.regions()) info.region_bytes.push_back(region.bytes);
  for (const image::RunEntry& run : top.runs()) {
    const std::uint64_t bytes = run.pages << kPageShift;
    if (run.kind == image::PageKind::data) info.data_bytes += bytes;
    if (run.kind == image::PageKind::filled) info.filled_bytes += bytes;
    if (run.kind == image::PageKind::unchanged) info.unchanged_bytes += bytes;
  }
  for (const image::Reader* base = top.base(); base != nullptr; base = base->base()) ++info.images;
  return info;
}

Expected<void> ImageControl::verify(ImageProgressFn progress, void* context) {
  std::uint64_t in_all = 0, done = 0;
  for (image::Reader* one = &reader(); one != nullptr; one = one->base()) {
    in_all += one->footer().file_bytes;
  }
  for (image::Reader* one = &reader(); one != nullptr; one = one->base()) {
    Verifying verifying(progress, context, done, in_all);
    TRY_VOID(one->verify(verifying));
    done += one->footer().file_bytes;
  }
  return {};
}

}  // namespace holdfast::detail

namespace holdfast::engine {
namespace {

class Saving final : public image::WriteProgress {
 public:
  explicit Saving(const SaveOptions& options) : options_(options) {}
  bool written(std::uint64_t pages, std::uint64_t pages_in_all, std::uint64_t bytes) override {
    return options_.progress == nullptr ||
           options_.progress({.bytes_done = pages << kPageShift,
                              .bytes_in_all = pages_in_all << kPageShift,
                              .file_bytes = bytes},
                             options_.progress_context);
  }

 private:
  const SaveOptions& options_;
};

image::Encoding encoding_of(ImageCompression compression) noexcept {
  switch (compression) {
    case ImageCompression::none:
      return image::Encoding::raw;
    case ImageCompression::zstd:
      return image::Encoding::zstd;
    default:
      return image::Encoding::lz4;
  }
}

Error refused(Errc code, const char* remedy) noexcept {
  return {.code = code, .doing = "save image", .remedy = remedy};
}

// `since` is believed only of the image that it was saved to: else pages would be called unchanged
// that the base does not have.
Expected<void> check_since(std::span<const Snapshot* const> snapshots, const image::Reader* base,
                           std::span<const Snapshot* const> since) {
  if (since.empty()) return {};
  if (base == nullptr || since.size() != snapshots.size() ||
      base->regions().size() != since.size()) {
    return fail(refused(Errc::invalid_argument,
                        "`since` goes with a base image of as many regions, and has one snapshot "
                        "for each of those that are saved"));
  }
  for (std::size_t i = 0; i < since.size(); ++i) {
    if (since[i] == nullptr || !*since[i]) {
      return fail(refused(Errc::not_mapped, "`since` is no snapshot any more: leave it out"));
    }
    if (!since[i]->control()->saved_to.is(base->header().id.low, base->header().id.high, i)) {
      return fail(refused(Errc::invalid_argument,
                          "`since` was not saved to the base image last: give the snapshot that "
                          "was, or leave it out"));
    }
  }
  return {};
}

}  // namespace

Expected<SaveReport> save_on(sys::Machine& machine, std::span<const Snapshot* const> snapshots,
                             sys::ByteSink& sink, const SaveOptions& options,
                             std::span<const Snapshot* const> since) {
  image::Reader* const base =
      options.base == nullptr || !*options.base ? nullptr : &options.base->control()->reader();
  for (const Snapshot* snapshot : snapshots) {
    if (snapshot == nullptr || !*snapshot) {
      return fail(refused(Errc::not_mapped, "the snapshot was dropped or moved from: make one"));
    }
  }
  TRY_VOID(check_since(snapshots, base, since));
  SnapshotSource source(snapshots, since, base);
  Saving progress(options);
  const image::WriteReport report =
      TRY(image::write_image(machine, source, sink,
                             {.encoding = encoding_of(options.compression),
                              .threads = options.threads,
                              .base = base,
                              .progress = &progress}));
  for (std::size_t i = 0; i < snapshots.size(); ++i) {
    snapshots[i]->control()->saved_to.set(report.id.low, report.id.high, i);
  }
  return SaveReport{.id = {report.id.low, report.id.high},
                    .memory_bytes = report.pages << kPageShift,
                    .data_bytes = report.data_pages << kPageShift,
                    .filled_bytes = report.filled_pages << kPageShift,
                    .unchanged_bytes = report.unchanged_pages << kPageShift,
                    .file_bytes = report.bytes,
                    .nanoseconds = report.nanoseconds};
}

Expected<Image> open_on(sys::Machine& machine, std::unique_ptr<sys::ByteSource> source,
                        image::ImageFinder& finder) {
  auto reader = TRY(image::open_chain(machine, std::move(source), finder));
  return detail::ImageControl::make(std::move(reader));
}

}  // namespace holdfast::engine
