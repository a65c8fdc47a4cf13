#include "cli/image_command.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace holdfast::cli {
namespace {

using image::Encoding;
using image::GroupEntry;
using image::PageKind;
using image::Reader;
using image::RunEntry;

std::string id_text(const image::Id& id) {
  return id.is_none() ? "" : fmt::format("{:016x}{:016x}", id.high, id.low);
}

ImageSummary summary_of(const Reader& image) {
  ImageSummary summary;
  summary.id = id_text(image.header().id);
  summary.base = id_text(image.header().base_id);
  summary.version = image.header().version;
  summary.regions = image.regions().size();
  summary.pages = image.header().pages;
  summary.file_bytes = image.footer().file_bytes;
  for (const RunEntry& run : image.runs()) {
    if (run.kind == PageKind::data) summary.data_pages += run.pages;
    if (run.kind == PageKind::unchanged) summary.unchanged_pages += run.pages;
    if (run.kind == PageKind::filled) {
      (run.value == 0 ? summary.zero_pages : summary.filled_pages) += run.pages;
    }
  }
  for (const GroupEntry& group : image.groups()) {
    summary.stored_bytes += group.bytes;
    summary.raw_groups += group.encoding == Encoding::raw ? 1 : 0;
    summary.lz4_groups += group.encoding == Encoding::lz4 ? 1 : 0;
    summary.zstd_groups += group.encoding == Encoding::zstd ? 1 : 0;
  }
  return summary;
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"};
  auto number = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; number >= 1024 && unit + 1 < std::size(kUnits); ++unit) number /= 1024;
  return unit == 0 ? fmt::format("{} bytes", bytes)
                   : fmt::format("{:.1f} {}", number, kUnits[unit]);
}

// Opens one image after the other, hands each to `take`, and stops at the first full one.
// An error of the image itself is the result; one of a base ends the chain and is told in it.
template <class Take>
Expected<ImageChain> follow(const std::string& path, const ImagePaths& bases, bool alone,
                            Take take) {
  ImageChain chain{.path = path, .images = {}, .problem = {}};
  auto source = TRY(image::open_named_source(sys::real_machine(), path));
  image::NameFinder finder(bases, image::place_of(path));
  for (;;) {
    const auto reader = TRY(Reader::open(sys::real_machine(), std::move(source)));
    TRY_VOID(take(*reader));
    chain.images.push_back(summary_of(*reader));
    if (!reader->is_incremental() || alone) return chain;
    if (chain.images.size() == Reader::kChainMax) {
      chain.problem = "the chain is longer than any that can be restored";
      return chain;
    }
    auto found = finder.find(reader->header().base_id);
    if (!found) {
      chain.problem = found.error().message();
      return chain;
    }
    source = std::move(*found);
  }
}

class Progress final : public image::VerifyProgress {
 public:
  explicit Progress(const ProgressLine& line) : line_(line) {}
  bool verified(std::uint64_t bytes, std::uint64_t file_bytes) override {
    if (line_) line_(bytes, file_bytes);
    return true;
  }

 private:
  const ProgressLine& line_;
};

void add_line(std::string& text, const char* key, const std::string& value) {
  text += fmt::format("  {:<12} {}\n", key, value);
}

void add_pages(std::string& text, const char* key, std::uint64_t pages, const char* note) {
  if (pages == 0) return;
  add_line(text, key, fmt::format("{} pages, {}{}", pages, bytes_text(pages << kPageShift), note));
}

void add_groups(std::string& text, const ImageSummary& image) {
  if (image.data_pages == 0) return;
  std::string encodings;
  const auto add = [&](const char* name, std::uint64_t groups) {
    if (groups != 0)
      encodings += fmt::format("{}{} {}", encodings.empty() ? "" : ", ", groups, name);
  };
  add("lz4", image.lz4_groups);
  add("zstd", image.zstd_groups);
  add("raw", image.raw_groups);
  add_line(text, "stored in",
           fmt::format("{}, {:.2f} to 1 (groups: {})", bytes_text(image.stored_bytes),
                       static_cast<double>(image.data_pages << kPageShift) /
                           static_cast<double>(image.stored_bytes),
                       encodings));
}

void add_image(std::string& text, const ImageSummary& image) {
  add_line(text, "format", fmt::format("version {}", image.version));
  add_line(text, "base", image.base.empty() ? "none: a full image" : image.base);
  add_line(text, "memory",
           fmt::format("{} in {} region{}", bytes_text(image.pages << kPageShift), image.regions,
                       image.regions == 1 ? "" : "s"));
  add_pages(text, "data", image.data_pages, "");
  add_groups(text, image);
  add_pages(text, "zeros", image.zero_pages, "");
  add_pages(text, "filled", image.filled_pages, ", of one repeated word each");
  add_pages(text, "unchanged", image.unchanged_pages, ", as in the base");
  add_line(text, "file", bytes_text(image.file_bytes));
}

}  // namespace

Expected<ImageChain> describe_image(const std::string& path, const ImagePaths& bases) {
  return follow(path, bases, false, [](Reader&) -> Expected<void> { return {}; });
}

Expected<ImageChain> verify_image(const std::string& path, const ImagePaths& bases, bool alone,
                                  const ProgressLine& progress) {
  Progress told(progress);
  return follow(path, bases, alone, [&](Reader& reader) { return reader.verify(told); });
}

std::string as_text(const ImageChain& chain) {
  std::string text;
  for (std::size_t i = 0; i < chain.images.size(); ++i) {
    text += i == 0 ? fmt::format("{}\n", chain.path) : fmt::format("its base, {} down\n", i);
    add_line(text, "id", chain.images[i].id);
    add_image(text, chain.images[i]);
  }
  if (!chain.problem.empty()) text += fmt::format("the chain is not whole: {}\n", chain.problem);
  return text;
}

std::string as_json(const ImageChain& chain) {
  nlohmann::ordered_json json;
  json["path"] = chain.path;
  json["whole"] = chain.problem.empty();
  if (!chain.problem.empty()) json["problem"] = chain.problem;
  for (const ImageSummary& image : chain.images) {
    json["images"].push_back({{"id", image.id},
                              {"base", image.base},
                              {"version", image.version},
                              {"regions", image.regions},
                              {"pages", image.pages},
                              {"data_pages", image.data_pages},
                              {"zero_pages", image.zero_pages},
                              {"filled_pages", image.filled_pages},
                              {"unchanged_pages", image.unchanged_pages},
                              {"file_bytes", image.file_bytes},
                              {"stored_bytes", image.stored_bytes},
                              {"raw_groups", image.raw_groups},
                              {"lz4_groups", image.lz4_groups},
                              {"zstd_groups", image.zstd_groups}});
  }
  return json.dump(2) + "\n";
}

}  // namespace holdfast::cli
