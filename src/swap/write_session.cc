#include "swap/write_session.h"

#include <algorithm>
#include <cstring>

namespace holdfast::swap {
namespace {
constexpr std::uint32_t kMoveExpected = 256;  // images of a cluster's worth, for its directory
constexpr std::uint32_t kRefusalsMax = 16;    // then a move session stops
constexpr std::uint32_t kFullMax = 16;        // then the device is not asked again in the session

Encoding encoding_of(Compression compression) noexcept {
  switch (compression) {
    case Compression::none:
      return Encoding::raw;
    case Compression::lz4:
      return Encoding::lz4;
    case Compression::zstd:
      return Encoding::zstd;
  }
  return Encoding::raw;
}
}  // namespace

WriteSession::WriteSession(Tiers tiers, Codec& codec, unsigned last,
                           const WriteTerms& terms) noexcept
    : tiers_(tiers), codec_(codec), lease_(codec), terms_(terms), last_(last) {
  HF_DCHECK2(last < tiers.size(), last, tiers.size());
  writers_.fill(kNoWriter);
}

WriteSession::~WriteSession() {
  for ([[maybe_unused]] const std::uint32_t writer : writers_) HF_DCHECK(writer == kNoWriter);
}

void WriteSession::offer(unsigned first, const Image& image, const std::byte* page,
                         const Error& so_far) noexcept {
  Error worst = so_far;
  unsigned hopeless = 0;  // encodings that did not help: a bit each
  for (unsigned t = first; t <= last_; ++t) {
    if (full_[t] >= kFullMax) continue;
    Image fitted = fit(t, image, page, hopeless);
    // A raw page in memory saves nothing; whoever comes next may have cheaper room.
    const bool pass_on =
        tiers_[t]->kind() == TierKind::ram && fitted.encoding == Encoding::raw && t < last_;
    if (pass_on) continue;
    std::uint64_t place = kNoPlace;
    Error error;
    Verdict verdict = tiers_[t]->add(writers_[t], fitted, terms_, *this, place, error);
    if (verdict == Verdict::again) {
      fitted = fit(t, image, page, hopeless);
      verdict = tiers_[t]->add(writers_[t], fitted, terms_, *this, place, error);
    }
    switch (verdict) {
      case Verdict::again:
        HF_CHECK2(false, t, image.slot.value);  // nothing is queued any more
        return;
      case Verdict::stored:
        return keep(t, fitted, place);
      case Verdict::queued:
        return;
      case Verdict::refused:
        if (worst.code != Errc::io_error) worst = error;
    }
  }
  give_up(image, worst);
}

Image WriteSession::fit(unsigned tier, const Image& image, const std::byte* page,
                        unsigned& hopeless) noexcept {
  const Encoding wanted = encoding_of(tiers_[tier]->compression());
  if (page == nullptr || wanted == Encoding::raw || wanted == image.encoding) return image;
  const unsigned bit = 1U << static_cast<unsigned>(wanted);
  const std::uint32_t length =
      (hopeless & bit) != 0 ? 0 : codec_.compress(lease_, wanted, page, lease_.image_room());
  Image fitted = image;
  if (length == 0) {
    hopeless |= bit;
    fitted.encoding = Encoding::raw;
    fitted.length = kPageSize;
    fitted.data = page;
    return fitted;
  }
  fitted.encoding = wanted;
  fitted.length = length;
  fitted.data = lease_.image_room();
  return fitted;
}

void WriteSession::stored(unsigned tier, const Image& image, std::uint64_t place) noexcept {
  full_[tier] = 0;
  keep(tier, image, place);
}

void WriteSession::refused(unsigned tier, const Image& image, const Error& error) noexcept {
  full_[tier] += error.code == Errc::swap_full ? 1 : 0;
  offer(tier + 1, image, page_of(image), error);
}

void WriteSession::finish() noexcept {
  // In the order of tiers: what one refuses is queued in the next.
  for (unsigned t = 0; t < tiers_.size(); ++t) tiers_[t]->flush(writers_[t], terms_, *this);
}

// --- storing ---

StoreSession::StoreSession(Tiers tiers, Codec& codec, SlotMap& slots, std::span<StoreItem> items,
                           const WriteTerms& terms, std::uint64_t kept) noexcept
    : WriteSession(tiers, codec, static_cast<unsigned>(tiers.size()) - 1, terms),
      slots_(slots),
      items_(items),
      kept_(kept) {}

SlotIndex StoreSession::slot_for(const StoreItem& item) noexcept {
  if (!item.into.is_none()) return item.into;
  if (slots_.used() + kept_ >= slots_.max()) return SlotIndex::none();
  return slots_.allocate(item.hash);
}

void StoreSession::store_all() noexcept {
  for (std::uint32_t i = 0; i < items_.size(); ++i) {
    StoreItem& item = items_[i];
    HF_DCHECK2(item.page != nullptr, i, items_.size());
    item.slot = SlotIndex::none();
    item.replaced = FrameIndex::none();
    const SlotIndex slot = slot_for(item);
    if (slot.is_none()) {
      item.error = {.code = Errc::swap_full,
                    .doing = "store page",
                    .what = "slots",
                    .value = slots_.used(),
                    .limit = slots_.max()};
      continue;
    }
    terms_.expected = static_cast<std::uint32_t>(items_.size()) - i;
    offer(0, {.slot = slot, .cookie = i, .length = kPageSize, .data = item.page}, item.page,
          {.code = Errc::swap_full, .doing = "store page"});
  }
  terms_.expected = 1;
  finish();
}

void StoreSession::keep(unsigned tier, const Image& image, std::uint64_t place) noexcept {
  if (image.encoding == Encoding::raw && tiers_[tier]->compression() != Compression::none) {
    ++incompressible_;
  }
  StoreItem& item = items_[image.cookie];
  const Location location(tier, place, image.encoding, image.length);
  item.slot = image.slot;
  if (!item.into.is_none()) return fill_version(item, location);
  slots_.publish(image.slot, location);
}

// The version gets its image, unless somebody else has stored it meanwhile (the page and a copy of
// it may be written out at the same time).
void StoreSession::fill_version(StoreItem& item, Location location) noexcept {
  // A page that was rescued meanwhile leaves memory behind that may have been dropped under us. A
  // new slot is put then, but this one has holders: what was read must be what the hash is of.
  if (base::hash_page(item.page) != item.hash) {
    tiers_[location.tier()]->free(location, Freeing::moved);
    item.slot = SlotIndex::none();
    item.error = {.code = Errc::busy, .doing = "store page", .what = "page rescued meanwhile"};
    return;
  }
  const Location old = slots_.lock(item.into);
  HF_DCHECK2(!old.is_none(), item.into.value, old.word());  // the caller holds a count
  if (!old.is_frame()) {
    slots_.unlock(item.into, old);
    tiers_[location.tier()]->free(location, Freeing::moved);
    return;
  }
  slots_.set_hash_locked(item.into, item.hash);
  slots_.unlock(item.into, location);
  item.replaced = old.frame();
}

void StoreSession::give_up(const Image& image, const Error& error) noexcept {
  items_[image.cookie].error = error;
  if (!items_[image.cookie].into.is_none()) return;  // the version stays where it stands
  const bool last = slots_.put(image.slot);
  HF_CHECK2(last, image.slot.value, image.cookie);
  slots_.release(image.slot);
}

// --- moving ---

MoveSession::MoveSession(Tiers tiers, Codec& codec, SlotMap& slots, unsigned from, unsigned first,
                         unsigned last) noexcept
    : WriteSession(tiers, codec, last,
                   {.priority = page::Priority::reclaim,
                    .compacting = from == first,
                    .expected = kMoveExpected}),
      slots_(slots),
      from_(from),
      first_(first) {}

bool MoveSession::visit(SlotIndex slot, std::uint64_t place, const std::byte* data) noexcept {
  if (slot.value >= slots_.touched()) return true;  // a damaged directory
  const Location location = slots_.lock(slot);
  if (!location.is_at(from_, place) || location.moving()) {
    slots_.unlock(slot, location);
    return true;
  }
  std::memcpy(lease_.copy_room(), data, location.length());
  slots_.unlock(slot, location.with_moving());
  offer(first_,
        {.slot = slot,
         .encoding = location.encoding(),
         .length = location.length(),
         .data = lease_.copy_room()},
        nullptr, {.code = Errc::swap_full, .doing = "move image"});
  return refusals_ < kRefusalsMax;
}

void MoveSession::keep(unsigned tier, const Image& image, std::uint64_t place) noexcept {
  const Location there(tier, place, image.encoding, image.length);
  const Location old = slots_.lock(image.slot);
  if (!old.moving()) {  // freed meanwhile: the copy is nobody's
    slots_.unlock(image.slot, old);
    tiers_[tier]->free(there, Freeing::moved);
    return;
  }
  slots_.unlock(image.slot, there);
  tiers_[old.tier()]->free(old, terms_.compacting ? Freeing::moved : Freeing::image);
  ++moved_;
  refusals_ = 0;
}

void MoveSession::give_up(const Image& image, const Error&) noexcept {
  const Location old = slots_.lock(image.slot);
  slots_.unlock(image.slot, old.settled());
  ++refusals_;
}

}  // namespace holdfast::swap
