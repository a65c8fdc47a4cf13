// Facade of swap/: swap slots, compression, and the tiers that hold what is not resident.
//
// What it is for: store() turns pages into slots, load() turns slots into pages, whichever tier
// holds them. A slot keeps the 128-bit hash of its page; load() checks it, so that a damaged slot
// is an error and never data.
//
// Who owns what: a slot has a count (one per page-table entry or resident page that keeps it); the
// last put() frees its storage. Tiers own their storage; compressed RAM is paid for with frames
// charged to the frame pool.
//
// Flow of a write-out (reclaim/):  hash page -> if page.slot() holds that hash: clean, nothing to
//   do; else store() -> entry refers to the slot. Flow of a fault (space/): load() -> page.
// The caller keeps page-table entries busy meanwhile, so that nobody else stores, loads or puts the
// same slot; within swap/, write-back and compaction move images about under per-slot locks.
//
// A *version* is a slot whose page stands in a frame and has no image yet: the content that several
// share copy-on-write. Its holders cannot tell it from any other slot; it holds one reference of
// the page (Holder::entry). When the page is written to, the version goes on with a copy of it
// (relocate()); when it is evicted, store() puts its image into the version. So what happens to a
// shared page costs the same however many share it.
//
// Tiers are tried in order. An image that a tier cannot take (its share is used up, ENOSPC, EIO)
// goes to the next; an error from a device retires that place for good. With no tier left the item
// fails with swap_full or io_error and the page stays where it is: nothing is lost.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/base.h"
#include "page/page.h"
#include "sys/sys.h"

namespace holdfast::swap {

enum class Compression : std::uint8_t { none, lz4, zstd };

enum class TierKind : std::uint8_t { ram, file, rados };

// As users write it: "ram", "file", "rados".
[[nodiscard]] const char* name(TierKind kind) noexcept;

struct TierOptions {
  TierKind kind = TierKind::ram;
  Compression compression = Compression::lz4;  // ram: lz4 or zstd; others: none stores pages raw
  std::uint64_t limit_bytes = 0;  // ram: share of memory; others: bytes there; 0: no limit
  std::string directory = {};     // file: where the swap file is made
  sys::IoBackend io = sys::IoBackend::automatic;
  std::uint32_t block_bytes = 64 * 1024;     // ram: unit of growth; tests use smaller ones
  std::uint32_t cluster_bytes = 256 * 1024;  // file: unit of sequential writing and of reuse
  bool encrypted = false;                    // file: pages are sealed, as in rados they always are
  sys::ObjectStoreOptions far = {};          // rados: where
  std::uint32_t object_bytes = 4096 * 1024;  // rados: unit of writing and of removal
  std::uint32_t staging = 4;                 // rados: objects in memory, filling or on their way
  std::uint32_t reads = 0;                   // rados: reads at a time; 0: by the number of CPUs
};

struct SwapOptions {
  std::vector<TierOptions> tiers;  // in the order in which they are tried; at least one
  std::uint64_t slots_max = 0;     // the most slots that can exist: pages of all regions' budget
};

struct StoreItem {
  // in: kPageSize bytes, stable until store() returns; if they change all the same, the image of a
  // new slot is worthless, and a version does not get it (error: busy).
  const std::byte* page = nullptr;
  base::Hash128 hash = {};   // in
  SlotIndex into = {};       // in: the version that gets the image; none: a new slot
  SlotIndex slot = {};       // out: a new slot with count 1, or `into`; none: failed
  FrameIndex replaced = {};  // out: where the version stood: its reference is the caller's
  Error error = {};          // out: why it failed; code is meaningful only then
};

// Which tiers load() may ask. memory: those that nobody waits for; here: those of this machine,
// which answer soon or not at all.
enum class Reach : std::uint8_t { memory, here, anywhere };

struct LoadItem {
  SlotIndex slot;             // in
  std::byte* page = nullptr;  // in: kPageSize bytes of room, aligned to kPageSize
  bool ok = false;            // out
  bool from_memory = false;   // out: its image takes memory, and took no device to read
  bool is_beyond = false;     // out: not loaded, for it is out of reach
  Error error = {};           // out, if not ok: io_error or corrupted; page is undefined
};

struct TierStats {
  TierKind kind = TierKind::ram;
  std::uint64_t pages = 0;        // slots whose image is here
  std::uint64_t image_bytes = 0;  // sum of their images
  std::uint64_t held_bytes = 0;   // what the tier takes in memory, in the file, in the pool
  std::uint64_t limit_bytes = 0;
  std::uint64_t stores = 0, loads = 0, frees = 0;
  std::uint64_t written_bytes = 0, read_bytes = 0;  // device traffic
  std::uint64_t refused_full = 0;  // images passed on because the share was used up
  std::uint64_t write_errors = 0, read_errors = 0;
  std::uint64_t places_retired = 0;
  std::uint64_t compactions = 0, moved = 0;  // compaction passes, images moved by them
};

struct SwapStats {
  std::vector<TierStats> tiers;
  std::uint64_t slots_used = 0, slots_max = 0;
  std::uint64_t hash_mismatches = 0;
  std::uint64_t written_back = 0;    // images moved from one tier down to the next
  std::uint64_t incompressible = 0;  // pages stored raw
  std::uint64_t metadata_bytes = 0;  // slot map and tiers' books
};

class Swap {
 public:
  // Errors: invalid_argument (no tier, a limit below one block), not_found, permission, system.
  [[nodiscard]] static Expected<std::unique_ptr<Swap>> create(sys::Machine& machine,
                                                              page::FramePool& pool,
                                                              const SwapOptions& options);
  virtual ~Swap() = default;

  // Stores each page in a new slot, batching device writes. Items fail one by one. May wait for
  // I/O. Task context, no ranked lock held, several threads at once; no malloc: a fault handler
  // that reclaims for itself calls it. `priority`: how far it may go into the frame pool's reserve
  // for compressed memory.
  virtual void store(std::span<StoreItem> items, page::Priority priority) noexcept = 0;
  // Brings pages back; the slots stay (and stay valid: a page that is not changed keeps its slot).
  // All device reads of one call are in flight together. May wait: for far memory, as long as it is
  // given to answer, unless that is out of reach; with Reach::memory, for nothing. Task context, no
  // lock held. The same slot may be loaded by several at once, if each has a count of it.
  virtual void load(std::span<LoadItem> items, Reach reach) noexcept = 0;
  void load(std::span<LoadItem> items) noexcept { load(items, Reach::anywhere); }

  // A hint that the slot will be loaded soon, given before the caller takes what it needs for that:
  // slots lie scattered over memory, and a miss of all caches costs as much as a lock. Any context.
  virtual void prefetch(SlotIndex slot) const noexcept = 0;

  // The hash kept with a slot. The caller holds a count of it. Any context.
  [[nodiscard]] virtual base::Hash128 hash_of(SlotIndex slot) const noexcept = 0;
  // One more holder of the slot / one less; the last frees its storage. Task context, lock rank
  // slot_map may be taken.
  virtual void get(SlotIndex slot) noexcept = 0;
  // Of a version, the last put returns the frame where it stood; its reference passes to the
  // caller. Otherwise none.
  virtual FrameIndex put(SlotIndex slot) noexcept = 0;

  // --- versions ---
  // Sets slots aside for share(), so that it cannot fail: all or none. / Gives them back.
  [[nodiscard]] virtual bool promise(std::uint64_t slots) noexcept = 0;
  virtual void unpromise(std::uint64_t slots) noexcept = 0;
  [[nodiscard]] virtual std::uint64_t promised() const noexcept = 0;
  // A version with count 1 of the page in `frame`; takes over a reference of the page from the
  // caller, and one slot of those that were promised.
  [[nodiscard]] virtual SlotIndex share(FrameIndex frame) noexcept = 0;
  // Where the version stands; none: the slot has an image. The answer lasts while the caller keeps
  // the page from being written to and evicted (its entry's lock). Any context.
  [[nodiscard]] virtual FrameIndex frame_of(SlotIndex slot) const noexcept = 0;
  // One more holder, if the slot is held at all and stands in that frame. False: it is or does not.
  [[nodiscard]] virtual bool try_get(SlotIndex slot, FrameIndex frame) noexcept = 0;
  // The version goes on with a copy. True: the reference to `from` passes to the caller, the
  // caller's to `to` to the version. False: it does not stand in `from` any more.
  [[nodiscard]] virtual bool relocate(SlotIndex slot, FrameIndex from, FrameIndex to) noexcept = 0;
  // The hash of a version that somebody has read, so that a copy may rejoin it before it has an
  // image. The caller holds a count.
  virtual void note_hash(SlotIndex slot, base::Hash128 hash) noexcept = 0;
  // True if the slot's page has this hash, as far as is known. The caller holds a count.
  [[nodiscard]] virtual bool matches(SlotIndex slot, base::Hash128 hash) noexcept = 0;

  [[nodiscard]] virtual std::uint32_t count_of(SlotIndex slot) const noexcept = 0;

  // True if a tier is beyond this machine. Constant.
  [[nodiscard]] virtual bool has_far_tier() const noexcept = 0;
  // True if the slot's image is there, as load() with Reach::here would find it now; a mover may
  // change that at any time. The caller holds a count. Any context.
  [[nodiscard]] virtual bool is_far(SlotIndex slot) const noexcept = 0;

  // Housekeeping, called by the reclaimer's thread with nothing held. Moves images from a tier that
  // nears its share to the next one, compacts what is sparse, gives empty blocks back; returns true
  // if there is more to do. May wait for I/O.
  virtual bool maintain() noexcept = 0;
  // True when new slots are getting scarce: whoever keeps a slot for a resident page should drop
  // it.
  [[nodiscard]] virtual bool nearly_full() const noexcept = 0;
  // A number that changes whenever a page that was refused with swap_full might be taken after all:
  // an image was freed or moved, or frames came free for compressed memory. Any context.
  [[nodiscard]] virtual std::uint64_t room_mark() const noexcept = 0;

  [[nodiscard]] virtual SwapStats stats() const = 0;
  // Bytes of compressed memory that are charged to the frame pool now. Any context.
  [[nodiscard]] virtual std::uint64_t compressed_bytes() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t metadata_bytes() const noexcept = 0;
  // What tiers of far memory keep for images on their way, bytes. Constant; charged to nobody.
  [[nodiscard]] virtual std::uint64_t staging_bytes() const noexcept = 0;
  // Proves slots, counts and tiers consistent; nothing may be in flight. False: says what.
  [[nodiscard]] virtual bool check() noexcept = 0;
};

}  // namespace holdfast::swap
