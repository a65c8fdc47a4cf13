// Opening an image: everything that can be proved without reading its pages.
#include <algorithm>
#include <cstring>

#include "image/damage.h"
#include "image/reader.h"

namespace holdfast::image {
namespace {

Error foreign() noexcept {
  return {.code = Errc::invalid_argument,
          .doing = "read image",
          .what = "no memory image begins so, at offset",
          .value = 0,
          .remedy = "name a file that save() has written"};
}

Error unknown_version(std::uint32_t version) noexcept {
  return {.code = Errc::unsupported,
          .doing = "read image",
          .what = "version of the format",
          .value = version,
          .limit = kVersion,
          .remedy = "read it with the version of holdfast that wrote it, or a newer one"};
}

bool all_zero(const std::uint32_t* words, std::size_t count) noexcept {
  return std::all_of(words, words + count, [](std::uint32_t word) { return word == 0; });
}

}  // namespace

Expected<std::unique_ptr<Reader>> Reader::open(sys::Machine& machine,
                                               std::unique_ptr<sys::ByteSource> source) {
  std::unique_ptr<Reader> reader(new Reader(machine, std::move(source)));
  TRY_VOID(reader->load());
  return reader;
}

Expected<void> Reader::load() {
  TRY_VOID(load_header());
  TRY_VOID(load_footer());
  TRY_VOID(load_index());
  TRY_VOID(check_regions());
  TRY_VOID(check_runs());
  TRY_VOID(check_groups());
  const bool zstd = std::any_of(groups_.begin(), groups_.end(), [](const GroupEntry& group) {
    return group.encoding == Encoding::zstd;
  });
  workspaces_ = TRY(WorkspacePool::create(machine_, zstd));
  return {};
}

Expected<void> Reader::read_bytes(std::uint64_t offset, void* to, std::uint64_t bytes) const {
  const int error = source_->read(offset, static_cast<std::byte*>(to), bytes);
  if (error != 0) return fail(source_->error_of(error, offset));
  return {};
}

Expected<void> Reader::load_header() {
  const std::uint64_t size = source_->size();
  std::uint64_t magic = 0;
  if (size < sizeof magic) return fail(foreign());
  TRY_VOID(read_bytes(0, &magic, sizeof magic));
  if (magic != kHeaderMagic) return fail(foreign());
  if (size < sizeof header_) return fail(damaged("truncated in its header, at offset", size));
  TRY_VOID(read_bytes(0, &header_, sizeof header_));
  if (checksum_of(header_) != header_.checksum) {
    return fail(damaged("checksum of the header, at offset", offsetof(Header, checksum)));
  }
  if (header_.version != kVersion) return fail(unknown_version(header_.version));
  if (header_.page_bytes != kPageSize || header_.id.is_none() ||
      !all_zero(header_.reserved, std::size(header_.reserved))) {
    return fail(damaged("header with impossible values, at offset", 0));
  }
  return {};
}

Expected<void> Reader::load_footer() {
  const std::uint64_t size = source_->size();
  if (size < sizeof(Header) + sizeof(Footer)) {
    return fail(damaged("torn or truncated: no footer, at offset", size));
  }
  const std::uint64_t at = size - sizeof footer_;
  TRY_VOID(read_bytes(at, &footer_, sizeof footer_));
  if (footer_.magic != kFooterMagic) {
    return fail(damaged("torn or truncated: no footer, at offset", at));
  }
  if (checksum_of(footer_) != footer_.checksum) {
    return fail(damaged("checksum of the footer, at offset", at + offsetof(Footer, checksum)));
  }
  // The index ends where the footer begins: no byte stands between them.
  if (footer_.version != header_.version || footer_.id != header_.id ||
      footer_.file_bytes != size || footer_.index_offset < sizeof(Header) ||
      footer_.index_offset > at || footer_.index_bytes != at - footer_.index_offset ||
      footer_.index_bytes < sizeof(IndexHead)) {
    return fail(damaged("footer that does not belong to this file, at offset", at));
  }
  return {};
}

Expected<void> Reader::load_index() {
  index_.resize(footer_.index_bytes);
  TRY_VOID(read_bytes(footer_.index_offset, index_.data(), index_.size()));
  const std::uint64_t at = footer_.index_offset;
  if (base::hash_bytes(index_.data(), index_.size()) != footer_.index_checksum) {
    return fail(damaged("checksum of the index, at offset", at));
  }
  IndexHead head;
  std::memcpy(&head, index_.data(), sizeof head);
  if (head.header != header_.checksum) {
    return fail(damaged("index that does not belong to this header, at offset", at));
  }
  // Each count is compared first, so that the sum cannot overflow.
  const std::uint64_t most = index_.size() / sizeof(RegionEntry);
  if (head.regions > most || head.runs > most || head.groups > most || head.reserved != 0 ||
      sizeof head + head.regions * sizeof(RegionEntry) + head.runs * sizeof(RunEntry) +
              head.groups * sizeof(GroupEntry) !=
          index_.size()) {
    return fail(damaged("index whose tables do not fill it, at offset", at));
  }
  const std::byte* table = index_.data() + sizeof head;
  regions_ = {reinterpret_cast<const RegionEntry*>(table), head.regions};
  table += regions_.size_bytes();
  runs_ = {reinterpret_cast<const RunEntry*>(table), head.runs};
  table += runs_.size_bytes();
  groups_ = {reinterpret_cast<const GroupEntry*>(table), head.groups};
  return {};
}

std::uint64_t Reader::offset_of(const void* entry) const noexcept {
  return footer_.index_offset +
         static_cast<std::uint64_t>(static_cast<const std::byte*>(entry) - index_.data());
}

Expected<void> Reader::check_regions() const {
  std::uint64_t page = 0;
  for (const RegionEntry& region : regions_) {
    if (region.first != page || region.bytes == 0 || !is_page_aligned(region.bytes) ||
        region.bytes >> kPageShift > header_.pages - page) {
      return fail(damaged("impossible region, at offset", offset_of(&region)));
    }
    page += region.bytes >> kPageShift;
  }
  if (regions_.empty() || regions_.size() != header_.regions || page != header_.pages) {
    return fail(
        damaged("regions that are not those of the header, at offset", footer_.index_offset));
  }
  return {};
}

Expected<void> Reader::check_runs() const {
  std::uint64_t page = 0;
  for (const RunEntry& run : runs_) {
    TRY_VOID(check_run(run, page));
    page += run.pages;
  }
  if (page != header_.pages) {
    return fail(damaged("runs that do not cover the image, at offset", footer_.index_offset));
  }
  return {};
}

Expected<void> Reader::check_run(const RunEntry& run, std::uint64_t expected) const {
  bool good = run.first == expected && run.pages > 0 && run.pages <= header_.pages - expected;
  switch (run.kind) {
    case PageKind::filled:
      good = good && run.position == 0;
      break;
    case PageKind::data:
      good = good && run.value < groups_.size() && run.pages <= kGroupPages &&
             run.position < kGroupPages && run.position + run.pages <= groups_[run.value].pages;
      break;
    case PageKind::unchanged:
      good = good && run.position == 0 && is_incremental();
      break;
    default:
      good = false;
      break;
  }
  if (!good) return fail(damaged("impossible run of pages, at offset", offset_of(&run)));
  return {};
}

Expected<void> Reader::check_groups() const {
  std::uint64_t at = sizeof(Header);
  std::uint64_t pages = 0;
  for (const GroupEntry& group : groups_) {
    const std::uint64_t hashes = group.pages * sizeof(base::Hash128);
    const std::uint64_t raw = group.pages * kPageSize;
    if (group.offset != at || group.pages == 0 || group.pages > kGroupPages ||
        group.encoding > Encoding::zstd || group.bytes <= hashes || group.bytes > hashes + raw ||
        group.bytes > footer_.index_offset - at || group.reserved != 0) {
      return fail(damaged("impossible group of pages, at offset", offset_of(&group)));
    }
    at += group.bytes;
    pages += group.pages;
  }
  if (at != footer_.index_offset || pages != footer_.data_pages) {
    return fail(damaged("groups that do not fill the file, at offset", at));
  }
  return {};
}

Expected<void> Reader::set_base(std::unique_ptr<Reader> base) {
  Error error{.code = Errc::invalid_argument, .doing = "give an image its base"};
  if (!is_incremental() || base_ != nullptr) {
    error.remedy = "this image is full, or has its base: give none";
    return fail(error);
  }
  if (base->header_.id != header_.base_id) {
    error.remedy =
        "this is another image: give the one that the incremental image was made against";
    return fail(error);
  }
  if (base->footer_.index_checksum != header_.base_index) {
    return fail(
        damaged("base that was changed since, index at offset", base->footer_.index_offset));
  }
  for (const RunEntry& run : runs_) {
    if (run.kind != PageKind::unchanged) continue;
    if (run.value > base->header_.pages || run.pages > base->header_.pages - run.value) {
      return fail(damaged("run that its base does not have, at offset", offset_of(&run)));
    }
  }
  base_ = std::move(base);
  return {};
}

}  // namespace holdfast::image
