// std::pmr::memory_resource over a region, so that standard containers work beyond RAM.
//
// What it is for: `std::pmr::vector`, `map`, `unordered_map`, `string` whose elements live in
// managed memory and may together be larger than the budget.
//
// Who owns what: the resource owns one Region of the engine and hands out parts of it; it outlives
// the containers and is destroyed before the engine. Freed memory is reused by size; whole runs of
// free pages are given back to the engine.
//
// Thread-safety: several threads at once. Context: task only (it locks). In interrupt context
// allocation throws std::bad_alloc, and what is deallocated stays allocated as long as the
// resource.
//
//     holdfast::RegionResource resource(engine, 8ull << 30);
//     std::pmr::unordered_map<std::pmr::string, std::pmr::vector<int>> index(&resource);
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <memory_resource>

#include "holdfast/engine.h"

namespace holdfast {

class RegionResource final : public std::pmr::memory_resource {
 public:
  // Maps a region of `capacity` bytes; memory is used only where it is touched. Throws
  // std::bad_alloc if it cannot be mapped; create() tells why instead.
  RegionResource(Engine& engine, std::uint64_t capacity);
  [[nodiscard]] static Expected<std::unique_ptr<RegionResource>> create(Engine& engine,
                                                                        std::uint64_t capacity);
  ~RegionResource() override;

  // Bytes handed out and not given back / the most that ever were.
  [[nodiscard]] std::uint64_t allocated_bytes() const noexcept;
  [[nodiscard]] std::uint64_t peak_bytes() const noexcept;
  // Ordinary memory that the allocator's own tables take, about: they lie outside the budget.
  [[nodiscard]] std::uint64_t table_bytes() const noexcept;
  [[nodiscard]] const Region& region() const noexcept;

 private:
  struct State;
  explicit RegionResource(std::unique_ptr<State> state);
  void* do_allocate(std::size_t bytes, std::size_t alignment) override;
  void do_deallocate(void* pointer, std::size_t bytes, std::size_t alignment) override;
  [[nodiscard]] bool do_is_equal(const std::pmr::memory_resource& other) const noexcept override;

  std::unique_ptr<State> state_;
};

}  // namespace holdfast
