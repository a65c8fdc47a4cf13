// The compressed-memory tier: images in size classes, in blocks paid for with frames of the pool.
//
// Who owns what: the tier owns its blocks and the frames charged for them. An object belongs to the
// slot whose location names it; its owner word is only a hint for those who walk a block.
//
// Concurrency: a lock per size class guards that class's blocks; reading an image takes none (the
// slot's lock bit keeps it in place). The pool is charged with no lock held, as its own locks rank
// above. Blocks that become empty are kept (a few) or given back at once; trim() gives back all.
//
// Write-back takes the oldest blocks (by when they were opened; an object that fills a hole of an
// old block counts as old). Compaction takes the sparsest blocks of a class that has room for their
// objects elsewhere.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <span>

#include "swap/ram_blocks.h"
#include "swap/tier.h"
#include "sync/sync.h"

namespace holdfast::swap {

class RamTier final : public Tier {
 public:
  // Errors: invalid_argument (block_bytes, a limit below one block), system.
  [[nodiscard]] static Expected<std::unique_ptr<Tier>> create(sys::Machine& machine,
                                                              page::FramePool& pool,
                                                              const TierOptions& options,
                                                              std::uint64_t slots_max,
                                                              unsigned index);
  ~RamTier() override;

  TierKind kind() const noexcept override { return TierKind::ram; }
  Compression compression() const noexcept override { return options_.compression; }
  Verdict add(std::uint32_t& writer, const Image& image, const WriteTerms& terms,
              Completion& completion, std::uint64_t& place, Error& error) noexcept override;
  void flush(std::uint32_t&, const WriteTerms&, Completion&) noexcept override {}
  const std::byte* image_at(std::uint64_t place) noexcept override {
    return blocks_.bytes_at(place);
  }
  void hold(Location) noexcept override {}
  void read(std::span<ReadItem> items, ReadSink& sink) noexcept override;
  void count_loads(std::uint64_t count) noexcept override;
  void free(Location location, Freeing freeing) noexcept override;
  std::uint32_t choose(Reason reason, std::span<std::uint32_t> units) noexcept override;
  void visit(std::uint32_t unit, ImageVisitor& visitor) noexcept override;
  void restore(std::uint32_t unit) noexcept override;
  void trim() noexcept override;
  bool wants(Reason reason) noexcept override;
  bool nearly_full() const noexcept override;
  std::uint64_t growth() const noexcept override;
  std::uint64_t held_bytes() const noexcept override { return charged_bytes(); }
  std::uint64_t charged_bytes() const noexcept override;
  std::uint64_t metadata_bytes() const noexcept override;
  TierStats stats() noexcept override;
  void begin_check() noexcept override;
  bool check_image(SlotIndex slot, Location location) noexcept override;
  bool end_check() noexcept override;

 private:
  using ClassMutex = sync::Mutex<sync::Rank::tier>;
  using ClassGuard = sync::MutexGuard<sync::Rank::tier>;
  struct ListLinks {
    static std::uint32_t& next(RamBlock& block) noexcept { return block.next; }
    static std::uint32_t& prev(RamBlock& block) noexcept { return block.prev; }
  };
  struct StackLinks {
    static std::atomic<std::uint32_t>& next(RamBlock& block) noexcept { return block.link; }
  };
  struct alignas(64) SizeClass {
    explicit SizeClass(std::span<RamBlock> blocks) noexcept : partial(blocks) {}
    ClassMutex mutex;
    base::IndexList<RamBlock, ListLinks> partial HF_GUARDED_BY(mutex);  // with a free object
    std::uint64_t room HF_GUARDED_BY(mutex) = 0;  // objects of all blocks that are not draining
    std::uint64_t used HF_GUARDED_BY(mutex) = 0;  // ... and how many of those live
    std::uint64_t added HF_GUARDED_BY(mutex) = 0, removed HF_GUARDED_BY(mutex) = 0;
    std::uint64_t image_bytes HF_GUARDED_BY(mutex) = 0;
  };

  RamTier(sys::Machine& machine, page::FramePool& pool, const TierOptions& options, unsigned index);
  Expected<void> prepare(std::uint64_t slots_max);
  [[nodiscard]] std::uint64_t allocate(std::uint32_t size_class, const Image& image,
                                       page::Priority priority) noexcept;
  std::uint64_t take_object(SizeClass& c, std::uint32_t size_class, const Image& image) noexcept
      HF_REQUIRES(c.mutex);
  [[nodiscard]] std::uint32_t obtain_block(page::Priority priority) noexcept;
  void release_block(std::uint32_t block) noexcept;
  void give_back(std::uint32_t block) noexcept;
  [[nodiscard]] bool isolate(std::uint32_t block) noexcept;
  [[nodiscard]] std::uint32_t isolate_sparsest(SizeClass& c, std::uint32_t size_class) noexcept;
  std::uint32_t choose_oldest(std::span<std::uint32_t> units) noexcept;
  std::uint32_t choose_sparse(std::span<std::uint32_t> units) noexcept;
  [[nodiscard]] static bool is_sparse(const SizeClass& c, std::uint32_t capacity) noexcept
      HF_REQUIRES(c.mutex);
  void note_sparse(const SizeClass& c, std::uint32_t size_class) noexcept HF_REQUIRES(c.mutex);
  [[nodiscard]] std::uint64_t blocks_in_use() const noexcept;
  [[nodiscard]] bool over(std::uint64_t percent) const noexcept;

  // --- constant after create() ---
  sys::Machine& machine_;
  page::FramePool& pool_;
  const TierOptions options_;
  const unsigned index_;
  std::uint32_t block_frames_ = 0;
  std::uint32_t blocks_max_ = 0;
  RamBlocks blocks_;
  std::deque<SizeClass> classes_;
  // --- lock-free ---
  sync::IndexStack<RamBlock, StackLinks> empty_;   // charged, memory stands
  sync::IndexStack<RamBlock, StackLinks> absent_;  // given back
  std::atomic<std::uint32_t> touched_{0};          // blocks that were ever used
  std::atomic<std::uint32_t> held_{0};             // blocks charged now
  std::atomic<std::uint32_t> clock_{0};            // blocks opened
  std::atomic<bool> pressed_{false};               // the pool has refused a block
  std::atomic<bool> sparse_{false};  // a class has become sparse since it was looked for
  bool relieving_ = false;           // the mover's own: between 90 and 80 percent
  alignas(64) std::atomic<std::uint64_t> loads_{0};
  std::atomic<std::uint64_t> refused_{0}, moved_{0}, compactions_{0};
  std::uint64_t checked_ = 0;  // begin_check() .. end_check()
};

}  // namespace holdfast::swap
