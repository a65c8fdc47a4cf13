// A session of writes: offers images to tiers in order until one takes them.
//
// What it is for: the one place that knows what "the next tier" means. Store sessions make images
// of pages; move sessions carry images that exist from one place to another.
// Flow: offer() each image; finish() writes what is queued. Every image ends in keep() or in
// give_up(), at the latest in finish().
// Who owns what: a session has a workspace and at most one writer of each tier, taken in the order
// of tiers, so that sessions cannot wait for each other in a circle. Lives on the stack.
#pragma once

#include <array>
#include <memory>
#include <span>

#include "swap/codec.h"
#include "swap/slot_map.h"
#include "swap/tier.h"

namespace holdfast::swap {

using Tiers = std::span<const std::unique_ptr<Tier>>;

class WriteSession : public Completion {
 public:
  WriteSession(const WriteSession&) = delete;
  WriteSession& operator=(const WriteSession&) = delete;

  void stored(unsigned tier, const Image& image, std::uint64_t place) noexcept final;
  void refused(unsigned tier, const Image& image, const Error& error) noexcept final;
  // Writes what is queued; every image has met its fate afterwards.
  void finish() noexcept;

 protected:
  // Tiers [.., last] may take what is offered.
  WriteSession(Tiers tiers, Codec& codec, unsigned last, const WriteTerms& terms) noexcept;
  ~WriteSession();

  // Offers the image to tiers [first, last]. page: its page, where it is at hand, so that tiers can
  // compress it their own way.
  void offer(unsigned first, const Image& image, const std::byte* page,
             const Error& so_far) noexcept;

  virtual void keep(unsigned tier, const Image& image, std::uint64_t place) noexcept = 0;
  virtual void give_up(const Image& image, const Error& error) noexcept = 0;
  [[nodiscard]] virtual const std::byte* page_of(const Image& image) noexcept = 0;

  const Tiers tiers_;
  Codec& codec_;
  const Codec::Lease lease_;
  WriteTerms terms_;

 private:
  [[nodiscard]] Image fit(unsigned tier, const Image& image, const std::byte* page,
                          unsigned& hopeless) noexcept;

  const unsigned last_;
  std::array<std::uint32_t, kTiersMax> writers_;
  std::array<std::uint32_t, kTiersMax> full_{};  // images in a row for which a device had no space
};

// Turns pages into slots.
class StoreSession final : public WriteSession {
 public:
  // kept: slots that are left alone.
  StoreSession(Tiers tiers, Codec& codec, SlotMap& slots, std::span<StoreItem> items,
               const WriteTerms& terms, std::uint64_t kept) noexcept;
  void store_all() noexcept;
  // Pages that were stored raw although the tier compresses.
  [[nodiscard]] std::uint64_t incompressible() const noexcept { return incompressible_; }

 private:
  void keep(unsigned tier, const Image& image, std::uint64_t place) noexcept override;
  void give_up(const Image& image, const Error& error) noexcept override;
  const std::byte* page_of(const Image& image) noexcept override {
    return items_[image.cookie].page;
  }

  [[nodiscard]] SlotIndex slot_for(const StoreItem& item) noexcept;
  void fill_version(StoreItem& item, Location location) noexcept;

  SlotMap& slots_;
  std::span<StoreItem> items_;
  const std::uint64_t kept_;
  std::uint64_t incompressible_ = 0;
};

// Moves images of one tier to others (write-back) or within it (compaction).
//
// A move is: under the slot's lock, see that the image is where its unit says, set the moving bit,
// copy; then, with no lock, let a tier take the copy; then, under the lock again, change the
// location if the moving bit is still set. A slot that was freed meanwhile has it clear, even if it
// has been used again: what is put into units that drain is nothing, so this session never sees it
// twice.
class MoveSession final : public WriteSession, public ImageVisitor {
 public:
  MoveSession(Tiers tiers, Codec& codec, SlotMap& slots, unsigned from, unsigned first,
              unsigned last) noexcept;
  bool visit(SlotIndex slot, std::uint64_t place, const std::byte* data) noexcept override;
  [[nodiscard]] std::uint64_t moved() const noexcept { return moved_; }

 private:
  void keep(unsigned tier, const Image& image, std::uint64_t place) noexcept override;
  void give_up(const Image& image, const Error& error) noexcept override;
  const std::byte* page_of(const Image&) noexcept override { return nullptr; }

  SlotMap& slots_;
  const unsigned from_, first_;
  std::uint64_t moved_ = 0;
  std::uint32_t refusals_ = 0;  // in a row: the target is full, and the rest would fare no better
};

}  // namespace holdfast::swap
