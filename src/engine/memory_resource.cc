#include "holdfast/memory_resource.h"

#include <mutex>
#include <new>
#include <utility>

#include "engine/region_heap.h"

namespace holdfast {

// The region, the allocator's tables (in ordinary memory) and the lock around them. Nobody touches
// managed memory under the lock, so a thread that waits for a page never makes others wait here.
struct RegionResource::State final : engine::PageTaker {
  explicit State(Region mapped)
      : region(std::move(mapped)),
        heap(reinterpret_cast<std::uintptr_t>(region.data()), region.size(), *this) {}

  bool give_back(std::uint64_t first_page, std::uint64_t pages) noexcept override {
    const auto base = reinterpret_cast<std::uintptr_t>(region.data());
    return region.advise(first_page * kPageSize - base, pages * kPageSize, Advice::free)
        .has_value();
  }

  Region region;
  mutable std::mutex mutex;
  engine::RegionHeap heap;
  std::uint64_t allocated = 0;
  std::uint64_t peak = 0;
};

RegionResource::RegionResource(std::unique_ptr<State> state) : state_(std::move(state)) {}

RegionResource::RegionResource(Engine& engine, std::uint64_t capacity) {
  auto region = engine.map_anonymous(capacity);
  if (!region) throw std::bad_alloc();
  state_ = std::make_unique<State>(std::move(*region));
}

Expected<std::unique_ptr<RegionResource>> RegionResource::create(Engine& engine,
                                                                 std::uint64_t capacity) {
  auto region = engine.map_anonymous(capacity);
  if (!region) return fail(region.error());
  auto state = std::make_unique<State>(std::move(*region));
  return std::unique_ptr<RegionResource>(new RegionResource(std::move(state)));
}

RegionResource::~RegionResource() = default;

std::uint64_t RegionResource::allocated_bytes() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->allocated;
}

std::uint64_t RegionResource::peak_bytes() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->peak;
}

std::uint64_t RegionResource::table_bytes() const noexcept {
  const std::lock_guard lock(state_->mutex);
  return state_->heap.table_bytes();
}

const Region& RegionResource::region() const noexcept { return state_->region; }

void* RegionResource::do_allocate(std::size_t bytes, std::size_t alignment) {
  if (in_interrupt_context()) throw std::bad_alloc();
  const std::lock_guard lock(state_->mutex);
  const auto address = state_->heap.allocate(bytes, alignment);
  if (!address) throw std::bad_alloc();
  state_->allocated += bytes;
  if (state_->allocated > state_->peak) state_->peak = state_->allocated;
  return reinterpret_cast<void*>(*address);
}

void RegionResource::do_deallocate(void* pointer, std::size_t bytes, std::size_t alignment) {
  if (in_interrupt_context()) return;  // it stays allocated: the lock may be the interrupted code's
  const std::lock_guard lock(state_->mutex);
  state_->heap.free(reinterpret_cast<std::uintptr_t>(pointer), bytes, alignment);
  state_->allocated -= bytes;
}

bool RegionResource::do_is_equal(const std::pmr::memory_resource& other) const noexcept {
  return this == &other;
}

}  // namespace holdfast
