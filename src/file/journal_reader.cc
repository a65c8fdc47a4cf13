#include "file/journal_reader.h"

#include <algorithm>
#include <cstring>

namespace holdfast::file {

namespace {

constexpr const char* kDoing = "read journal";

bool is_zero(const std::byte* bytes, std::size_t count) noexcept {
  return std::all_of(bytes, bytes + count, [](std::byte byte) { return byte == std::byte{0}; });
}

std::unexpected<Error> damaged(std::uint64_t offset, const char* remedy) {
  return fail({.code = Errc::corrupted,
               .doing = kDoing,
               .what = "offset in the journal",
               .value = offset,
               .remedy = remedy});
}

}  // namespace

// False: the file ends before that.
Expected<bool> JournalReader::read(std::uint64_t offset, std::byte* to, std::uint64_t bytes) {
  std::uint64_t there = 0;
  int error = file_.size(there);
  if (error == 0 && (offset > there || bytes > there - offset)) return false;
  sys::IoRequest request{.data = to, .bytes = bytes, .offset = offset};
  if (error == 0) file_.read(std::span(&request, 1));
  if (error == 0) error = request.error;
  if (error == 0) return true;
  return fail({.code = Errc::io_error,
               .os_errno = error,
               .doing = kDoing,
               .what = "offset in the journal",
               .value = offset,
               .remedy = "the device fails: look at the kernel's log, and try again"});
}

Expected<bool> JournalReader::read_header() {
  // A block that is not all there was never flushed, so nothing that was is behind it.
  if (!TRY(read(0, buffer_, kPageSize))) return false;
  if (is_zero(buffer_, sizeof header_)) return false;
  std::memcpy(&header_, buffer_, sizeof header_);
  if (header_.magic != kJournalMagic || header_.checksum != header_.expected_checksum()) {
    return damaged(0, "it is no journal, or damaged: restore it, or remove it with what it holds");
  }
  if (header_.version != kJournalVersion || header_.page_bytes != kPageSize) {
    return fail({.code = Errc::unsupported,
                 .doing = kDoing,
                 .what = "version of the journal",
                 .value = header_.version,
                 .limit = kJournalVersion,
                 .remedy = "map the file once with the Holdfast that wrote it"});
  }
  return true;
}

bool JournalReader::is_next(const PartHeader& part, const JournalCursor& cursor) const noexcept {
  return part.magic == kPartMagic && part.salt == header_.salt &&
         part.sequence == cursor.sequence && part.part == cursor.part && part.pages <= kPartPages &&
         part.previous == cursor.previous && part.checksum == part.expected_checksum();
}

Expected<const PartHeader*> JournalReader::next(JournalCursor& cursor) {
  const auto& part = *reinterpret_cast<const PartHeader*>(buffer_);
  if (!TRY(read(cursor.position, buffer_, kPageSize)) || !is_next(part, cursor)) return nullptr;
  const std::uint64_t bytes = std::uint64_t{part.pages} << kPageShift;
  if (bytes > 0 && !TRY(read(cursor.position + kPageSize, pages(), bytes))) return nullptr;
  for (std::uint32_t i = 0; i < part.pages; ++i) {
    if (base::hash_page(pages() + std::uint64_t{i} * kPageSize) != part.page[i].hash) {
      return nullptr;
    }
  }
  const bool seal = part.pages == 0;
  cursor.position += kPageSize + bytes;
  cursor.sequence += seal ? 1 : 0;
  cursor.part = seal ? 0 : cursor.part + 1;
  cursor.previous = part.checksum;
  return &part;
}

// A commit is begun only when the one before it has been flushed.
Expected<bool> JournalReader::has_later_commit(const JournalCursor& from) {
  const auto& part = *reinterpret_cast<const PartHeader*>(buffer_);
  for (std::uint64_t at = from.position; TRY(read(at, buffer_, kPageSize)); at += kPageSize) {
    if (part.magic == kPartMagic && part.salt == header_.salt && part.sequence > from.sequence &&
        part.checksum == part.expected_checksum()) {
      return true;
    }
  }
  return false;
}

Expected<JournalSummary> JournalReader::summarize() {
  JournalSummary summary;
  if (const int error = file_.size(summary.file_bytes); error != 0) {
    return fail({.code = Errc::system, .os_errno = error, .doing = kDoing});
  }
  if (!TRY(read_header())) return summary;
  summary.header = header_;
  JournalCursor cursor = summary.end = start();
  std::uint64_t pages_under_way = 0;
  while (const PartHeader* const part = TRY(next(cursor))) {
    pages_under_way += part->pages;
    ++summary.torn_parts;
    if (part->pages != 0) continue;
    summary.end = cursor;
    summary.pages += std::exchange(pages_under_way, 0);
    ++summary.commits;
    summary.torn_parts = 0;
  }
  if (TRY(has_later_commit(cursor))) {
    return damaged(cursor.position,
                   "a commit is damaged, with others behind it: restore the journal, or remove it "
                   "with all commits from there on");
  }
  return summary;
}

}  // namespace holdfast::file
