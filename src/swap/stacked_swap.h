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
  void load(std::span<LoadItem> items) noexcept override;
  void prefetch(SlotIndex slot) const noexcept override { slots_.prefetch(slot); }
  base::Hash128 hash_of(SlotIndex slot) const noexcept override { return slots_.hash_of(slot); }
  void get(SlotIndex slot) noexcept override { slots_.get(slot); }
  void put(SlotIndex slot) noexcept override;
  std::uint32_t count_of(SlotIndex slot) const noexcept override { return slots_.count_of(slot); }
  bool maintain() noexcept override;
  bool nearly_full() const noexcept override;
  std::uint64_t room_mark() const noexcept override;
  SwapStats stats() const override;
  std::uint64_t compressed_bytes() const noexcept override;
  std::uint64_t metadata_bytes() const noexcept override;
  bool check() noexcept override;

 private:
  // Items of one load() whose images have to be read.
  struct Reads {
    std::array<ReadItem, kReadItemsMax> items;
    std::size_t count = 0;
  };

  explicit StackedSwap(sys::Machine& machine) noexcept : machine_(machine), slots_(machine) {}
  Expected<void> add_tiers(page::FramePool& pool, const SwapOptions& options);

  void prefetch_image(Location location) const noexcept;
  void load_one(LoadItem& item, Reads& reads) noexcept;
  void run_reads(Reads& reads) noexcept;
  void arrived(const ReadItem& read, const std::byte* image) noexcept override;
  void failed(const ReadItem& read, int os_errno) noexcept override;
  void accept(LoadItem& item, bool decoded) noexcept;

  bool move(unsigned tier, Reason reason) noexcept;
  [[nodiscard]] bool check_slot(SlotIndex slot, std::uint64_t& used) noexcept;

  // --- constant after create() ---
  sys::Machine& machine_;
  std::unique_ptr<Codec> codec_;
  std::vector<std::unique_ptr<Tier>> tiers_;
  // --- own synchronisation ---
  SlotMap slots_;
  std::atomic<bool> maintaining_{false};
  std::atomic<std::uint64_t> releases_{0};  // images freed or moved
  // The mover's own, for each reason: room_mark() + 1 when nothing could be moved; 0: some was.
  std::array<std::array<std::uint64_t, kTiersMax>, 2> futile_{};
  std::uint32_t passes_without_gain_ = 0;  // the mover's own: of compaction, in a row
  std::atomic<std::uint64_t> hash_mismatches_{0}, written_back_{0}, incompressible_{0};
};

}  // namespace holdfast::swap
