// The engine: anonymous memory beyond RAM, under a budget.
//
// What it is for: regions of plain memory that may together be larger than the budget. Pages that
// are not needed leave to compressed RAM and files; a touch brings them back.
//
// Who owns what: the Engine owns frames, swap and threads; each Region owns its address range and
// must be destroyed before its engine; a Pin owns one reference and one pin on each page of its
// range. Several engines may live in one process.
//
// Typical flow:
//     holdfast::Options options;
//     options.memory_budget = 512 << 20;
//     auto engine = holdfast::Engine::create(options);
//     if (!engine) return report(engine.error());
//     auto region = (*engine)->map_anonymous(4ull << 30);
//     if (!region) return report(region.error());
//     auto* numbers = reinterpret_cast<std::uint64_t*>(region->data());
//     numbers[123456789] = 42;   // a plain store; comes back whenever it is touched
//
// Context: task context only, unless a function says "any context". Called from an asynchronous
// signal handler that interrupted the engine, or from a completion callback, a task-only function
// returns Errc::interrupt_context and changes nothing; a handler that interrupted ordinary code
// says what it is by an InterruptScope (holdfast/context.h). A signal handler must not touch
// managed memory that is not pinned. Thread-safety: every function may be called by several threads
// at once; destroying a Region while others use its memory is the caller's bug, as with munmap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "holdfast/context.h"
#include "holdfast/error.h"
#include "holdfast/options.h"
#include "holdfast/pin.h"
#include "holdfast/region.h"
#include "holdfast/snapshot.h"
#include "holdfast/stats.h"

namespace holdfast {

class FileMapping;
class Image;
struct FileLocation;
struct FileOptions;
struct RestoreOptions;
namespace detail {
class FileControl;
}

// What clones and snapshots can be made of. Borrowed for the length of the call.
class Source {
 public:
  Source(const Region& region) noexcept : region_(region.control()) {}
  Source(const Region* region) noexcept : region_(region ? region->control() : nullptr) {}
  Source(const Snapshot& snapshot) noexcept : snapshot_(snapshot.control()) {}
  Source(const Snapshot* snapshot) noexcept : snapshot_(snapshot ? snapshot->control() : nullptr) {}

  // Of a file: all of it, whatever part of it is mapped there.
  Source(const FileMapping& file) noexcept;
  Source(const FileMapping* file) noexcept;

  // One of the three, or none: an empty region, snapshot or mapping.
  [[nodiscard]] detail::RegionControl* region() const noexcept { return region_; }
  [[nodiscard]] detail::SnapshotControl* snapshot() const noexcept { return snapshot_; }
  [[nodiscard]] detail::FileControl* file() const noexcept { return file_; }

 private:
  detail::RegionControl* region_ = nullptr;
  detail::SnapshotControl* snapshot_ = nullptr;
  detail::FileControl* file_ = nullptr;
};

class Engine {
 public:
  // The least memory_budget at window_pages = 512: room for a few windows on their way out.
  static constexpr std::uint64_t kMinimumBudget = 8ull << 20;

  // Builds and starts an engine. Errors: invalid_argument (a budget too small or larger than the
  // machine, no tier), permission (userfaultfd refused: the remedy names sysctl, device or
  // capability), not_found / permission / system (the swap directory), unsupported. Allocates.
  [[nodiscard]] HF_TASK_ONLY static Expected<std::unique_ptr<Engine>> create(
      const Options& options);

  // Stops the threads and gives everything back. All regions are gone before. Task context: from an
  // interrupt it is a bug that aborts, for a destructor cannot refuse.
  virtual ~Engine() = default;

  // Reserves `bytes` (rounded up to a page; 1 to 2^46) of zero memory; nothing is resident until it
  // is touched. `capacity`: how far resize() may grow it in place (0: bytes). Alignment: 2 MiB.
  // Errors: invalid_argument, out_of_memory (address space; or memory pressure with no tier left).
  [[nodiscard]] HF_TASK_ONLY virtual Expected<Region> map_anonymous(std::uint64_t bytes,
                                                                    std::uint64_t capacity = 0) = 0;

  // Writable private copies of regions, snapshots and mapped files (file.h), at new addresses: one
  // for each source, in their order, all as they were at one moment. Nothing is copied but pages
  // that are pinned: those stay with their region, so that I/O in flight lands where its owner
  // looks. A writer that wants a point in time pauses for the call; stores that race with it may
  // fall on either side, but if one is in no copy, then neither is any that was made because of it.
  // All or nothing. Errors: invalid_argument (no source), not_mapped (an empty or unmapped region
  // or snapshot, or one of another engine), out_of_memory (frames for tables and for pinned pages,
  // address space), swap_full (too few slots to share what is resident), interrupt_context.
  // Allocates.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<std::vector<Region>> clone(
      std::span<const Source> sources);
  [[nodiscard]] HF_TASK_ONLY Expected<Region> clone(const Source& source);
  // The same, read-only and immutable: see snapshot.h. Of a snapshot: another one of that moment.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<std::vector<Snapshot>> snapshot(
      std::span<const Source> sources);
  [[nodiscard]] HF_TASK_ONLY Expected<Snapshot> snapshot(const Source& source);

  // Write-protects the regions now, a piece at a time and beside whatever goes on, so that the next
  // clone or snapshot has only to protect what has been written since. Each page's first write
  // afterwards costs a fault, as it will after the snapshot. Errors: as clone(), of its sources.
  HF_TASK_ONLY virtual Expected<void> arm(std::span<const Source> regions);
  HF_TASK_ONLY Expected<void> arm(const Source& region);

  // A region with the memory of an image: see restore() in image.h, which is how to call it.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<Region> restore(const Image& image,
                                                              const RestoreOptions& options);

  // A file as memory: see map_file() in file.h, which is how to call it.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<FileMapping> map_file(const FileLocation& where,
                                                                    const FileOptions& options);

  // Pins [address, address + length): brings it in, keeps it resident and unmoved until unpinned.
  // Any alignment; whole pages are pinned. On resident pages a few atomic operations and no system
  // call. Task context; on resident pages any context. Errors: interrupt_context (a page is not
  // resident), not_mapped (outside any region, or across two), pins_exceeded (value: pages that
  // are pinned already and asked for; limit: the most; holders: who has them), out_of_memory,
  // io_error, corrupted. Nothing is pinned then.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<Pin> pin(
      const void* address, std::size_t length, Access access = Access::write,
      PinAccountId account = PinAccountId::general) = 0;
  // The same for what is resident already: takes no fault and never waits. Any context, lock-free.
  // Errors: would_block (a page is not resident, or on its way), not_mapped, pins_exceeded.
  [[nodiscard]] HF_ANY_CONTEXT virtual Expected<Pin> try_pin(
      const void* address, std::size_t length, Access access = Access::write,
      PinAccountId account = PinAccountId::general) = 0;

  // Opens an account that pins can be charged to, with a limit in pages (at least 1); a page that
  // it pins twice counts twice. name: a literal, or outlives the engine and its errors. Errors:
  // invalid_argument, budget_exceeded (63 are open).
  [[nodiscard]] HF_TASK_ONLY virtual Expected<PinAccountId> open_pin_account(
      const char* name, std::uint64_t limit_pages) = 0;
  // Errors: busy (value: pages that it still pins), invalid_argument (not open).
  HF_TASK_ONLY virtual Expected<void> close_pin_account(PinAccountId account) = 0;

  // True if the address lies in a region of this engine (mapped, or unmapped under pins). Any
  // context, lock-free.
  [[nodiscard]] HF_ANY_CONTEXT virtual bool owns(const void* address) const noexcept = 0;

  // A snapshot of all counters. Allocates. Task context; all zeros in interrupt context.
  [[nodiscard]] HF_TASK_ONLY virtual Stats stats() = 0;
  // "remap, signal delivery, /dev/userfaultfd, MOVE": what was chosen on this machine.
  // Task context; empty in interrupt context.
  [[nodiscard]] HF_TASK_ONLY virtual std::string description() const = 0;

  // Runs reclaim until `pages` pages have left, or nothing more can; returns how many did. For
  // tests and for programs that know a good moment. Task context; 0 in interrupt context.
  HF_TASK_ONLY virtual std::uint64_t reclaim(std::uint64_t pages) = 0;

  // Runs fn(argument) in task context, soon, on the reclaimer's thread. Any context, lock-free.
  // False: the queue (1024) is full and nothing was queued. fn holds nobody up for long, and calls
  // neither check_all() nor the engine's destructor. Without background_reclaim it runs when
  // check_all() or the destructor does.
  [[nodiscard]] HF_ANY_CONTEXT virtual bool defer(void (*fn)(void*) noexcept,
                                                  void* argument) noexcept = 0;

  // Pages of the engine's own, outside any region: 2^order pages (order 0 to 9) of zeroed,
  // resident, naturally aligned memory, owned by the caller. The frames of a block are neighbours:
  // where free memory lies in pieces, pages are evicted until neighbours meet, and large orders may
  // be refused all the same (a region never is for that reason). Errors: invalid_argument,
  // out_of_memory, interrupt_context.
  [[nodiscard]] HF_TASK_ONLY virtual Expected<std::byte*> allocate_pages(unsigned order) = 0;
  // Frees them. Any context, lock-free: an owner can free its pages at any time.
  HF_ANY_CONTEXT virtual void free_pages(std::byte* pages, unsigned order) noexcept = 0;

  // Debug builds: names the holders of the page at `address` on standard error. Task context;
  // in interrupt context it does nothing.
  HF_TASK_ONLY virtual void dump_holders(const void* address) = 0;
  // Proves the whole engine consistent; callers see to it that nothing is in flight. False: it
  // said what on standard error, or was called in interrupt context.
  [[nodiscard]] HF_TASK_ONLY virtual bool check_all() = 0;
};

// Pins several buffers, all or none: pins[i] holds buffers[i] (nothing where it has no bytes).
// buffers: of Buffer, of iovec, of anything that a Buffer can be made of; as many pins as buffers
// at least. Task context; any where everything is resident. Errors: those of Engine::pin, and
// invalid_argument (too few pins).
template <class Element>
  requires std::is_constructible_v<Buffer, const Element&>
[[nodiscard]] Expected<void> pin_all(Engine& engine, std::span<const Element> buffers,
                                     std::span<Pin> pins, Access access = Access::write,
                                     PinAccountId account = PinAccountId::general) {
  if (pins.size() < buffers.size()) {
    return fail({.code = Errc::invalid_argument,
                 .doing = "pin buffers",
                 .what = "buffers",
                 .value = buffers.size(),
                 .limit = pins.size(),
                 .remedy = "give a Pin for each buffer"});
  }
  for (std::size_t i = 0; i < buffers.size(); ++i) {
    const Buffer buffer(buffers[i]);
    if (buffer.bytes == 0) continue;
    auto pinned = engine.pin(buffer.data, buffer.bytes, access, account);
    if (!pinned) {
      for (std::size_t held = 0; held < i; ++held) pins[held].reset();
      return std::unexpected(pinned.error());
    }
    pins[i] = std::move(*pinned);
  }
  return {};
}
template <class Buffers>
  requires requires(const Buffers& buffers) { std::span(buffers); }
[[nodiscard]] Expected<void> pin_all(Engine& engine, const Buffers& buffers, std::span<Pin> pins,
                                     Access access = Access::write,
                                     PinAccountId account = PinAccountId::general) {
  using Element = std::remove_cvref_t<decltype(*std::span(buffers).data())>;
  return pin_all<Element>(engine, std::span<const Element>(buffers), pins, access, account);
}

}  // namespace holdfast
