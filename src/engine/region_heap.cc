#include "engine/region_heap.h"

#include <algorithm>

namespace holdfast::engine {
namespace {

constexpr std::uint32_t kNoClass = ~std::uint32_t{0};

// By 16-byte steps: the smallest class that holds so many.
constexpr auto kClassBySteps = [] {
  std::array<std::uint8_t, kLargestSlot / 16 + 1> table{};
  std::uint8_t size_class = 0;
  for (std::size_t steps = 0; steps < table.size(); ++steps) {
    while (kSlotSizes[size_class] < steps * 16) ++size_class;
    table[steps] = size_class;
  }
  return table;
}();

// The smallest class whose slots hold `bytes` and all lie on multiples of `alignment`; kNoClass if
// the object needs pages of its own.
std::uint32_t class_for(std::size_t bytes, std::size_t alignment) noexcept {
  if (bytes > kLargestSlot || alignment > kLargestSlot) return kNoClass;
  std::uint32_t size_class = kClassBySteps[(bytes + 15) / 16];
  while (kSlotSizes[size_class] % alignment != 0) ++size_class;  // 2048 suits every alignment
  return size_class;
}

}  // namespace

RegionHeap::RegionHeap(std::uintptr_t base, std::uint64_t bytes, PageTaker& taker)
    : base_(base), runs_(base / kPageSize, bytes / kPageSize, taker) {
  HF_CHECK2(base % kSlabBytes == 0 && bytes % kPageSize == 0, base, bytes);
}

std::optional<std::uintptr_t> RegionHeap::allocate(std::size_t bytes, std::size_t alignment) {
  HF_CHECK2(alignment != 0 && (alignment & (alignment - 1)) == 0, bytes, alignment);
  bytes = std::max<std::size_t>(bytes, 1);
  auto address = allocate_once(bytes, alignment);
  if (!address) {
    trim();
    address = allocate_once(bytes, alignment);
  }
  HF_DCHECK(!address || *address % alignment == 0);
  return address;
}

std::optional<std::uintptr_t> RegionHeap::allocate_once(std::size_t bytes, std::size_t alignment) {
  const std::uint32_t size_class = class_for(bytes, alignment);
  if (size_class != kNoClass) return allocate_small(size_class);
  const std::size_t page_alignment = std::max(alignment / kPageSize, std::size_t{1});
  const auto page = runs_.allocate(pages_for(bytes).value, page_alignment);
  if (!page) return std::nullopt;
  return *page * kPageSize;
}

std::optional<std::uintptr_t> RegionHeap::allocate_small(std::uint32_t size_class) {
  SizeClass& sizes = classes_[size_class];
  if (sizes.current == nullptr || sizes.current->full()) {
    Slab* const slab = next_slab(size_class);
    if (slab == nullptr) return std::nullopt;
    if (sizes.current != nullptr) sizes.current->place = Slab::Place::nowhere;
    sizes.current = slab;
    slab->place = Slab::Place::current;
  }
  return sizes.current->take();
}

Slab* RegionHeap::next_slab(std::uint32_t size_class) {
  SizeClass& sizes = classes_[size_class];
  if (Slab* const slab = sizes.roomy.pop()) return slab;
  if (Slab* const slab = make_slab(size_class)) return slab;
  return sizes.sparse.pop();
}

Slab* RegionHeap::make_slab(std::uint32_t size_class) {
  const auto page = runs_.allocate(kSlabPages, kSlabPages);
  if (!page) return nullptr;
  const std::uintptr_t address = *page * kPageSize;
  const std::size_t chunk = chunk_of(address);
  try {
    if (chunk >= slabs_.size()) slabs_.resize(chunk + 1);
    slabs_[chunk] = std::make_unique<Slab>(address, size_class);
  } catch (...) {
    runs_.free(*page, kSlabPages);
    throw;
  }
  slab_table_bytes_ += slabs_[chunk]->table_bytes();
  return slabs_[chunk].get();
}

void RegionHeap::free(std::uintptr_t address, std::size_t bytes, std::size_t alignment) noexcept {
  bytes = std::max<std::size_t>(bytes, 1);
  const std::uint32_t size_class = class_for(bytes, alignment);
  if (size_class == kNoClass) {
    HF_CHECK2(address % kPageSize == 0, address, bytes);
    runs_.free(address / kPageSize, pages_for(bytes).value);
    return;
  }
  const std::size_t chunk = chunk_of(address);
  // What was never allocated here, or with another size or alignment, is the caller's bug.
  HF_CHECK2(chunk < slabs_.size() && slabs_[chunk] != nullptr, address, bytes);
  HF_CHECK2(slabs_[chunk]->size_class() == size_class, address, bytes);
  free_small(*slabs_[chunk], address);
}

void RegionHeap::free_small(Slab& slab, std::uintptr_t address) noexcept {
  slab.give(address);
  if (slab.place == Slab::Place::current) return;
  SizeClass& sizes = classes_[slab.size_class()];
  if (slab.place == Slab::Place::sparse && (slab.empty() || slab.roomy())) {
    sizes.sparse.remove(slab);
  }
  if (slab.empty()) {
    if (slab.place == Slab::Place::roomy) sizes.roomy.remove(slab);
    destroy(slab);
  } else if (slab.place == Slab::Place::nowhere) {
    (slab.roomy() ? sizes.roomy : sizes.sparse).push(slab);
  }
}

void RegionHeap::destroy(Slab& slab) noexcept {
  HF_DCHECK(slab.empty() && slab.place == Slab::Place::nowhere);
  const std::uintptr_t address = slab.address();
  slab_table_bytes_ -= slab.table_bytes();
  slabs_[chunk_of(address)].reset();
  runs_.free(address / kPageSize, kSlabPages);
}

void RegionHeap::trim() noexcept {
  for (SizeClass& sizes : classes_) {
    if (sizes.current == nullptr || !sizes.current->empty()) continue;
    sizes.current->place = Slab::Place::nowhere;
    destroy(*std::exchange(sizes.current, nullptr));
  }
}

std::uint64_t RegionHeap::table_bytes() const noexcept {
  return slabs_.capacity() * sizeof(slabs_[0]) + slab_table_bytes_ + runs_.table_bytes();
}

void RegionHeap::check() const {
  runs_.check();
  for (const auto& slab : slabs_) {
    if (slab == nullptr) continue;
    slab->check();
    const bool listed = slab->place == Slab::Place::roomy || slab->place == Slab::Place::sparse;
    HF_CHECK2(listed == (!slab->full() && slab->place != Slab::Place::current), slab->address(),
              slab->used());
    HF_CHECK2(slab->place != Slab::Place::sparse || !slab->roomy(), slab->address(), slab->used());
    HF_CHECK2(!slab->empty() || slab->place == Slab::Place::current, slab->address(), 0);
  }
}

}  // namespace holdfast::engine
