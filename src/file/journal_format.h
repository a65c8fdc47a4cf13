// What a journal looks like in its file. docs/files.md says it in words; all numbers are
// little-endian, all blocks kPageSize bytes.
//
//   block 0   the header, in its first sector: it is written whole or not at all
//   then      commits, one behind the other; of each, parts: a part header, and its pages
//
// The last part of a commit is its seal, which has no pages. A part is believed if its checksum is
// right, it is of this salt, its number is the next, it names the checksum of the part before it,
// and each of its pages has the hash that it says. A commit is believed if its seal is. So one
// flush makes a commit durable, whatever order the disk writes in; and what was left by commits
// that failed, and by those before the salt was changed, is never taken for something else.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/base.h"

namespace holdfast::file {

inline constexpr std::uint64_t kJournalMagic = 0x4c4e524a46444c48;  // "HLDFJRNL"
inline constexpr std::uint64_t kPartMagic = 0x545241504a46444c;     // "LDFJPART"
inline constexpr std::uint32_t kJournalVersion = 1;
inline constexpr std::uint32_t kPartPages = 64;
inline constexpr std::uint64_t kJournalStart = kPageSize;  // of the first part

struct JournalHeader {
  std::uint64_t magic = kJournalMagic;
  std::uint32_t version = kJournalVersion;
  std::uint32_t page_bytes = kPageSize;
  std::uint64_t salt = 0;   // by chance, another each time the journal is begun anew
  std::uint64_t inode = 0;  // of the file to which it belongs
  std::uint64_t born_ns = 0;
  base::Hash128 checksum;  // of what stands before it

  [[nodiscard]] base::Hash128 expected_checksum() const noexcept {
    return base::hash_bytes(this, offsetof(JournalHeader, checksum));
  }
};
static_assert(sizeof(JournalHeader) == 56, "fits a sector, without padding");

struct PartPage {
  std::uint64_t index = 0;  // which page of the file
  std::uint32_t bytes = 0;  // of it that belong to the file: less than kPageSize for the last one
  std::uint32_t unused = 0;
  base::Hash128 hash;  // of all kPageSize bytes that stand in the journal
};

struct PartHeader {
  std::uint64_t magic = kPartMagic;
  std::uint64_t salt = 0;
  std::uint64_t sequence = 0;  // of its commit: 1, 2, ... since the salt was changed
  std::uint32_t part = 0;      // of its commit: 0, 1, ...
  std::uint32_t pages = 0;     // that follow; 0: the seal
  base::Hash128 previous;      // checksum of the part before it; of the first one: of the header
  PartPage page[kPartPages];
  std::byte unused[kPageSize - 64 - sizeof(PartPage) * kPartPages];
  base::Hash128 checksum;  // of what stands before it

  [[nodiscard]] base::Hash128 expected_checksum() const noexcept {
    return base::hash_bytes(this, offsetof(PartHeader, checksum));
  }
};
static_assert(sizeof(PartHeader) == kPageSize, "a block");

// Between two parts: where the next one stands, and what it must say.
struct JournalCursor {
  std::uint64_t position = kJournalStart;
  std::uint64_t sequence = 1;
  std::uint32_t part = 0;
  base::Hash128 previous;
};

}  // namespace holdfast::file
