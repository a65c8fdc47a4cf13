// Snapshot: regions as they were at one moment, immutable, for as long as it lives.
//
// What it is for: a backup, a consistent read, a comparison of two moments, while the program goes
// on writing. Making one write-protects what is resident and copies nothing; a page is copied when
// somebody writes to it, once, however many snapshots and clones hold that version of it.
//
// Who owns what: a Snapshot owns its address range and one reference of every page's version as it
// was; moving it moves the ownership, destroying it drops them, in any order with the region that
// it was made of and with every other snapshot and clone. Pages whose last reference it was are
// freed lazily. A Snapshot is destroyed before its engine.
//
// Three ways to read it:
//     auto snapshot = engine->snapshot(region);
//     if (!snapshot) return report(snapshot.error());
//     1. as memory: plain loads from snapshot->data(). Pages come in as they are touched; a store
//        goes to the error handler (Errc::permission) and leaves the snapshot as it was. It may be
//        pinned, for reading.
//     2. snapshot->read(offset, buffer): no page is mapped for it, and nothing that is resident has
//        to leave. This is how a backup reads.
//     3. snapshot->for_each_run([&](const Run& run) { ...; return true; }, &earlier): what there is
//        to read at all; nothing is read to find out.
//
// Context: task only. Thread-safety: any number of threads may read one snapshot; dropping it while
// others use it is the caller's bug, as with munmap.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "holdfast/context.h"
#include "holdfast/error.h"

namespace holdfast {

enum class RunKind : std::uint8_t {
  data,       // read it
  zero,       // zeros: never touched, or known to be all zero
  unchanged,  // the same as in the snapshot that was given as `since`
};

// Neighbouring pages of one kind. Page-aligned; the last ends where the snapshot ends.
struct Run {
  std::uint64_t offset = 0;  // bytes from the start of the snapshot
  std::uint64_t bytes = 0;
  RunKind kind = RunKind::data;
  friend bool operator==(const Run&, const Run&) = default;
};

namespace detail {
// Which image, and which of its regions, a snapshot was saved to last. Two saves at once may leave
// halves of each: then it is neither.
class SavedTo {
 public:
  void set(std::uint64_t id_low, std::uint64_t id_high, std::uint64_t region) noexcept {
    low_ = id_low;
    high_ = id_high;
    region_ = region;
  }
  [[nodiscard]] bool is(std::uint64_t id_low, std::uint64_t id_high,
                        std::uint64_t region) const noexcept {
    return low_ == id_low && high_ == id_high && region_ == region;
  }

 private:
  std::atomic<std::uint64_t> low_{0}, high_{0}, region_{0};
};

// What a Snapshot stands for inside the engine. Implemented by the engine.
class SnapshotControl {
 public:
  // Told one run after the other, in ascending order. False: stop.
  using Visit = bool (*)(const Run& run, void* context);

  virtual Expected<void> read(std::uint64_t offset, std::span<std::byte> to) = 0;
  // since: null, or a snapshot of the same engine. compare: pages that may differ are compared.
  virtual Expected<void> visit(const SnapshotControl* since, bool compare, Visit tell,
                               void* context) = 0;
  virtual Expected<void> drop() = 0;
  [[nodiscard]] virtual const std::byte* base() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t size() const noexcept = 0;
  // Which engine it belongs to: an address, compared and never followed.
  [[nodiscard]] virtual const void* engine() const noexcept = 0;

  SavedTo saved_to;  // kept by save(), in image.h

 protected:
  ~SnapshotControl() = default;
};
}  // namespace detail

class Snapshot {
 public:
  Snapshot() noexcept = default;  // no snapshot: data() is null
  explicit Snapshot(detail::SnapshotControl* control) noexcept : control_(control) {}
  Snapshot(Snapshot&& other) noexcept : control_(other.control_) { other.control_ = nullptr; }
  Snapshot& operator=(Snapshot&& other) noexcept;
  Snapshot(const Snapshot&) = delete;
  Snapshot& operator=(const Snapshot&) = delete;
  ~Snapshot();

  [[nodiscard]] const std::byte* data() const noexcept {
    return control_ ? control_->base() : nullptr;
  }
  // Bytes, a whole number of pages: the region's size at that moment.
  [[nodiscard]] std::uint64_t size() const noexcept { return control_ ? control_->size() : 0; }
  [[nodiscard]] explicit operator bool() const noexcept { return control_ != nullptr; }

  // Copies to.size() bytes from `offset` on to `to`, without mapping anything. Any alignment; `to`
  // may itself lie in managed memory. Errors: invalid_argument (beyond the end), io_error and
  // corrupted (the page's slot cannot be read; what lies before it has been copied), not_mapped (no
  // snapshot), interrupt_context. May wait for I/O; allocates.
  HF_TASK_ONLY Expected<void> read(std::uint64_t offset, std::span<std::byte> to) const;

  // Calls fn(const Run&) for every run, in ascending order; together they cover the snapshot. fn
  // returns void, or bool (false: stop). Nothing is read: `unchanged` means that both snapshots
  // hold the same version of a page, `data` that it may have changed or may even be zeros. since:
  // an earlier (or any other) snapshot of the same engine; pages beyond its end count as zeros. fn
  // may touch managed memory and may call read(). Errors: invalid_argument (a snapshot of another
  // engine), not_mapped, interrupt_context.
  template <class Function>
  Expected<void> for_each_run(Function&& fn, const Snapshot* since = nullptr) const {
    return visit(since, false, thunk<std::remove_reference_t<Function>>,
                 const_cast<void*>(static_cast<const void*>(std::addressof(fn))));
  }

  // The runs that differ from `earlier`, of kind data or zero: compared byte by byte, but for pages
  // that are known to be the same, which are not read. Errors: as read() and for_each_run().
  // Allocates.
  HF_TASK_ONLY Expected<std::vector<Run>> diff(const Snapshot& earlier) const;

  // Drops it now; the Snapshot is empty afterwards.
  HF_TASK_ONLY Expected<void> drop();

  // For the engine: what it stands for.
  [[nodiscard]] detail::SnapshotControl* control() const noexcept { return control_; }

 private:
  template <class Function>
  static bool thunk(const Run& run, void* fn) {
    auto& function = *static_cast<Function*>(fn);
    if constexpr (std::is_void_v<decltype(function(run))>) {
      function(run);
      return true;
    } else {
      return function(run);
    }
  }
  Expected<void> visit(const Snapshot* since, bool compare, detail::SnapshotControl::Visit tell,
                       void* context) const;

  detail::SnapshotControl* control_ = nullptr;  // owned by the engine; cleared by drop and moves
};

}  // namespace holdfast
