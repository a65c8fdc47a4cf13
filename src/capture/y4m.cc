#include "capture/y4m.h"

#include <array>
#include <charconv>

namespace holdfast::capture {
namespace {

constexpr std::uint32_t kSideMax = 1U << 16;

// A layout of planes: how much the chroma planes are smaller than the luma plane, and how many
// there are beside it.
struct Layout {
  std::string_view name;
  std::uint32_t chroma_width_divisor, chroma_height_divisor;
  std::uint32_t chroma_planes;
};

// A name of a layout may go on with a depth ("420p10": two bytes a sample).
constexpr std::array kLayouts{
    Layout{"420", 2, 2, 2},      Layout{"420jpeg", 2, 2, 2}, Layout{"420mpeg2", 2, 2, 2},
    Layout{"420paldv", 2, 2, 2}, Layout{"411", 4, 1, 2},     Layout{"422", 2, 1, 2},
    Layout{"440", 1, 2, 2},      Layout{"444", 1, 1, 2},     Layout{"444alpha", 1, 1, 3},
    Layout{"mono", 1, 1, 0},
};

std::unexpected<Error> bad_line(const char* what, std::uint64_t value, std::uint64_t limit) {
  return fail({.code = Errc::corrupted,
               .doing = "read a Y4M header",
               .what = what,
               .value = value,
               .limit = limit,
               .remedy = "give a Y4M stream, or frame_bytes for a raw one"});
}

bool parse_number(std::string_view text, std::uint32_t& number) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && stop == text.data() + text.size();
}

bool parse_rate(std::string_view text, CaptureFormat& format) {
  const std::size_t colon = text.find(':');
  return colon != std::string_view::npos &&
         parse_number(text.substr(0, colon), format.rate_numerator) &&
         parse_number(text.substr(colon + 1), format.rate_denominator);
}

// The layout that `text` names; its depth in bytes goes to `sample_bytes`.
const Layout* find_layout(std::string_view text, std::uint32_t& sample_bytes) {
  sample_bytes = 1;
  std::uint32_t bits = 8;
  const std::size_t depth = text.starts_with("mono") ? 4 : text.find('p', 3);
  // "420p10", "mono16"; "420paldv" is a name by itself.
  if (depth < text.size()) {
    const std::size_t digits = text.starts_with("mono") ? depth : depth + 1;
    if (parse_number(text.substr(digits), bits)) text = text.substr(0, depth);
  }
  if (bits < 8 || bits > 16) return nullptr;
  sample_bytes = bits > 8 ? 2 : 1;
  for (const Layout& layout : kLayouts) {
    if (layout.name == text) return &layout;
  }
  return nullptr;
}

std::uint64_t frame_bytes(const CaptureFormat& format, const Layout& layout,
                          std::uint32_t sample_bytes) {
  const auto smaller = [](std::uint64_t side, std::uint64_t divisor) {
    return (side + divisor - 1) / divisor;
  };
  const std::uint64_t chroma = smaller(format.width, layout.chroma_width_divisor) *
                               smaller(format.height, layout.chroma_height_divisor);
  const std::uint64_t luma = std::uint64_t{format.width} * format.height;
  return (luma + layout.chroma_planes * chroma) * sample_bytes;
}

// One word of the line: a letter, and what it is about.
bool parse_word(std::string_view word, CaptureFormat& format) {
  switch (word.front()) {
    case 'W':
      return parse_number(word.substr(1), format.width);
    case 'H':
      return parse_number(word.substr(1), format.height);
    case 'F':
      return parse_rate(word.substr(1), format);
    case 'C':
      format.layout = word.substr(1);
      return true;
    default:  // interlacing, aspect, extensions: they do not change what a frame is
      return true;
  }
}

}  // namespace

Expected<CaptureFormat> parse_y4m_header(std::string_view line) {
  if (!line.starts_with(kY4mMagic)) return bad_line("magic", 0, 0);
  CaptureFormat format;
  format.y4m_header = line;
  format.layout = "420jpeg";  // the default
  for (std::size_t at = kY4mMagic.size(); at < line.size();) {
    if (line[at] == ' ') {
      ++at;
      continue;
    }
    const std::size_t end = std::min(line.find(' ', at), line.size());
    if (!parse_word(line.substr(at, end - at), format)) return bad_line("word at", at, 0);
    at = end;
  }
  if (format.width == 0 || format.width > kSideMax)
    return bad_line("width", format.width, kSideMax);
  if (format.height == 0 || format.height > kSideMax) {
    return bad_line("height", format.height, kSideMax);
  }
  std::uint32_t sample_bytes = 1;
  const Layout* const layout = find_layout(format.layout, sample_bytes);
  if (layout == nullptr) {
    return fail({.code = Errc::unsupported,
                 .doing = "read a Y4M header",
                 .what = "layout of planes",
                 .remedy = "convert it: ffmpeg -pix_fmt yuv420p"});
  }
  format.frame_bytes = frame_bytes(format, *layout, sample_bytes);
  return format;
}

bool is_y4m_frame(std::string_view line) noexcept {
  return line.starts_with(kY4mFrame) && (line.size() == kY4mFrame.size() || line[5] == ' ');
}

bool same_geometry(const CaptureFormat& one, const CaptureFormat& other) noexcept {
  return one.frame_bytes == other.frame_bytes && one.width == other.width &&
         one.height == other.height && one.layout == other.layout;
}

}  // namespace holdfast::capture
