// The allocator behind RegionResource: small objects in slabs, larger ones in runs of pages.
//
// What it is for: turns one range of managed memory into objects of any size and alignment. It
// computes with addresses only and keeps its tables in ordinary memory: it never reads or writes
// the range, so it never causes a fault, and it can be tested without any memory behind it.
//
// Flow: up to 2048 bytes, the smallest slot size that fits and that keeps the alignment; the
// class's current slab gives its lowest free slot; when it is full, a slab with an eighth of its
// slots free is gone back to, else a fresh one is cut. Above, whole pages. A slab that becomes
// empty, and every longer run of free pages, goes back to the PageTaker.
//
// Context: task, one thread at a time (RegionResource locks).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "engine/page_runs.h"
#include "engine/slab.h"

namespace holdfast::engine {

class RegionHeap {
 public:
  // Manages [base, base + bytes): multiples of kSlabBytes and of kPageSize. The taker outlives
  // this.
  RegionHeap(std::uintptr_t base, std::uint64_t bytes, PageTaker& taker);

  // The address of `bytes` bytes (0 counts as 1), a multiple of `alignment` (a power of two), or
  // nothing: the range is full. Throws std::bad_alloc when a table cannot grow.
  [[nodiscard]] std::optional<std::uintptr_t> allocate(std::size_t bytes, std::size_t alignment);
  // Takes back what allocate(bytes, alignment) gave. Never touches it.
  void free(std::uintptr_t address, std::size_t bytes, std::size_t alignment) noexcept;

  // Ordinary memory that the tables take, about.
  [[nodiscard]] std::uint64_t table_bytes() const noexcept;
  [[nodiscard]] const PageRuns& runs() const noexcept { return runs_; }
  // Gives back the empty slabs that are kept because they are current. allocate() does so itself
  // before it refuses.
  void trim() noexcept;
  // Proves the tables consistent; aborts if not. For tests.
  void check() const;

 private:
  struct SizeClass {
    Slab* current = nullptr;
    SlabList roomy{Slab::Place::roomy};
    SlabList sparse{Slab::Place::sparse};
  };

  [[nodiscard]] std::optional<std::uintptr_t> allocate_once(std::size_t bytes,
                                                            std::size_t alignment);
  [[nodiscard]] std::optional<std::uintptr_t> allocate_small(std::uint32_t size_class);
  [[nodiscard]] Slab* next_slab(std::uint32_t size_class);
  [[nodiscard]] Slab* make_slab(std::uint32_t size_class);
  void free_small(Slab& slab, std::uintptr_t address) noexcept;
  void destroy(Slab& slab) noexcept;
  [[nodiscard]] std::size_t chunk_of(std::uintptr_t address) const noexcept {
    return (address - base_) / kSlabBytes;
  }

  const std::uintptr_t base_;
  PageRuns runs_;
  std::array<SizeClass, kSlotSizes.size()> classes_;
  std::vector<std::unique_ptr<Slab>> slabs_;  // by chunk of kSlabBytes; null where there is none
  std::uint64_t slab_table_bytes_ = 0;
};

}  // namespace holdfast::engine
