// The far tier: images in objects of a store beyond this machine, log-structured.
//
// Who owns what: the tier owns its session in the store, the key under which everything in it is
// sealed (seal.h), the staging buffers, and the books of objects. Buffers are few and made at the
// beginning.
//
// Flow of a write: add() seals an image into the open buffer and is done; a full buffer is one
// object, written while the next one fills. Until the store has answered, what is in a buffer is
// read from there. Who finds no buffer waits for one, but not on a store that has not answered for
// kPatience: then images are refused, and go to the next tier or stay where they are.
// A write that failed keeps its buffer, so nothing is lost: it is tried again, and meanwhile what
// is in it may move to the next tier (choose(Reason::write_back)). Flow of a read: extents of one
// object sorted and merged, all in flight at once. An object is written once, under a number of its
// own. Its images are freed one by one; with the last of them it is removed, and what is sparse is
// compacted into new ones.
//
//   unused ──▶ filling ──▶ sealed ──answer──▶ stored ──the last use goes──▶ removing ──▶ unused
//                            ▲ ╰──▶ failed       │ ▲
//                            ╰───────╯ ▼         ▼ │
//                              draining: being emptied by a mover
//
// An object's uses are its images, holds of readers, and one for being anything but stored or
// removing; so `stored` with no use left is what is removed.
//
// Concurrency: uses are atomic; all else of the books is guarded by mutex_, which is held for steps
// of a few instructions. Completions (interrupt context) only note that they came; whoever takes
// the mutex next tends to them. Waits for I/O with nothing held.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <span>

#include "swap/seal.h"
#include "swap/segment.h"
#include "swap/tier.h"
#include "swap/tier_counters.h"

namespace holdfast::swap {

class FarTier final : public Tier {
 public:
  // Errors: invalid_argument (object_bytes, staging, a limit below one object), and those of
  // opening the store.
  [[nodiscard]] static Expected<std::unique_ptr<Tier>> create(sys::Machine& machine,
                                                              const TierOptions& options,
                                                              std::uint64_t slots_max,
                                                              unsigned index);
  ~FarTier() override;

  TierKind kind() const noexcept override { return TierKind::rados; }
  Compression compression() const noexcept override { return options_.compression; }
  Verdict add(std::uint32_t& writer, const Image& image, const WriteTerms& terms,
              Completion& completion, std::uint64_t& place, Error& error) noexcept override;
  void flush(std::uint32_t&, const WriteTerms&, Completion&) noexcept override {}
  const std::byte* image_at(std::uint64_t) noexcept override { return nullptr; }
  void hold(Location location) noexcept override;
  void read(std::span<ReadItem> items, ReadSink& sink) noexcept override;
  void count_loads(std::uint64_t count) noexcept override;
  void free(Location location, Freeing freeing) noexcept override;
  std::uint32_t choose(Reason reason, std::span<std::uint32_t> units) noexcept override;
  void visit(std::uint32_t unit, ImageVisitor& visitor) noexcept override;
  void restore(std::uint32_t unit) noexcept override;
  void trim() noexcept override;
  bool wants(Reason reason) noexcept override;
  bool nearly_full() const noexcept override;
  std::uint64_t growth() const noexcept override;
  std::uint64_t held_bytes() const noexcept override {
    return held_.load(std::memory_order_relaxed);
  }
  std::uint64_t charged_bytes() const noexcept override { return 0; }
  std::uint64_t metadata_bytes() const noexcept override;
  TierStats stats() noexcept override;
  void begin_check() noexcept override;
  bool check_image(SlotIndex slot, Location location) noexcept override;
  bool end_check() noexcept override;

  std::uint64_t staging_bytes() const noexcept override { return staging_size_; }

 private:
  using Mutex = sync::Mutex<sync::Rank::tier>;
  using Guard = sync::MutexGuard<sync::Rank::tier>;

  static constexpr std::uint32_t kBuffersMax = 64;            // a bit each in a word
  static constexpr std::uint32_t kRemovals = 16;              // in flight at once
  static constexpr std::uint64_t kPatience = 1'000'000'000;   // ns without an answer
  static constexpr std::uint64_t kRetryRest = 1'000'000'000;  // ns until what failed is tried again

  enum class State : std::uint8_t { unused, filling, sealed, failed, stored, draining, removing };

  // Zero-filled memory is a valid one: unused.
  struct Object {
    std::atomic<std::uint64_t> uses{0};  // high 32 bits: units of live images; low: uses
    std::uint64_t number = 0;            // in the store; of this filling
    std::uint32_t fill = 0;              // bytes of images
    std::uint32_t count = 0;             // images ever put into it
    std::uint32_t buffer = 0;            // where its bytes stand, plus one; 0: in the store alone
    std::uint32_t link = 0;              // the next of those that are free, or to be removed
    std::uint32_t checked = 0;           // for check()
    State state = State::unused;
    bool sent = false;     // a write was begun: something of it may be in the store
    bool damaged = false;  // it could not be read as a whole: do not compact
  };
  static_assert(sizeof(Object) == 40);

  struct Buffer {
    FarTier* tier = nullptr;
    std::byte* data = nullptr;             // object_bytes, and room for the directory
    SegmentEntry* entries = nullptr;       // images_max_: the directory in plain
    std::uint32_t object = base::kNoLink;  // whose bytes; none: the buffer is free
    std::uint32_t readers = 0;
    bool attached = false;                  // its object still names it
    std::uint64_t failed_at = 0;            // ns
    std::atomic<std::uint32_t> fillers{0};  // images on their way into it, and one while it is open
    std::atomic<bool> answered{false};
    sys::ObjectRequest request;
  };
  struct Removal {
    FarTier* tier = nullptr;
    std::uint32_t object = base::kNoLink;  // none: idle
    std::atomic<bool> answered{false};
    sys::ObjectRequest request;
  };
  // What is to be done when the mutex has been given back.
  struct Deeds {
    std::uint64_t writes = 0;    // buffers to be sent: a bit each
    std::uint32_t removals = 0;  // a bit each
  };
  // Where an image goes.
  struct Spot {
    std::uint32_t buffer = base::kNoLink;
    std::uint32_t object = 0, offset = 0, entry = 0;
    std::uint64_t number = 0;
  };
  enum class Room : std::uint8_t { granted, none_now, refused };

  struct Extent {
    std::uint32_t object = 0;
    std::uint32_t begin = 0, end = 0;    // bytes in it
    std::uint32_t first = 0, count = 0;  // of the area's `far`
  };
  struct ReadArea {
    std::byte* buffer = nullptr;                    // read_bytes_
    std::byte* page = nullptr;                      // an image in plain, kPageSize
    std::atomic<std::uint32_t> left{0};             // requests without an answer
    std::array<std::uint32_t, kReadItemsMax> near;  // the buffer of each item, or none
    std::array<std::uint32_t, kReadItemsMax> far;   // items that have to be fetched
    std::array<Extent, kReadItemsMax> extents;
    std::array<sys::ObjectRequest, kReadItemsMax> requests;
  };
  FarTier(sys::Machine& machine, const TierOptions& options, unsigned index);
  Expected<void> prepare(std::uint64_t slots_max);
  Expected<void> check_options() const;
  Expected<void> prepare_staging();

  // far_tier.cc: writing
  [[nodiscard]] Room reserve(const Image& image, const WriteTerms& terms, Spot& spot,
                             Error& error) noexcept;
  [[nodiscard]] Room open_anew(const WriteTerms& terms, Error& error) noexcept HF_REQUIRES(mutex_);
  [[nodiscard]] std::uint32_t free_buffer() noexcept HF_REQUIRES(mutex_);
  [[nodiscard]] std::uint32_t free_object() noexcept HF_REQUIRES(mutex_);
  void take_spot(const Image& image, Spot& spot) noexcept HF_REQUIRES(mutex_);
  [[nodiscard]] Error refusal(int error) const noexcept;
  void tell_of_loss() noexcept;
  void fill(const Spot& spot, const Image& image) noexcept;
  void drop_filler(std::uint32_t buffer) noexcept;
  void seal_up(std::uint32_t buffer) noexcept;
  void send(std::uint32_t buffer) noexcept;
  static void write_answered(sys::ObjectRequest& request) noexcept;
  static void removal_answered(sys::ObjectRequest& request) noexcept;
  static void read_answered(sys::ObjectRequest& request) noexcept;
  void note_answer(std::atomic<bool>& answered) noexcept;

  // far_books.cc: answers, retries, removals
  void tend(Deeds& deeds) noexcept HF_REQUIRES(mutex_);
  void tend_write(std::uint32_t buffer, Deeds& deeds) noexcept HF_REQUIRES(mutex_);
  void tend_removal(std::uint32_t removal) noexcept HF_REQUIRES(mutex_);
  void begin_removals(Deeds& deeds) noexcept HF_REQUIRES(mutex_);
  void detach(Object& object) noexcept HF_REQUIRES(mutex_);
  void release_buffer(std::uint32_t buffer) noexcept HF_REQUIRES(mutex_);
  void drop_own_use(std::uint32_t object) noexcept HF_REQUIRES(mutex_);
  void abandon(std::uint32_t object) noexcept HF_REQUIRES(mutex_);
  void forget(std::uint32_t object) noexcept HF_REQUIRES(mutex_);
  void drop(std::uint32_t object, std::uint32_t units) noexcept;
  void carry_out(const Deeds& deeds) noexcept;
  void close() noexcept;
  [[nodiscard]] bool remove_all_stored() noexcept;

  // far_read.cc
  void sort_out(std::span<const ReadItem> items, ReadArea& area, std::uint32_t& far) noexcept;
  [[nodiscard]] std::uint32_t merge(std::span<const ReadItem> items, ReadArea& area,
                                    std::uint32_t far) noexcept;
  void fetch(ReadArea& area, std::uint32_t extents) noexcept;
  void await(ReadArea& area) noexcept;
  void tell_of_waiting(const ReadArea& area) noexcept;
  void deliver(std::span<const ReadItem> items, ReadArea& area, std::uint32_t extent,
               ReadSink& sink) noexcept;
  void open_image(const ReadItem& item, const std::byte* sealed, ReadArea& area,
                  ReadSink& sink) noexcept;
  void let_go(std::uint32_t buffer) noexcept;

  // far_compaction.cc
  enum class Fetched : std::uint8_t { whole, damaged, not_yet };
  [[nodiscard]] Fetched fetch_whole(std::uint32_t unit) noexcept;
  [[nodiscard]] bool walk(std::uint32_t unit, const std::byte* bytes, const SegmentEntry* entries,
                          ImageVisitor& visitor) noexcept;
  [[nodiscard]] std::uint32_t choose_failed(std::span<std::uint32_t> units) noexcept;
  [[nodiscard]] bool is_crowded() const noexcept;

  [[nodiscard]] std::uint32_t object_of(Location location) const noexcept {
    return static_cast<std::uint32_t>(location.place() / object_units_);
  }
  [[nodiscard]] std::uint32_t offset_of(Location location) const noexcept {
    return static_cast<std::uint32_t>(location.place() % object_units_) * kPlaceUnit;
  }
  // What an image of `length` bytes takes, its tag included.
  static constexpr std::uint32_t sealed_units(std::uint32_t length) noexcept {
    return units_of(length + Sealer::kTagBytes);
  }
  static constexpr std::uint64_t use_word(std::uint32_t count, std::uint32_t units) noexcept {
    return std::uint64_t{units} << 32 | count;
  }
  [[nodiscard]] std::uint64_t object_size(const Object& object) const noexcept {
    return object.fill + object.count * sizeof(SegmentEntry) + Sealer::kTagBytes;
  }
  [[nodiscard]] static SealedPlace directory_place(const Object& object) noexcept {
    return {.object = object.number, .offset = ~0U, .slot = 0, .shape = object.count};
  }

  // --- constant after create() ---
  sys::Machine& machine_;
  const TierOptions options_;
  const unsigned index_;
  std::uint32_t object_units_ = 0;
  std::uint32_t images_max_ = 0;  // of one object
  std::uint64_t read_bytes_ = 0;  // of one read area
  Address table_ = 0, staging_ = 0;
  std::uint64_t table_bytes_ = 0, staging_size_ = 0;
  std::span<Object> objects_;
  std::unique_ptr<Sealer> sealer_;
  std::unique_ptr<Buffer[]> buffers_;
  std::unique_ptr<ReadArea[]> read_areas_;
  // The mover's own: a whole object, its directory, an image in plain. Only the request is shared
  // with the store, which may still have it when the mover has lost patience.
  std::byte* move_bytes_ = nullptr;
  SegmentEntry* move_entries_ = nullptr;
  ReadArea move_area_;
  std::unique_ptr<sys::ObjectStore> store_;
  // --- by the mutex ---
  Mutex mutex_;
  std::uint32_t open_ HF_GUARDED_BY(mutex_) = base::kNoLink;  // the buffer that is being filled
  std::uint32_t free_objects_ HF_GUARDED_BY(mutex_) = base::kNoLink;
  std::uint32_t to_remove_ HF_GUARDED_BY(mutex_) = base::kNoLink;
  std::uint64_t remove_after_ HF_GUARDED_BY(mutex_) = 0;  // ns
  std::uint64_t next_number_ HF_GUARDED_BY(mutex_) = 1;
  std::uint32_t in_flight_ HF_GUARDED_BY(mutex_) = 0;  // writes
  std::uint64_t heard_at_ HF_GUARDED_BY(mutex_) = 0;   // ns: of a write, or when one was begun
  std::uint32_t tended_ HF_GUARDED_BY(mutex_) = 0;     // answers that have been looked at
  bool closing_ HF_GUARDED_BY(mutex_) = false;
  std::array<Removal, kRemovals> removals_;
  // --- atomic ---
  std::atomic<std::uint32_t> touched_{0};  // objects that were ever used
  std::atomic<std::uint32_t> answers_{
      0};  // of writes and removals; who waits for a buffer waits here
  std::atomic<std::uint32_t> failed_{0};  // buffers whose write has failed
  std::atomic<int> last_error_{0};        // of the last write that was answered; 0: it went well
  std::atomic<std::uint32_t> stored_{0};  // objects in the store
  std::atomic<std::uint64_t> held_{0};    // bytes in the store, or on their way
  std::atomic<std::uint64_t> live_units_{0};
  std::atomic<std::uint64_t> told_at_{0};  // ns: when the terminal was last told of waiting
  std::atomic<bool> told_of_loss_{false};
  sync::LeasePool read_pool_;
  TierCounters counters_;
  // --- the mover's own ---
  std::uint32_t scanned_ = 0;
};

}  // namespace holdfast::swap
