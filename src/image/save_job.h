// One piece of a save: some runs, up to 64 pages of which have to be read. Told apart, hashed and
// compressed by one thread, while others are at work on other pieces, then appended in order.
//
// Who owns what: a job owns its buffers, which are used for piece after piece. Whoever runs it has
// it alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/base.h"
#include "image/group_codec.h"
#include "image/reader.h"
#include "image/run_source.h"

namespace holdfast::image {

// Where the pages of an image stand in its base: region by region, as far as the base has them.
class BasePages {
 public:
  static constexpr std::uint64_t kNone = ~std::uint64_t{0};

  BasePages() = default;
  BasePages(std::span<const RegionEntry> regions, std::span<const RegionEntry> base);
  // The base's image page at the same place as `page`, or kNone. Several threads at once.
  [[nodiscard]] std::uint64_t base_page(std::uint64_t page) const noexcept;

 private:
  struct Piece {
    std::uint64_t first, end, base_first;
  };
  std::vector<Piece> pieces_;  // ascending
};

// What all jobs of a save share; constant meanwhile.
struct SaveContext {
  RunSource& source;
  Reader* base = nullptr;  // null: the image is full
  BasePages base_pages = {};
};

class SaveJob {
 public:
  static constexpr std::uint32_t kPages = 64;
  static constexpr std::uint32_t kRuns = 256;

  explicit SaveJob(Encoding encoding) : compressor_(encoding) {}

  // --- filled by whoever has the runs ---
  // Takes as much of `run` as there is room for, from its beginning; returns how many pages.
  [[nodiscard]] std::uint64_t add(const PageRun& run);
  [[nodiscard]] bool empty() const noexcept { return input_.empty(); }
  [[nodiscard]] bool full() const noexcept { return input_.size() == kRuns || to_read_ == kPages; }
  void clear() noexcept;

  // --- run by any thread: task context, may wait for I/O ---
  void run(const SaveContext& context);

  // --- what came of it ---
  [[nodiscard]] const Expected<void>& result() const noexcept { return result_; }
  // Groups count from 0, their records from the beginning of records().
  [[nodiscard]] std::span<RunEntry> runs() noexcept { return output_; }
  [[nodiscard]] std::span<GroupEntry> groups() noexcept { return {groups_, group_count_}; }
  [[nodiscard]] std::span<const std::byte> records() const noexcept {
    return {records_.get(), record_bytes_};
  }
  [[nodiscard]] std::uint64_t pages() const noexcept { return pages_; }

 private:
  static constexpr std::uint32_t kGroups = kPages / kGroupPages;

  Expected<void> take(const SaveContext& context, const PageRun& run);
  Expected<void> take_page(const SaveContext& context, std::uint64_t page, std::byte* content);
  void emit(PageKind kind, std::uint64_t first, std::uint64_t pages, std::uint64_t value,
            std::uint32_t position = 0);
  void pack_groups();

  GroupCompressor compressor_;
  std::vector<PageRun> input_;
  std::uint32_t to_read_ = 0;  // pages of input runs of kind data

  Expected<void> result_;
  std::uint64_t pages_ = 0;  // of all runs
  std::vector<RunEntry> output_;
  Reader::HashCache cache_;
  std::uint32_t kept_ = 0;  // data pages that stand in content_, one after the other
  base::Hash128 hashes_[kPages];
  GroupEntry groups_[kGroups];
  std::uint32_t group_count_ = 0;
  std::uint64_t record_bytes_ = 0;
  // Not initialised: half a MiB for each job.
  std::unique_ptr<std::byte[]> content_ =
      std::make_unique_for_overwrite<std::byte[]>(kPages * kPageSize);
  std::unique_ptr<std::byte[]> records_ =
      std::make_unique_for_overwrite<std::byte[]>(kGroups * kRecordMax);
};

}  // namespace holdfast::image
