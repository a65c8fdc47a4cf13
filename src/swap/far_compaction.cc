// FarTier: compaction of sparse objects, and what the tier tells about itself.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "swap/far_tier.h"
#include "swap/report.h"

namespace holdfast::swap {
namespace {

constexpr std::uint32_t kScanned = 4096;     // objects looked at in one pass
constexpr std::uint32_t kCompactedFrom = 4;  // fewer objects are left alone

}  // namespace

bool FarTier::is_crowded() const noexcept {
  return options_.limit_bytes != 0 && held_bytes() > options_.limit_bytes / 4 * 3;
}

// Compaction is worth its traffic when what is stored is half dead, or when room runs out and an
// eighth of it is dead. What could not be written goes to the next tier.
bool FarTier::wants(Reason reason) noexcept {
  if (move_area_.left.load(std::memory_order_acquire) != 0) return false;  // see fetch_whole()
  if (reason == Reason::write_back) {
    return failed_.load(std::memory_order_relaxed) != 0 &&
           last_error_.load(std::memory_order_relaxed) != ETIMEDOUT;
  }
  const std::uint64_t live = live_units_.load(std::memory_order_relaxed);
  const std::uint64_t room = held_bytes() / kPlaceUnit;
  if (is_crowded()) return live * 8 < room * 7;
  return stored_.load(std::memory_order_relaxed) > kCompactedFrom && live * 2 < room;
}

std::uint32_t FarTier::choose(Reason reason, std::span<std::uint32_t> units) noexcept {
  if (!wants(reason) || units.empty()) return 0;
  if (reason == Reason::write_back) return choose_failed(units);
  if (failed_.load(std::memory_order_relaxed) != 0) return 0;  // there is nowhere to write it to
  const std::uint64_t most = is_crowded() ? 6 : 4;             // eighths that live
  const Guard guard(mutex_);
  std::uint32_t found = base::kNoLink;
  std::uint64_t least = ~std::uint64_t{0};
  const std::uint32_t touched = touched_.load(std::memory_order_relaxed);
  for (std::uint32_t n = 0; n < std::min(kScanned, touched); ++n) {
    scanned_ = scanned_ + 1 < touched ? scanned_ + 1 : 0;
    const Object& o = objects_[scanned_];
    const std::uint64_t uses = o.uses.load(std::memory_order_relaxed);
    if (o.state != State::stored || o.damaged || static_cast<std::uint32_t>(uses) == 0) continue;
    const std::uint64_t live = uses >> 32;
    if (live * 8 * kPlaceUnit > o.fill * most || live >= least) continue;
    least = live;
    found = scanned_;
  }
  if (found == base::kNoLink) return 0;
  Object& o = objects_[found];
  std::uint64_t uses = o.uses.load(std::memory_order_relaxed);
  do {
    if (static_cast<std::uint32_t>(uses) == 0) return 0;  // being freed just now
  } while (!o.uses.compare_exchange_weak(uses, uses + 1, std::memory_order_acq_rel));
  o.state = State::draining;
  counters_.compactions.fetch_add(1, std::memory_order_relaxed);
  units[0] = found;
  return 1;
}

std::uint32_t FarTier::choose_failed(std::span<std::uint32_t> units) noexcept {
  const Guard guard(mutex_);
  for (std::uint32_t b = 0; b < options_.staging; ++b) {
    const std::uint32_t index = buffers_[b].object;
    if (index == base::kNoLink || objects_[index].state != State::failed) continue;
    objects_[index].state = State::draining;
    failed_.fetch_sub(1, std::memory_order_relaxed);
    units[0] = index;
    return 1;
  }
  return 0;
}

void FarTier::visit(std::uint32_t unit, ImageVisitor& visitor) noexcept {
  Object& o = objects_[unit];
  std::uint32_t buffer = 0;
  {
    const Guard guard(mutex_);
    buffer = o.buffer;
  }
  if (buffer != 0) {
    (void)walk(unit, buffers_[buffer - 1].data, buffers_[buffer - 1].entries, visitor);
    return;
  }
  const Fetched fetched = fetch_whole(unit);
  if (fetched == Fetched::not_yet) return;
  const bool whole = fetched == Fetched::whole && walk(unit, move_bytes_, move_entries_, visitor);
  const Guard guard(mutex_);
  o.damaged = !whole;
}

// Reads a stored object and its directory. damaged: it cannot be had, or is not what was written.
// not_yet: the mover makes room for others and may not wait for long; nothing is moved until the
// answer has come, which nobody will look at.
FarTier::Fetched FarTier::fetch_whole(std::uint32_t unit) noexcept {
  sync::check_may_wait();
  const Object& o = objects_[unit];
  ReadArea& area = move_area_;
  area.left.store(1, std::memory_order_release);
  area.requests[0] = {.action = sys::ObjectAction::read,
                      .object = o.number,
                      .offset = 0,
                      .data = move_bytes_,
                      .bytes = object_size(o),
                      .done = &FarTier::read_answered,
                      .context = &area};
  store_->submit(area.requests[0]);
  const std::uint64_t begun = machine_.now_ns();
  while (area.left.load(std::memory_order_acquire) != 0) {
    if (machine_.now_ns() - begun >= kPatience) return Fetched::not_yet;
    sync::parking().wait(area.left, 1, kPatience);
  }
  const auto size = static_cast<std::uint32_t>(o.count * sizeof(SegmentEntry));
  if (area.requests[0].error == 0) {
    counters_.read.fetch_add(object_size(o), std::memory_order_relaxed);
    if (sealer_->open(directory_place(o), move_bytes_ + o.fill, size,
                      reinterpret_cast<std::byte*>(move_entries_))) {
      return Fetched::whole;
    }
  }
  counters_.read_errors.fetch_add(1, std::memory_order_relaxed);
  return Fetched::damaged;
}

// False: an image in it is not what was written.
bool FarTier::walk(std::uint32_t unit, const std::byte* bytes, const SegmentEntry* entries,
                   ImageVisitor& visitor) noexcept {
  const Object& o = objects_[unit];
  std::byte* const page = move_area_.page;
  bool whole = true;
  for (std::uint32_t i = 0; i < o.count; ++i) {
    const SegmentEntry entry = entries[i];
    const std::uint32_t offset = std::uint32_t{entry.unit} * kPlaceUnit;
    const bool genuine = sealer_->open(
        {.object = o.number, .offset = offset, .slot = entry.slot, .shape = entry.shape},
        bytes + offset, entry.length(), page);
    whole = whole && genuine;
    const std::uint64_t place = std::uint64_t{unit} * object_units_ + entry.unit;
    if (genuine && !visitor.visit(SlotIndex(entry.slot), place, page)) break;
  }
  return whole;
}

void FarTier::restore(std::uint32_t unit) noexcept {
  Deeds deeds;
  {
    const Guard guard(mutex_);
    Object& o = objects_[unit];
    HF_DCHECK2(o.state == State::draining, unit, static_cast<int>(o.state));
    if (o.buffer == 0) {
      o.state = State::stored;
      drop_own_use(unit);
    } else if (static_cast<std::uint32_t>(o.uses.load(std::memory_order_acquire)) == 1) {
      abandon(unit);
    } else {
      o.state = State::failed;
      failed_.fetch_add(1, std::memory_order_relaxed);
    }
    tend(deeds);
  }
  carry_out(deeds);
}

void FarTier::trim() noexcept {
  Deeds deeds;
  {
    const Guard guard(mutex_);
    tend(deeds);
  }
  carry_out(deeds);
}

bool FarTier::nearly_full() const noexcept {
  return options_.limit_bytes != 0 && held_bytes() > options_.limit_bytes / 16 * 15;
}

// What was refused may be taken once something has been answered, or when it is time to try again.
std::uint64_t FarTier::growth() const noexcept {
  const std::uint64_t again =
      failed_.load(std::memory_order_relaxed) == 0 ? 0 : machine_.now_ns() / kRetryRest;
  return answers_.load(std::memory_order_acquire) + again;
}

std::uint64_t FarTier::metadata_bytes() const noexcept {
  return touched_.load(std::memory_order_relaxed) * sizeof(Object);
}

TierStats FarTier::stats() noexcept {
  TierStats s = counters_.stats();
  s.kind = TierKind::rados;
  s.held_bytes = held_bytes();
  s.limit_bytes = options_.limit_bytes;
  return s;
}

// --- checking ---

void FarTier::begin_check() noexcept {
  for (std::uint32_t i = 0; i < touched_.load(); ++i) objects_[i].checked = 0;
}

bool FarTier::check_image(SlotIndex slot, Location location) noexcept {
  const std::uint32_t index = object_of(location);
  if (index >= touched_.load()) {
    return report(machine_, "slot lies in no object", slot.value, location.place());
  }
  Object& o = objects_[index];
  if (offset_of(location) + location.length() + Sealer::kTagBytes > o.fill) {
    return report(machine_, "slot lies behind its object's content", slot.value, location.place());
  }
  if (o.state == State::unused || o.state == State::removing) {
    return report(machine_, "slot lies in an object that is going", slot.value, index);
  }
  ++o.checked;
  return true;
}

bool FarTier::end_check() noexcept {
  if (!read_pool_.idle()) return report(machine_, "read areas are still lent", 0, 0);
  if (!sealer_->idle()) return report(machine_, "cipher states are still lent", 0, 0);
  std::uint64_t pages = 0;
  for (std::uint32_t i = 0; i < touched_.load(); ++i) {
    const Object& o = objects_[i];
    const auto uses = static_cast<std::uint32_t>(o.uses.load());
    if (o.state == State::draining) return report(machine_, "object is still drained", i, 0);
    const bool own =
        o.state == State::filling || o.state == State::sealed || o.state == State::failed;
    if (uses != o.checked + (own ? 1 : 0)) {
      return report(machine_, "object's uses are miscounted", uses, o.checked);
    }
    pages += o.checked;
  }
  if (pages != counters_.pages.load()) {
    return report(machine_, "pages of far memory are miscounted", pages, counters_.pages.load());
  }
  return true;
}

}  // namespace holdfast::swap
