// The swap: a slot map over a list of tiers, in any order.
//
// Who owns what: the slot map knows where each image is; each tier knows only its storage; sessions
// (write_session.h) bring the two together. See swap.h for the contract.
//
// Concurrency: no lock of its own. A slot's lock bit keeps its image in place for a moment; a hold
// keeps it for the length of a read. maintain() runs in one thread at a time.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "swap/codec.h"
#include "swap/slot_map.h"
#include "swap/swap.h"
#include "swap/tier.h"

namespace holdfast::swap {

class StackedSwap final : public Swap, private ReadSink {
 public:
  [[nodiscard]] static Expected<std::unique_ptr<Swap>> create(sys::Machine& machine,
                                                              page::FramePool& pool,
                                                              const SwapOptions& options);

  void store(std::span<StoreItem> items, page::Priority priority) noexcept override;
  using Swap::load;
  void load(std::span<LoadItem> items, Reach reach) noexcept override;
  void prefetch(SlotIndex slot) const noexcept override { slots_.prefetch(slot); }
  base::Hash128 hash_of(SlotIndex slot) const noexcept override { return slots_.hash_of(slot); }
  void get(SlotIndex slot) noexcept override { slots_.get(slot); }
  FrameIndex put(SlotIndex slot) noexcept override;
  bool promise(std::uint64_t slots) noexcept override;
  void unpromise(std::uint64_t slots) noexcept override;
  std::uint64_t promised() const noexcept override {
    return promised_.load(std::memory_order_relaxed);
  }
  SlotIndex share(FrameIndex frame) noexcept override;
  FrameIndex frame_of(SlotIndex slot) const noexcept override { return slots_.peek(slot).frame(); }
  bool try_get(SlotIndex slot, FrameIndex frame) noexcept override;
  bool relocate(SlotIndex slot, FrameIndex from, FrameIndex to) noexcept override;
  void note_hash(SlotIndex slot, base::Hash128 hash) noexcept override;
  bool matches(SlotIndex slot, base::Hash128 hash) noexcept override;
  std::uint32_t count_of(SlotIndex slot) const noexcept override { return slots_.count_of(slot); }
  bool has_far_tier() const noexcept override { return has_far_tier_; }
  bool is_far(SlotIndex slot) const noexcept override;
  bool maintain() noexcept override;
  bool nearly_full() const noexcept override;
  std::uint64_t room_mark() const noexcept override;
  SwapStats stats() const override;
  std::uint64_t compressed_bytes() const noexcept override;
  std::uint64_t metadata_bytes() const noexcept override;
  std::uint64_t staging_bytes() const noexcept override;
  bool check() noexcept override;

 private:
  // Items of one load() whose images have to be read.
  struct Reads {
    std::array<ReadItem, kReadItemsMax> items;
    std::size_t count = 0;
  };

  StackedSwap(sys::Machine& machine, page::FramePool& pool) noexcept
      : machine_(machine), pool_(pool), slots_(machine) {}
  Expected<void> add_tiers(page::FramePool& pool, const SwapOptions& options);

  void prefetch_image(Location location) const noexcept;
  void load_one(LoadItem& item, Reach reach, Reads& reads) noexcept;
  void run_reads(Reads& reads) noexcept;
  void arrived(const ReadItem& read, const std::byte* image) noexcept override;
  void failed(const ReadItem& read, const Error& error) noexcept override;
  void accept(LoadItem& item, bool decoded) noexcept;

  bool move(unsigned tier, Reason reason) noexcept;
  [[nodiscard]] bool check_slot(SlotIndex slot, std::uint64_t& used) noexcept;

  // --- constant after create() ---
  sys::Machine& machine_;
  page::FramePool& pool_;
  std::unique_ptr<Codec> codec_;
  std::vector<std::unique_ptr<Tier>> tiers_;
  bool has_far_tier_ = false;
  // --- own synchronisation ---
  SlotMap slots_;
  std::atomic<std::uint64_t> promised_{0};  // slots set aside for share()
  std::atomic<bool> maintaining_{false};
  std::atomic<std::uint64_t> releases_{0};  // images freed or moved
  // The mover's own: how it fares with a tier.
  struct Progress {
    // room_mark() + 1 when nothing was to be gained: until something is freed nothing is. 0: some
    // was.
    std::uint64_t futile_at = 0;
    std::uint32_t passes_without_gain = 0;  // in a row
  };
  std::array<std::array<Progress, kTiersMax>, 2> progress_{};  // by reason
  std::atomic<std::uint64_t> hash_mismatches_{0}, written_back_{0}, incompressible_{0};
};

}  // namespace holdfast::swap
