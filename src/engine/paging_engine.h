// The engine's implementation: builds the parts, wires them, guards the public calls.
//
// Order of building, and so of ending: frame pool, LRU, swap, regions and staging; the address
// space over them; the pmap, which delivers faults to the space; the swap cache; the reclaimer,
// which works on all of them. The queue of those who wait for pages ends first, then the reclaimer,
// the pmap before the memory that it knows.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "engine/file_table.h"
#include "engine/plan.h"
#include "engine/ready_queue.h"
#include "holdfast/engine.h"
#include "reclaim/reclaim.h"
#include "space/space.h"

namespace holdfast::engine {

class PagingEngine final : public Engine {
 public:
  static Expected<std::unique_ptr<PagingEngine>> create(sys::Machine& machine,
                                                        const Options& options);
  ~PagingEngine() override;

  Expected<Region> map_anonymous(std::uint64_t bytes, std::uint64_t capacity) override;
  using Engine::arm;
  using Engine::clone;
  using Engine::snapshot;
  Expected<std::vector<Region>> clone(std::span<const Source> sources) override;
  Expected<std::vector<Snapshot>> snapshot(std::span<const Source> sources) override;
  Expected<void> arm(std::span<const Source> regions) override;
  Expected<Region> restore(const Image& image, const RestoreOptions& options) override;
  Expected<FileMapping> map_file(const FileLocation& where, const FileOptions& options) override;
  Expected<Pin> pin(const void* address, std::size_t length, Access access,
                    PinAccountId account) override;
  Expected<Pin> try_pin(const void* address, std::size_t length, Access access,
                        PinAccountId account) override;
  Expected<PinAccountId> open_pin_account(const char* name, std::uint64_t limit_pages) override;
  Expected<void> close_pin_account(PinAccountId account) override;
  [[nodiscard]] bool owns(const void* address) const noexcept override;
  Stats stats() override;
  [[nodiscard]] std::string description() const override;
  std::uint64_t reclaim(std::uint64_t pages) override;
  bool defer(void (*fn)(void*) noexcept, void* argument) noexcept override;
  Expected<std::byte*> allocate_pages(unsigned order) override;
  void free_pages(std::byte* pages, unsigned order) noexcept override;
  void dump_holders(const void* address) override;
  bool check_all() override;

  // For regions.
  [[nodiscard]] space::AddressSpace& space() noexcept { return *space_; }
  [[nodiscard]] FileTable& files() noexcept { return files_; }
  [[nodiscard]] ReadyQueue& ready() noexcept { return *ready_; }
  void print(const char* line) noexcept { machine_.print_line(line); }
  // Whether a region of that size can be made now. Errors: those of map_anonymous.
  Expected<void> check_region(const char* doing, std::uint64_t bytes, std::uint64_t capacity);
  // The error of a task-only call that was made in interrupt context, counted.
  [[nodiscard]] Error refused_in_interrupt(const char* doing) noexcept;

 private:
  PagingEngine(sys::Machine& machine, const Options& options) noexcept
      : machine_(machine),
        options_(options),
        counters_(machine),
        files_(machine, counters_, write_pace(options)) {}
  Expected<void> build(const Plan& plan);
  Expected<Pin> pin_on(const void* address, std::size_t length, const space::PinTerms& terms);
  Expected<std::vector<space::RegionRecord*>> records_of(const char* doing,
                                                         std::span<const Source> sources);
  Expected<std::vector<space::RegionRecord*>> copy(const char* doing,
                                                   std::span<const Source> sources,
                                                   space::AddressSpace::CopyKind kind);
  static bool report(const Error& error, Address address, void* self) noexcept;
  Expected<Region> map_region(const char* doing, std::uint64_t bytes, std::uint64_t capacity,
                              object::SourceRef source);
  Expected<void> refuse_under_pressure(const char* doing, std::uint64_t bytes);
  bool make_room_for_block(unsigned order, int tries) noexcept;
  bool check_parts();
  void fill_counters(Stats& stats) const;
  void fill_swap(Stats& stats) const;

  sys::Machine& machine_;
  const Options options_;
  space::Counters counters_;
  FileTable files_;
  std::unique_ptr<page::FramePool> pool_;
  std::optional<lru::Lru> lru_;
  std::unique_ptr<swap::Swap> swap_;
  std::optional<space::RegionTable> regions_;
  std::optional<space::StagingPool> staging_;
  std::optional<space::FarRooms> far_rooms_;  // with a far tier only
  object::CleanHashes clean_;
  std::optional<space::Parts> parts_;
  std::optional<space::AddressSpace> space_;
  std::unique_ptr<pmap::Pmap> pmap_;
  std::unique_ptr<cache::SwapCache> cache_;
  std::optional<reclaim::Reclaimer> reclaimer_;
  std::optional<ReadyQueue> ready_;
};

}  // namespace holdfast::engine
