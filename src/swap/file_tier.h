// The file tier: images in clusters of a swap file, each batch written by one sequential write.
//
// Who owns what: the tier owns its file, the staging areas and the clusters; a session of writes
// has a writer (a staging area and an open cluster) from its first add() to flush(), a read has a
// read area for as long as it lasts. Staging memory is fixed: it is made at the beginning, and only
// what is used at the same time is ever backed.
//
// Flow of a write: add() packs images into the writer's segment (segment.h); a full segment, or
// flush(), is one write. Its slots learn their places only afterwards, so nobody reads what is not
// there. EIO: the cluster is retired, a fresh one is tried once, then the images are refused.
// ENOSPC: the same, and the file grows no more for a while.
// Flow of a read: extents sorted and merged, all in flight at once; a lone raw page is read
// straight into the caller's page.
//
// Encrypted: an image stands in the file sealed (seal.h), behind the number that its nonce is made
// of, which none before it had. That it is the latest of its slot is seen by the slot's hash.
//
// Waits for I/O; no lock is held anywhere. Any thread.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>

#include "swap/cluster_map.h"
#include "swap/seal.h"
#include "swap/segment.h"
#include "swap/tier.h"
#include "swap/tier_counters.h"

namespace holdfast::swap {

class FileTier final : public Tier {
 public:
  // Errors: invalid_argument (cluster_bytes, a limit below one cluster), and those of making the
  // file.
  [[nodiscard]] static Expected<std::unique_ptr<Tier>> create(sys::Machine& machine,
                                                              const TierOptions& options,
                                                              std::uint64_t slots_max,
                                                              unsigned index);
  ~FileTier() override;

  TierKind kind() const noexcept override { return TierKind::file; }
  Compression compression() const noexcept override { return options_.compression; }
  Verdict add(std::uint32_t& writer, const Image& image, const WriteTerms& terms,
              Completion& completion, std::uint64_t& place, Error& error) noexcept override;
  void flush(std::uint32_t& writer, const WriteTerms& terms,
             Completion& completion) noexcept override;
  const std::byte* image_at(std::uint64_t) noexcept override { return nullptr; }
  void hold(Location location) noexcept override;
  void read(std::span<ReadItem> items, ReadSink& sink) noexcept override;
  void count_loads(std::uint64_t count) noexcept override;
  void free(Location location, Freeing freeing) noexcept override;
  std::uint32_t choose(Reason reason, std::span<std::uint32_t> units) noexcept override;
  void visit(std::uint32_t unit, ImageVisitor& visitor) noexcept override;
  void restore(std::uint32_t unit) noexcept override;
  void trim() noexcept override;
  bool wants(Reason reason) noexcept override;
  bool nearly_full() const noexcept override;
  std::uint64_t held_bytes() const noexcept override {
    return std::uint64_t{clusters_.in_use()} * options_.cluster_bytes;
  }
  std::uint64_t charged_bytes() const noexcept override { return 0; }
  std::uint64_t metadata_bytes() const noexcept override;
  TierStats stats() noexcept override;
  void begin_check() noexcept override;
  bool check_image(SlotIndex slot, Location location) noexcept override;
  bool end_check() noexcept override;

 private:
  struct Writer {
    std::uint32_t cluster = base::kNoLink;  // open; none: no segment is begun
    std::uint32_t start = 0;                // where the segment begins in the cluster
    SegmentLayout layout;
    std::byte* buffer = nullptr;  // cluster_bytes, page-aligned
    std::byte* page = nullptr;    // encrypted: an image in plain
    std::array<std::uint32_t, kSegmentImagesMax> cookies;
  };
  struct Extent {
    std::uint64_t begin = 0, end = 0;    // in the file
    std::uint32_t first = 0, count = 0;  // which items
  };
  struct ReadArea {
    std::byte* buffer = nullptr;  // read_bytes_, page-aligned
    std::byte* page = nullptr;    // encrypted: an image in plain
    std::array<sys::IoRequest, kReadItemsMax> requests;
    std::array<Extent, kReadItemsMax> extents;
  };
  static constexpr std::uint32_t kNumberBytes = sizeof(std::uint64_t);

  FileTier(sys::Machine& machine, const TierOptions& options, unsigned index);
  Expected<void> prepare(std::uint64_t slots_max);
  Expected<void> prepare_staging();

  // file_tier.cc: writing
  [[nodiscard]] bool begin(Writer& w, const WriteTerms& terms) noexcept;
  [[nodiscard]] bool pack(Writer& w, const Image& image) noexcept;
  void write_out(Writer& w, const WriteTerms& terms, Completion& completion) noexcept;
  [[nodiscard]] int try_write(Writer& w) noexcept;
  void give_up_cluster(Writer& w, int error) noexcept;
  void settle(Writer& w, const WriteTerms& terms, Completion& completion) noexcept;
  void refuse(Writer& w, int error, Completion& completion) noexcept;
  [[nodiscard]] Image image_of(const Writer& w, std::uint32_t i) const noexcept;
  [[nodiscard]] Error full_error() const noexcept;

  // How many bytes an image of so many takes.
  [[nodiscard]] std::uint32_t room_for(std::uint32_t length) const noexcept {
    return sealer_ == nullptr ? length : kNumberBytes + length + Sealer::kTagBytes;
  }
  void seal(const SegmentEntry& entry, const std::byte* text, std::byte* to) noexcept;
  [[nodiscard]] bool open(const SegmentEntry& entry, const std::byte* sealed,
                          std::byte* text) noexcept;

  // file_read.cc: reading
  void hand_over(const ReadItem& item, const std::byte* image, const ReadArea& area,
                 ReadSink& sink) noexcept;
  [[nodiscard]] Extent extent_of(Location location, std::uint32_t i) const noexcept;
  [[nodiscard]] std::uint32_t merge(std::span<const ReadItem> items, ReadArea& area) noexcept;
  void prepare_requests(std::span<const ReadItem> items, ReadArea& area,
                        std::uint32_t extents) noexcept;
  void deliver(std::span<const ReadItem> items, const ReadArea& area, std::uint32_t extent,
               ReadSink& sink) noexcept;
  void read_singly(std::span<const ReadItem> items, const ReadArea& area, std::uint32_t extent,
                   ReadSink& sink) noexcept;

  // file_compaction.cc
  [[nodiscard]] bool walk(std::uint32_t unit, const ReadArea& area, ImageVisitor& visitor) noexcept;
  [[nodiscard]] bool walk_segment(const SegmentHeader& header, std::uint64_t place,
                                  const std::byte* bytes, const ReadArea& area,
                                  ImageVisitor& visitor, bool& stopped) noexcept;
  void keep_sparsest(std::span<std::uint32_t> units, std::uint32_t& found,
                     std::uint32_t cluster) noexcept;

  [[nodiscard]] std::uint32_t cluster_of(Location location) const noexcept {
    return static_cast<std::uint32_t>(location.place() / cluster_units_);
  }

  // --- constant after create() ---
  sys::Machine& machine_;
  const TierOptions options_;
  const unsigned index_;
  std::unique_ptr<sys::SwapFile> file_;
  std::unique_ptr<Sealer> sealer_;  // null: not encrypted
  std::uint32_t cluster_units_ = 0;
  std::uint64_t read_bytes_ = 0;  // of one read area
  Address staging_ = 0;
  std::uint64_t staging_bytes_ = 0;
  std::unique_ptr<Writer[]> writers_;
  std::unique_ptr<ReadArea[]> read_areas_;
  // --- own synchronisation ---
  ClusterMap clusters_;
  sync::LeasePool writer_pool_;
  sync::LeasePool read_pool_;
  TierCounters counters_;
  std::atomic<std::uint64_t> sealed_{0};  // images so far: the number of the last
  // --- the mover's own ---
  std::uint32_t scanned_ = 0;  // where the search for sparse clusters goes on
  std::uint32_t trims_ = 0;
};

}  // namespace holdfast::swap
