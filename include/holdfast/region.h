// Region: a range of managed memory, as plain pointers.
//
// Who owns what: a Region owns its address range and what is in it; moving it moves the ownership,
// destroying it unmaps (in interrupt context: unmaps later). Pinned pages outlive it until their
// last pin goes (the address range stays reserved until then); everything else is given back at
// once.
//
// Context: task only, but unmap_later(), data() and size(). Thread-safety: see engine.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "holdfast/context.h"
#include "holdfast/error.h"
#include "holdfast/ready.h"

namespace holdfast {

// How a range will be used.
enum class Advice : std::uint8_t {
  normal,      // detect streams, as by default
  sequential,  // bring in long runs at once
  random,      // never bring in more than was touched
  will_need,   // bring it in now, as far as the budget allows (prefetch)
  cold,        // let it go first
  free,        // its content is no longer needed: it reads as zeros
};

class Region;

namespace detail {
// What a Region stands for inside the engine. Implemented by the engine.
class RegionControl : public ReadyControl {
 public:
  virtual Expected<void> resize(std::uint64_t bytes) = 0;
  virtual Expected<void> advise(std::uint64_t offset, std::uint64_t bytes, Advice advice) = 0;
  virtual Expected<std::uint64_t> prefetch(std::uint64_t offset, std::uint64_t bytes) = 0;
  virtual Expected<void> unmap() = 0;
  virtual Expected<void> unmap_later() noexcept = 0;
  [[nodiscard]] virtual std::byte* base() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  // Which engine it belongs to: an address, compared and never followed.
  [[nodiscard]] virtual const void* engine() const noexcept { return nullptr; }

 protected:
  ~RegionControl() = default;
};
}  // namespace detail

class Region {
 public:
  Region() noexcept = default;  // no region: data() is null
  explicit Region(detail::RegionControl* control) noexcept : control_(control) {}
  Region(Region&& other) noexcept : control_(other.control_) { other.control_ = nullptr; }
  Region& operator=(Region&& other) noexcept;
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  ~Region();

  [[nodiscard]] HF_ANY_CONTEXT std::byte* data() const noexcept {
    return control_ ? control_->base() : nullptr;
  }
  [[nodiscard]] HF_ANY_CONTEXT std::uint64_t size() const noexcept {
    return control_ ? control_->size() : 0;
  }
  [[nodiscard]] explicit operator bool() const noexcept { return control_ != nullptr; }

  // Grows (new memory reads as zeros) or shrinks in place; the address never changes. bytes: 1 to
  // the capacity given to map_anonymous. Errors: invalid_argument (limit: the capacity),
  // not_mapped, busy (pages to be cut off are pinned), interrupt_context.
  HF_TASK_ONLY Expected<void> resize(std::uint64_t bytes);

  // Tells how [offset, offset + bytes) will be used. offset, bytes: whole pages are affected, those
  // that the range touches for hints, those that lie inside it for Advice::free. Errors:
  // invalid_argument (outside the region), busy (free: a page is pinned; nothing was freed).
  HF_TASK_ONLY Expected<void> advise(std::uint64_t offset, std::uint64_t bytes, Advice advice);

  // Brings the range in and waits; returns how many pages came in. Stops early, without error, when
  // the rest would push out what it has just brought in. Errors: invalid_argument, io_error, ...
  HF_TASK_ONLY Expected<std::uint64_t> prefetch(std::uint64_t offset, std::uint64_t bytes);

  // co_await it: the range comes in without a thread that waits; how many pages were not there (see
  // ready.h). Errors: invalid_argument (outside the region), not_mapped (also: unmapped meanwhile),
  // budget_exceeded (more than half of what fits in memory), io_error, corrupted, out_of_memory,
  // interrupt_context, and system (its thread, which the first one starts). The other pages of the
  // range may have come in.
  [[nodiscard]] Ready ready(std::uint64_t offset, std::uint64_t bytes) const noexcept {
    return {control_, offset, bytes};
  }

  // Gives everything back now; the Region is empty afterwards. A second unmap is not_mapped.
  HF_TASK_ONLY Expected<void> unmap();

  // Hands the region to the reclaimer's thread, which unmaps it soon; the Region is empty
  // afterwards, and its memory must not be touched any more. Any context, lock-free: how an
  // interrupt frees a whole region. Errors: would_block (the queue of deferred work is full: the
  // Region is still whole, try again), not_mapped.
  HF_ANY_CONTEXT Expected<void> unmap_later() noexcept;

  // For the engine: what it stands for.
  [[nodiscard]] detail::RegionControl* control() const noexcept { return control_; }

 private:
  detail::RegionControl* control_ = nullptr;  // owned by the engine; cleared by unmap and moves
};

}  // namespace holdfast
