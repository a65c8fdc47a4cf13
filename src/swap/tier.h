// The interface of a tier: one place for images, in memory, in a file or beyond this machine.
//
// What it is for: StackedSwap hands images to tiers in order and keeps the books of slots; a tier
// keeps the books of its own storage and knows no other tier.
//
// Flow of a write: add() takes an image at once (stored), queues it in the caller's writer (queued,
// the outcome comes through Completion, at the latest from flush()), or refuses it.
// Flow of a read: image_at() where the tier is memory (under the slot's lock); otherwise hold()
// under the slot's lock, read() without it, free(..., Freeing::hold_only). Flow of a move
// (write-back, compaction): choose() takes units (blocks, clusters) out of service, visit() hands
// out their images, the mover stores them elsewhere, restore() ends it; a unit that is empty by
// then goes back to the free ones. One mover at a time; everything else from any thread.
//
// Places are in units of kPlaceUnit bytes. Task context; no ranked lock held.
#pragma once

#include <cstdint>
#include <span>

#include "base/base.h"
#include "page/page.h"
#include "swap/location.h"
#include "swap/swap.h"

namespace holdfast::swap {

struct Image {
  SlotIndex slot;
  std::uint32_t cookie = 0;  // the caller's own number for it
  Encoding encoding = Encoding::raw;
  std::uint32_t length = 0;
  const std::byte* data = nullptr;
};

// stored does not say that the image has reached a device: a tier may still have it in memory, from
// where it is read meanwhile, and which it answers for.
// again: what was queued before has been written, which may have called the Completion back and so
// used the session's room for images; the image is not taken yet, and is to be put together anew.
enum class Verdict : std::uint8_t { stored, queued, refused, again };

// Told what became of queued images. `image.data` stays valid during the call.
class Completion {
 public:
  virtual void stored(unsigned tier, const Image& image, std::uint64_t place) noexcept = 0;
  virtual void refused(unsigned tier, const Image& image, const Error& error) noexcept = 0;

 protected:
  ~Completion() = default;
};

// What a tier needs to know of a session of writes.
struct WriteTerms {
  page::Priority priority = page::Priority::normal;
  bool compacting = false;     // may use what is kept in reserve for compaction
  std::uint32_t expected = 1;  // images that are still to come, this one included; a hint
};

// A tier's state in one session of writes: a number of its own, none at first and after flush().
inline constexpr std::uint32_t kNoWriter = base::kNoLink;

struct ReadItem {
  Location location;
  LoadItem* item = nullptr;
};

// Given each item's image while it stands in the tier's staging area; or the error.
class ReadSink {
 public:
  virtual void arrived(const ReadItem& item, const std::byte* image) noexcept = 0;
  virtual void failed(const ReadItem& item, const Error& error) noexcept = 0;

 protected:
  ~ReadSink() = default;
};

class ImageVisitor {
 public:
  // An image of `slot` may stand at `place`; look at the slot's location. False: stop.
  virtual bool visit(SlotIndex slot, std::uint64_t place, const std::byte* data) noexcept = 0;

 protected:
  ~ImageVisitor() = default;
};

enum class Reason : std::uint8_t { write_back, compaction };
enum class Freeing : std::uint8_t { image, moved, hold_only };

class Tier {
 public:
  virtual ~Tier() = default;

  [[nodiscard]] virtual TierKind kind() const noexcept = 0;
  [[nodiscard]] virtual Compression compression() const noexcept = 0;

  // --- writing ---
  virtual Verdict add(std::uint32_t& writer, const Image& image, const WriteTerms& terms,
                      Completion& completion, std::uint64_t& place, Error& error) noexcept = 0;
  virtual void flush(std::uint32_t& writer, const WriteTerms& terms,
                     Completion& completion) noexcept = 0;

  // --- reading ---
  // The bytes at `place`; null: they have to be read. The slot is locked.
  [[nodiscard]] virtual const std::byte* image_at(std::uint64_t place) noexcept = 0;
  // Keeps the storage of an image from being reused. The slot is locked.
  virtual void hold(Location location) noexcept = 0;
  // Reads images that are held; sorts `items` by place. At most kReadItemsMax.
  virtual void read(std::span<ReadItem> items, ReadSink& sink) noexcept = 0;
  virtual void count_loads(std::uint64_t count) noexcept = 0;

  // Frees an image, or drops a hold of it.
  virtual void free(Location location, Freeing freeing) noexcept = 0;

  // --- housekeeping ---
  // Takes up to units.size() units out of service; returns how many. 0: nothing to do.
  virtual std::uint32_t choose(Reason reason, std::span<std::uint32_t> units) noexcept = 0;
  virtual void visit(std::uint32_t unit, ImageVisitor& visitor) noexcept = 0;
  virtual void restore(std::uint32_t unit) noexcept = 0;
  // Gives storage that nobody uses back.
  virtual void trim() noexcept = 0;
  // True while choose(reason) would find something.
  [[nodiscard]] virtual bool wants(Reason reason) noexcept = 0;

  // --- looking ---
  [[nodiscard]] virtual bool nearly_full() const noexcept = 0;
  // Units of storage that could be had now for the asking, where that depends on others.
  [[nodiscard]] virtual std::uint64_t growth() const noexcept { return 0; }
  // Bytes that the tier takes, in memory or in the file.
  [[nodiscard]] virtual std::uint64_t held_bytes() const noexcept = 0;
  // Bytes of frames that are charged to the pool.
  [[nodiscard]] virtual std::uint64_t charged_bytes() const noexcept = 0;
  [[nodiscard]] virtual std::uint64_t metadata_bytes() const noexcept = 0;
  // What is kept for images on their way, where that is more than the fixed part of an engine's
  // overhead covers.
  [[nodiscard]] virtual std::uint64_t staging_bytes() const noexcept { return 0; }
  [[nodiscard]] virtual TierStats stats() noexcept = 0;
  // Check: begin, then one call for every slot that is here, then end. False: says what.
  virtual void begin_check() noexcept = 0;
  [[nodiscard]] virtual bool check_image(SlotIndex slot, Location location) noexcept = 0;
  [[nodiscard]] virtual bool end_check() noexcept = 0;
};

inline constexpr std::size_t kReadItemsMax = 64;  // the widest fault run

}  // namespace holdfast::swap
