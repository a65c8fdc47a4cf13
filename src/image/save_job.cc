#include "image/save_job.h"

#include <algorithm>
#include <cstring>

namespace holdfast::image {

BasePages::BasePages(std::span<const RegionEntry> regions, std::span<const RegionEntry> base) {
  for (std::size_t i = 0; i < regions.size() && i < base.size(); ++i) {
    const std::uint64_t pages = std::min(regions[i].bytes, base[i].bytes) >> kPageShift;
    pieces_.push_back({regions[i].first, regions[i].first + pages, base[i].first});
  }
}

std::uint64_t BasePages::base_page(std::uint64_t page) const noexcept {
  for (const Piece& piece : pieces_) {
    if (page >= piece.first && page < piece.end) return piece.base_first + (page - piece.first);
  }
  return kNone;
}

void SaveJob::clear() noexcept {
  input_.clear();
  to_read_ = 0;
  result_ = {};
  pages_ = 0;
  output_.clear();
  kept_ = 0;
  group_count_ = 0;
  record_bytes_ = 0;
}

std::uint64_t SaveJob::add(const PageRun& run) {
  PageRun part = run;
  if (part.kind == PageKind::data) {
    part.pages = std::min<std::uint64_t>(part.pages, kPages - to_read_);
    to_read_ += static_cast<std::uint32_t>(part.pages);
  }
  input_.push_back(part);
  pages_ += part.pages;
  return part.pages;
}

void SaveJob::run(const SaveContext& context) {
  for (const PageRun& run : input_) {
    result_ = take(context, run);
    if (!result_) return;
  }
  pack_groups();
}

Expected<void> SaveJob::take(const SaveContext& context, const PageRun& run) {
  if (run.kind != PageKind::data) {
    emit(run.kind, run.first, run.pages, run.value);
    return {};
  }
  std::byte* const content = content_.get() + kept_ * kPageSize;
  TRY_VOID(context.source.read(run.first, static_cast<std::uint32_t>(run.pages), content));
  for (std::uint64_t i = 0; i < run.pages; ++i) {
    TRY_VOID(take_page(context, run.first + i, content + i * kPageSize));
  }
  return {};
}

// A page that was read: of one word, as in the base, or data, which moves up to the others.
Expected<void> SaveJob::take_page(const SaveContext& context, std::uint64_t page,
                                  std::byte* content) {
  if (const auto word = base::repeated_word(content)) {
    emit(PageKind::filled, page, 1, *word);
    return {};
  }
  const base::Hash128 hash = base::hash_page(content);
  const std::uint64_t in_base =
      context.base == nullptr ? BasePages::kNone : context.base_pages.base_page(page);
  if (in_base != BasePages::kNone) {
    Error error;
    const Reader::Holds holds = context.base->holds(in_base, hash, cache_, error);
    if (holds == Reader::Holds::failed) return fail(error);
    if (holds == Reader::Holds::yes) {
      emit(PageKind::unchanged, page, 1, in_base);
      return {};
    }
  }
  std::byte* const place = content_.get() + kept_ * kPageSize;
  if (place != content) std::memcpy(place, content, kPageSize);
  hashes_[kept_] = hash;
  emit(PageKind::data, page, 1, kept_ / kGroupPages, kept_ % kGroupPages);
  ++kept_;
  return {};
}

// Adds a run to the output, or lengthens the last one.
void SaveJob::emit(PageKind kind, std::uint64_t first, std::uint64_t pages, std::uint64_t value,
                   std::uint32_t position) {
  if (!output_.empty()) {
    RunEntry& last = output_.back();
    if (continues(last, {first, pages, value, kind, position})) {
      last.pages += pages;
      return;
    }
  }
  output_.push_back({first, pages, value, kind, position});
}

void SaveJob::pack_groups() {
  for (std::uint32_t at = 0; at < kept_; at += kGroupPages) {
    const std::uint32_t pages = std::min(kGroupPages, kept_ - at);
    std::byte* const record = records_.get() + record_bytes_;
    const std::uint64_t hash_bytes = pages * sizeof(base::Hash128);
    std::memcpy(record, hashes_ + at, hash_bytes);
    const Packed packed =
        compressor_.pack(content_.get() + at * kPageSize, pages, record + hash_bytes);
    const auto bytes = static_cast<std::uint32_t>(hash_bytes + packed.bytes);
    groups_[group_count_++] = {.offset = record_bytes_,
                               .bytes = bytes,
                               .encoding = packed.encoding,
                               .pages = static_cast<std::uint8_t>(pages),
                               .checksum = base::hash_bytes(record, bytes)};
    record_bytes_ += bytes;
  }
}

}  // namespace holdfast::image
