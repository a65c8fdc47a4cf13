// Shadow pages, as docs/adr/0021 weighs them against the journal: a changed page is written to a
// free place of its file, and what says where it stands now makes it count.
//
// The file, all in blocks of kPageBytes:
//
//   area 0, area 1   of each: a table (the place of every page), and a log of records behind it
//   places           each for a page; there are more of them than pages
//
//   commit:      pages ─▶ free places, record ─▶ log ─▶ durable    the places before are free now
//   checkpoint:  table ─▶ the other area, of a new epoch, flushed  when a log is full
//
// A record says which pages went to which places. The newest table whose checksum is right, and the
// records of its epoch behind it, in order, are the file's content. Nothing that is committed is
// ever overwritten: a place is free once the commit that left it is durable.
//
// Durable in one of two ways:
//   two flushes  the pages; then the record, which is believed by its checksum
//   one flush    both; the record names each page's hash, too. The last record is believed if its
//                pages have these; the ones before it were flushed before it was written
//
// Free places are taken in order, round and round: where the file was written longest ago most has
// become free since, so neighbours are found as often as this can be had without moving pages.
//
// After trouble it is of no use any more; open() finds the last commit. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/base.h"
#include "files/extents.h"
#include "plain_memory.h"
#include "trouble.h"
#include "workload.h"

namespace holdfast::bench {

struct ShadowShape {
  std::uint32_t pages = 0;
  std::uint32_t spare = 0;  // places more than pages: the most that a commit changes, at least
  std::uint64_t log_bytes = 4 << 20;
};

struct ShadowManner {
  bool one_flush = true;
  bool direct = true;  // past the kernel's cache, all in flight at once
};

class ShadowFile {
 public:
  // Makes the file, with all blocks written: page i is content[i * kPageBytes], at place i.
  [[nodiscard]] static Result<std::unique_ptr<ShadowFile>> create(const std::string& path,
                                                                  const ShadowShape& shape,
                                                                  std::byte* content);
  // Opens what a crash has left.
  [[nodiscard]] static Result<std::unique_ptr<ShadowFile>> open(const std::string& path,
                                                                const ShadowShape& shape);
  ~ShadowFile();
  ShadowFile(const ShadowFile&) = delete;
  ShadowFile& operator=(const ShadowFile&) = delete;

  // These pages of `content`, each named once, are durable as a whole when it returns.
  [[nodiscard]] Result<void> commit(std::span<const std::uint32_t> pages, std::byte* content,
                                    ShadowManner manner);

  // In the file, of a page as the last commit left it.
  [[nodiscard]] std::uint64_t offset_of(std::uint32_t page) const {
    return places_start() + std::uint64_t{table_[page]} * kPageBytes;
  }
  // Pages a run: how many neighbours stand beside each other, on average.
  [[nodiscard]] double average_run() const;
  [[nodiscard]] std::uint64_t checkpoints() const { return checkpoints_; }

 private:
  struct Move {
    std::uint32_t page = 0;
    std::uint32_t place = 0;
  };
  struct TableHead {
    base::Hash128 checksum;  // of all that follows
    std::uint64_t magic = 0;
    std::uint64_t epoch = 0;
    std::uint32_t pages = 0;
    std::uint32_t places = 0;
  };
  struct RecordHead {
    base::Hash128 checksum;  // of all that follows
    std::uint64_t magic = 0;
    std::uint64_t epoch = 0;
    std::uint64_t sequence = 0;  // 0, 1, ... in its epoch
    std::uint32_t count = 0;     // of moves, which follow; then, if hashed, their pages' hashes
    std::uint32_t hashed = 0;
  };

  ShadowFile(const ShadowShape& shape, std::string path) : shape_(shape), path_(std::move(path)) {}
  [[nodiscard]] Result<void> begin(int more_flags);
  [[nodiscard]] std::uint32_t places() const { return shape_.pages + shape_.spare; }
  [[nodiscard]] std::uint64_t table_bytes() const;
  [[nodiscard]] std::uint64_t area_bytes() const { return table_bytes() + shape_.log_bytes; }
  [[nodiscard]] std::uint64_t places_start() const { return 2 * area_bytes(); }
  [[nodiscard]] static std::uint64_t record_bytes(std::uint64_t count, bool hashed);

  [[nodiscard]] Result<void> fill(std::byte* content);
  void take_places(std::span<const std::uint32_t> pages);
  std::uint64_t write_record(std::byte* content, bool hashed);
  [[nodiscard]] Result<void> write(const Extents& extents, bool direct);
  [[nodiscard]] Result<void> flush();
  [[nodiscard]] Result<void> checkpoint();
  void settle();

  [[nodiscard]] Result<void> recover();
  [[nodiscard]] std::optional<std::uint64_t> read_table(unsigned area);
  [[nodiscard]] const RecordHead* record_at(std::uint64_t position) const;
  void take_moves(const RecordHead& record);
  [[nodiscard]] bool has_its_pages(const RecordHead& record) const;

  const ShadowShape shape_;
  const std::string path_;
  int cached_ = -1;  // descriptors of the one file
  int direct_ = -1;
  std::unique_ptr<ExtentIo> io_;
  std::unique_ptr<PlainMemory> buffer_;  // area_bytes(): tables and records as they are written

  std::vector<std::uint32_t> table_;  // the place of every page, as committed
  std::vector<bool> taken_;           // by place
  std::uint32_t free_ = 0;
  std::uint32_t next_place_ = 0;  // where the search for a free one goes on
  unsigned area_ = 0;             // where the log is written
  std::uint64_t epoch_ = 0;
  std::uint64_t sequence_ = 0;
  std::uint64_t position_ = 0;  // in the log
  std::uint64_t checkpoints_ = 0;

  std::vector<Move> moves_;  // of the commit that is being made
  Extents pages_;
  Extents record_;
};

}  // namespace holdfast::bench
