// Before-images: what pages of a mapped file held before the first store to them since a snapshot.
//
// A copy of a region (sharing.h) says of each page what it held, and none where that was what the
// source has. Of a file that is not for good: what is stored to the file's own region goes back to
// the file, and the copy would change with it. So the first store to such a page after a copy was
// made keeps the page's content as a version, before the store can land. Whoever looks for a page
// of a copy, and finds none, looks here before he looks into the file; and once more after he has
// read it from there, for it may have been stored to, and written, meanwhile.
//
//   moment   stands for the copies that were made at once. It has a table (shared_tables.h) for
//            each leaf in which something was stored to while it was the youngest
//   keep     into the youngest moment alone: what was not stored to since an older one, that one
//            finds here too
//   end      of a moment, with its last copy: what it has goes to the next older one, where that
//            has nothing of its own; older copies find it there
//
// Invariants. What the youngest moment wants, and is there, is protected: a page that a copy had to
// leave open, for it was pinned, is kept from the start. And of a page that was as the source
// has it at a moment, the first before-image from that moment on, towards the youngest, is what the
// source had then. If there is none, it has it still.
//
// Who owns what: a region that stands for a file has one BeforeImages, constant while it is live.
// Each copy has a reference of its moment, and that one of the BeforeImages. A moment owns a
// reference of each of its tables, and they a count of each slot.
//
// Context: keep(), wants() and find() are called in faults: async-signal-safe. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "base/base.h"
#include "space/entry.h"
#include "space/parts.h"
#include "space/shared_tables.h"
#include "sync/sync.h"

namespace holdfast::space {

class BeforeImages;

class Moment final : public base::Counted {
 public:
  // Of a region of so many pages, now. It counts from BeforeImages::begin() on.
  Moment(base::CountedRef<BeforeImages> images, std::uint64_t pages);
  // Task context, nothing held.
  ~Moment();
  Moment(const Moment&) = delete;
  Moment& operator=(const Moment&) = delete;

  // The before-image of a page that was as the source has it: a slot of which a count is held as
  // long as the moment lives; none: it is still as the source has it.
  [[nodiscard]] EntryValue find(std::uint64_t index) const noexcept;
  // The region that stands for the file.
  [[nodiscard]] RegionId region() const noexcept;

 private:
  friend class BeforeImages;
  const base::CountedRef<BeforeImages> images_;
  const std::uint64_t pages_;
  // Under the lock of images_.
  std::vector<TableId> tables_;  // for each leaf; 0: nothing was kept there
  Moment* newer_ = nullptr;
  Moment* older_ = nullptr;
  bool begun_ = false;
};

class BeforeImages final : public base::Counted {
 public:
  BeforeImages(Parts& parts, RegionId region) noexcept : parts_(parts), region_(region) {}
  BeforeImages(const BeforeImages&) = delete;
  BeforeImages& operator=(const BeforeImages&) = delete;

  // See Moment::find().
  [[nodiscard]] EntryValue find(const Moment& moment, std::uint64_t index) const noexcept;
  // The page stays open, for it is pinned, and was copied for the moment, which has not begun: the
  // moment takes a count of the copy. Its entry is locked. False: no frame.
  [[nodiscard]] bool note_copy(Moment& moment, std::uint64_t index, SlotIndex copy) noexcept;
  // The region that stands for the file.
  [[nodiscard]] RegionId region() const noexcept { return region_; }
  // True if there is a moment.
  [[nodiscard]] bool any() const noexcept {
    return youngest_.load(std::memory_order_seq_cst) != nullptr;
  }
  // The moment is the youngest from here on. All leaves of the region are frozen: no page is being
  // made writable.
  void begin(Moment& moment) noexcept;

  // True if the page has to be kept before it is stored to. Tells the truth while its entry is
  // locked and its leaf is ready.
  [[nodiscard]] bool wants(std::uint64_t index) const noexcept;
  enum class Kept : std::uint8_t { done, no_frame, no_slot };
  // Keeps the page, if that is wanted: it is shared from then on, so that a store has to copy it.
  // It stands in its frame, protected; its entry is locked and its leaf is ready.
  [[nodiscard]] Kept keep(page::Page& page, std::uint64_t index) noexcept;

  // Calls visit(table) for each table of each moment. For check().
  template <class Visit>
  void for_each_table(Visit&& visit) const {
    const Guard guard(lock_);
    for (const Moment* at = youngest_.load(); at != nullptr; at = at->older_) {
      for (const TableId table : at->tables_) {
        if (table != 0) visit(table);
      }
    }
  }

 private:
  friend class Moment;
  using Lock = sync::Mutex<sync::Rank::before_images>;
  using Guard = sync::MutexGuard<sync::Rank::before_images>;

  [[nodiscard]] EntryValue value(const Moment& moment, std::uint64_t index) const noexcept
      HF_REQUIRES(lock_);
  [[nodiscard]] bool wants_locked(std::uint64_t index) const noexcept HF_REQUIRES(lock_);
  [[nodiscard]] bool provide_table(TableId& table, Kept& refused) noexcept HF_REQUIRES(lock_);
  void end(Moment& moment) noexcept;
  void unlink(Moment& moment) noexcept;
  void hand_down(Moment& moment) noexcept HF_REQUIRES(lock_);

  Parts& parts_;
  const RegionId region_;
  mutable Lock lock_;
  std::atomic<Moment*> youngest_{nullptr};  // changed under the lock
};

}  // namespace holdfast::space
