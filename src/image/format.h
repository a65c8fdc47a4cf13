// The format of a memory image, version 1. All numbers are little-endian. docs/image-format.md
// says the same in words, and why.
//
//   Header | group record ... | index: IndexHead, regions, runs, groups | Footer
//
//   image page   a page's number in the image: the regions' pages one after the other
//   run          successive image pages of one kind; the runs cover every image page once, in order
//   group        up to 16 data pages, compressed together: the unit of reading
//   record       a group as it stands in the file: one Hash128 for each page, then the payload
//
// Invariants, all of which a reader proves before it believes anything:
//   - header and footer carry checksums of themselves, the footer that of the index, the index that
//     of the header and of every record: no byte of a file is outside a checksum
//   - records follow one another without a gap from the header to the index, the index reaches to
//     the footer, and the footer is the file's end
//   - nothing is written twice: an image is appended from front to back, and is one when its footer
//     stands there
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "base/base.h"

namespace holdfast::image {

inline constexpr std::uint32_t kVersion = 1;
// As in PNG: a byte beyond ASCII, a name, and line ends, which a transfer as text would change.
inline constexpr std::uint64_t kHeaderMagic = 0x0a0d474d49464889;  // 89 'H' 'F' 'I' 'M' 'G' CR LF
inline constexpr std::uint64_t kFooterMagic = 0x444e45474d494648;  // "HFIMGEND"
inline constexpr std::uint32_t kGroupPages = 16;                   // 64 KiB
inline constexpr std::uint64_t kGroupBytes = kGroupPages * kPageSize;
// The most bytes that a record takes: one that does not get shorter is stored as it is.
inline constexpr std::uint64_t kRecordMax = kGroupPages * sizeof(base::Hash128) + kGroupBytes;

// Names an image: drawn by chance when it is written.
struct Id {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  [[nodiscard]] constexpr bool is_none() const noexcept { return low == 0 && high == 0; }
  friend constexpr bool operator==(const Id&, const Id&) noexcept = default;
};

struct Header {
  std::uint64_t magic = kHeaderMagic;
  std::uint32_t version = kVersion;
  std::uint32_t page_bytes = kPageSize;
  Id id;
  Id base_id;                      // of an incremental image; 0: it is full
  base::Hash128 base_index;        // the base's index checksum
  std::uint64_t pages = 0;         // image pages
  std::uint32_t regions = 0;       // at least 1
  std::uint32_t reserved[9] = {};  // 0
  base::Hash128 checksum;          // of the 112 bytes before it
};
static_assert(sizeof(Header) == 128 && offsetof(Header, checksum) == 112);

struct IndexHead {
  base::Hash128 header;       // the header's checksum: the index vouches for the whole file
  std::uint64_t regions = 0;  // entries of each table
  std::uint64_t runs = 0;
  std::uint64_t groups = 0;
  std::uint64_t reserved = 0;
};
static_assert(sizeof(IndexHead) == 48);

struct RegionEntry {
  std::uint64_t first = 0;  // its first image page
  std::uint64_t bytes = 0;  // its size, a multiple of kPageSize
};
static_assert(sizeof(RegionEntry) == 16);

enum class PageKind : std::uint32_t {
  filled = 1,     // each page is one 64-bit word, repeated
  data = 2,       // in one group
  unchanged = 3,  // as in the base image
};

struct RunEntry {
  std::uint64_t first = 0;  // image page
  std::uint64_t pages = 0;
  std::uint64_t value = 0;  // filled: the word. data: the group. unchanged: the base's image page
  PageKind kind = PageKind::filled;
  std::uint32_t position = 0;  // data: which page of the group the first one is
};
static_assert(sizeof(RunEntry) == 32);

// True if `next` goes on where `run` ends, so that one entry can say both.
[[nodiscard]] constexpr bool continues(const RunEntry& run, const RunEntry& next) noexcept {
  if (run.kind != next.kind || run.first + run.pages != next.first) return false;
  switch (run.kind) {
    case PageKind::filled:
      return run.value == next.value;
    case PageKind::data:
      return run.value == next.value && run.position + run.pages == next.position;
    case PageKind::unchanged:
      return run.value + run.pages == next.value;
  }
  return false;
}

enum class Encoding : std::uint8_t { raw = 0, lz4 = 1, zstd = 2 };

struct GroupEntry {
  std::uint64_t offset = 0;  // of its record in the file
  std::uint32_t bytes = 0;   // of its record
  Encoding encoding = Encoding::raw;
  std::uint8_t pages = 0;  // 1 to kGroupPages
  std::uint16_t reserved = 0;
  base::Hash128 checksum;  // of its record
};
static_assert(sizeof(GroupEntry) == 32);

struct Footer {
  std::uint64_t magic = kFooterMagic;
  std::uint32_t version = kVersion;
  std::uint32_t reserved = 0;
  Id id;                           // the header's
  std::uint64_t index_offset = 0;  // bytes
  std::uint64_t index_bytes = 0;
  std::uint64_t file_bytes = 0;  // with the footer
  std::uint64_t data_pages = 0;  // in groups of this file
  base::Hash128 index_checksum;
  std::uint64_t reserved_too[4] = {};
  base::Hash128 checksum;  // of the 112 bytes before it
};
static_assert(sizeof(Footer) == 128 && offsetof(Footer, checksum) == 112);

// The checksum that belongs into a header or footer.
template <class Ends>
[[nodiscard]] base::Hash128 checksum_of(const Ends& ends) noexcept {
  static_assert(std::is_trivially_copyable_v<Ends>);
  return base::hash_bytes(&ends, offsetof(Ends, checksum));
}

}  // namespace holdfast::image
