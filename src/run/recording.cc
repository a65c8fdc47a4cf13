#include "run/recording.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/base.h"

namespace holdfast::run {
namespace {

constexpr std::array<char, 8> kMagic{'H', 'F', 'R', 'E', 'C', 'O', 'R', 'D'};
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kNameMax = 4096;  // as long as a path

// Both as they are in the file, little-endian; a checksum follows each, and what belongs to it.
struct Header {
  std::array<char, 8> magic = kMagic;
  std::uint32_t version = kVersion;
  std::uint32_t page_bytes = kPageSize;
  std::uint64_t file_bytes = 0;
  std::uint64_t pages = 0;     // of all sections
  std::uint64_t sections = 0;  // the first is of the program, and has no pages
  std::uint64_t reserved = 0;
};
static_assert(sizeof(Header) == 48);

// A name, and then the log, come after it.
struct Section {
  std::uint32_t name_bytes = 0;
  std::uint32_t ordinal = 0;
  std::uint64_t pages = 0;
  std::uint64_t log_bytes = 0;
  std::uint64_t reserved = 0;
};
static_assert(sizeof(Section) == 32);

void append(Bytes& bytes, const void* data, std::size_t size) {
  if (size == 0) return;
  const std::size_t at = bytes.size();
  bytes.resize(at + size);
  std::memcpy(bytes.data() + at, data, size);
}

// Of what stands from `from` on.
void append_checksum(Bytes& bytes, std::size_t from) {
  const base::Hash128 hash = base::hash_bytes(bytes.data() + from, bytes.size() - from);
  append(bytes, &hash, sizeof hash);
}

void append_section(Bytes& bytes, const SpaceName& name, const PageLog& log) {
  const std::size_t from = bytes.size();
  const std::size_t name_bytes = std::min<std::size_t>(name.program.size(), kNameMax);
  const Section section{.name_bytes = static_cast<std::uint32_t>(name_bytes),
                        .ordinal = name.ordinal,
                        .pages = log.pages(),
                        .log_bytes = log.bytes().size()};
  append(bytes, &section, sizeof section);
  append(bytes, name.program.data(), name_bytes);
  append(bytes, log.bytes().data(), log.bytes().size());
  append_checksum(bytes, from);
}

using Wrong = std::unexpected<std::string>;

Wrong cut_off(std::size_t bytes, std::uint64_t wanted) {
  return Wrong(fmt::format("it ends at byte {} of {}: it was cut off", bytes, wanted));
}

std::expected<Header, std::string> decode_header(std::span<const std::uint8_t> bytes) {
  constexpr std::size_t kWhole = sizeof(Header) + sizeof(base::Hash128);
  Header header;
  const std::size_t known = std::min(bytes.size(), sizeof header);
  if (known < kMagic.size() || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
    return Wrong("byte 0: it is no recording of holdfast run");
  }
  if (bytes.size() < kWhole) return cut_off(bytes.size(), kWhole);
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.version != kVersion) {
    return Wrong(fmt::format("byte {}: it is of version {}, and this program reads version {}",
                             offsetof(Header, version), header.version, kVersion));
  }
  const base::Hash128 hash = base::hash_bytes(bytes.data(), sizeof header);
  if (std::memcmp(&hash, bytes.data() + sizeof header, sizeof hash) != 0) {
    return Wrong(fmt::format("byte {}: the checksum of its header does not match: it was damaged",
                             sizeof header));
  }
  if (bytes.size() < header.file_bytes) return cut_off(bytes.size(), header.file_bytes);
  if (bytes.size() > header.file_bytes) {
    return Wrong(fmt::format("byte {}: it goes on where it should end", header.file_bytes));
  }
  if (header.page_bytes != kPageSize || header.pages > kRecordedPagesMax) {
    return Wrong(fmt::format("byte {}: {} pages of {} bytes; a recording has at most {} of {}",
                             offsetof(Header, page_bytes), header.pages, header.page_bytes,
                             kRecordedPagesMax, kPageSize));
  }
  return header;
}

// The section at `at`, which is then behind it; no more than `pages_left` pages.
std::expected<Recording::Space, std::string> decode_section(std::span<const std::uint8_t> bytes,
                                                            std::size_t& at,
                                                            std::uint64_t pages_left) {
  const std::size_t left = bytes.size() - at;
  Section section;
  const auto wrong = [&](std::size_t offset, const char* what) {
    return Wrong(fmt::format("byte {}: {}", offset, what));
  };
  constexpr std::size_t kLeast = sizeof section + sizeof(base::Hash128);
  if (left < kLeast) return wrong(at, "a section should begin here");
  std::memcpy(&section, bytes.data() + at, sizeof section);
  if (section.name_bytes > kNameMax || section.log_bytes > left ||
      kLeast + section.name_bytes + section.log_bytes > left) {
    return wrong(at, "a section is longer than the file: it was damaged");
  }
  const std::size_t name = at + sizeof section;
  const std::size_t log = name + section.name_bytes;
  const std::size_t end = log + section.log_bytes;
  const base::Hash128 hash = base::hash_bytes(bytes.data() + at, end - at);
  if (std::memcmp(&hash, bytes.data() + end, sizeof hash) != 0) {
    return wrong(end, fmt::format("the checksum of its section, from byte {} on, does not match: "
                                  "it was damaged",
                                  at)
                          .c_str());
  }
  if (section.pages > pages_left) return wrong(at, "more pages than its header tells");
  auto pages = PageLog::decode(bytes.subspan(log, section.log_bytes), section.pages);
  if (!pages) return wrong(log + pages.error(), "this is no run of pages");
  at = end + sizeof hash;
  return Recording::Space{.name = {.program = {bytes.begin() + static_cast<std::ptrdiff_t>(name),
                                               bytes.begin() + static_cast<std::ptrdiff_t>(log)},
                                   .ordinal = section.ordinal},
                          .pages = std::move(*pages)};
}

}  // namespace

Bytes encode_recording(const std::string& program, std::span<const SpaceLog* const> spaces) {
  Header header;
  header.sections = 1 + spaces.size();
  for (const SpaceLog* const space : spaces) header.pages += space->log.pages();
  Bytes sections;
  append_section(sections, {.program = program, .ordinal = 0}, PageLog());
  for (const SpaceLog* const space : spaces) append_section(sections, space->name, space->log);
  header.file_bytes = sizeof header + sizeof(base::Hash128) + sections.size();
  Bytes bytes;
  append(bytes, &header, sizeof header);
  append_checksum(bytes, 0);
  append(bytes, sections.data(), sections.size());
  return bytes;
}

std::expected<Recording, std::string> decode_recording(std::span<const std::uint8_t> bytes) {
  const auto header = decode_header(bytes);
  if (!header) return Wrong(header.error());
  Recording recording;
  std::size_t at = sizeof(Header) + sizeof(base::Hash128);
  std::uint64_t pages_left = header->pages;
  for (std::uint64_t i = 0; i < header->sections; ++i) {
    auto section = decode_section(bytes, at, pages_left);
    if (!section) return Wrong(section.error());
    pages_left -= section->pages.size();
    if (i == 0) {
      recording.program = std::move(section->name.program);
    } else {
      recording.spaces.push_back(std::move(*section));
    }
  }
  if (at != bytes.size() || header->sections == 0 || pages_left != 0) {
    return Wrong(fmt::format("byte {}: the sections are not those of which its header tells", at));
  }
  return recording;
}

}  // namespace holdfast::run
