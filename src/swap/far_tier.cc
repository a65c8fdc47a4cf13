#include "swap/far_tier.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

namespace holdfast::swap {
namespace {

constexpr std::uint32_t kObjectBytesMin = 16 * 1024;
constexpr std::uint32_t kObjectBytesMax = 65536 * kPlaceUnit;  // an entry's unit has 16 bits
constexpr std::uint32_t kImageBytesLeast =
    256;  // smaller ones on average: the directory is full first
constexpr std::uint64_t kLook = 100'000'000;  // ns: how often who waits for a buffer looks

Error bad_option(const char* what, std::uint64_t value, std::uint64_t limit, const char* remedy) {
  return {.code = Errc::invalid_argument,
          .doing = "create swap",
          .what = what,
          .value = value,
          .limit = limit,
          .remedy = remedy};
}

std::uint32_t images_max_of(std::uint32_t object_bytes) noexcept {
  return object_bytes / kImageBytesLeast;
}
// Every image of a read by itself, and gaps.
constexpr std::uint64_t kReadBytes = kReadItemsMax * 2 * kPageSize;

}  // namespace

FarTier::FarTier(sys::Machine& machine, const TierOptions& options, unsigned index)
    : machine_(machine),
      options_(options),
      index_(index),
      read_pool_(options.reads != 0 ? options.reads : machine.cpu_count() * 2 + 4) {}

FarTier::~FarTier() {
  if (store_ != nullptr) close();
  store_.reset();
  if (staging_size_ != 0) machine_.release(staging_, staging_size_);
  if (table_bytes_ != 0) machine_.release(table_, table_bytes_);
}

Expected<std::unique_ptr<Tier>> FarTier::create(sys::Machine& machine, const TierOptions& options,
                                                std::uint64_t slots_max, unsigned index) {
  std::unique_ptr<FarTier> tier(new FarTier(machine, options, index));
  TRY_VOID(tier->prepare(slots_max));
  return tier;
}

Expected<void> FarTier::check_options() const {
  const std::uint32_t bytes = options_.object_bytes;
  if (!std::has_single_bit(bytes) || bytes < kObjectBytesMin || bytes > kObjectBytesMax) {
    return fail(
        bad_option("object_bytes", bytes, kObjectBytesMax, "a power of two, 16 KiB to 4 MiB"));
  }
  if (options_.staging < 2 || options_.staging > kBuffersMax) {
    return fail(bad_option("staging", options_.staging, kBuffersMax, "2 to 64 objects"));
  }
  if (options_.limit_bytes != 0 && options_.limit_bytes < bytes) {
    return fail(bad_option("limit_bytes", options_.limit_bytes, bytes,
                           "give far memory at least one object, or 0 for no limit"));
  }
  return {};
}

Expected<void> FarTier::prepare(std::uint64_t slots_max) {
  TRY_VOID(check_options());
  const std::uint32_t bytes = options_.object_bytes;
  object_units_ = bytes / kPlaceUnit;
  images_max_ = images_max_of(bytes);
  // All slots' pages raw, in objects that are half dead on average.
  const std::uint64_t needed =
      2 * slots_max * sealed_units(kPageSize) / object_units_ + options_.staging + 64;
  const std::uint64_t nameable = (std::uint64_t{1} << kPlaceBits) / object_units_;
  const std::uint64_t count = std::min({needed, nameable, std::uint64_t{base::kNoLink - 1}});
  const std::uint64_t table = round_up(count * sizeof(Object), kPageSize);
  table_ = TRY(machine_.reserve(table, kPageSize, sys::Purpose::table));
  table_bytes_ = table;
  // Zero-filled memory is a valid Object: unused.
  objects_ = {reinterpret_cast<Object*>(machine_.view(table_)), static_cast<std::size_t>(count)};
  sealer_ = TRY(Sealer::create(machine_));
  TRY_VOID(prepare_staging());
  store_ = TRY(machine_.open_object_store(options_.far));
  return {};
}

Expected<void> FarTier::prepare_staging() {
  read_bytes_ = kReadBytes;
  const std::uint64_t entries = images_max_ * sizeof(SegmentEntry);
  // One buffer and one page more: the mover's.
  const std::uint64_t bytes =
      (options_.staging + 1) * (options_.object_bytes + round_up(entries, kPageSize)) +
      read_pool_.count() * (kReadBytes + kPageSize) + kPageSize;
  staging_ = TRY(machine_.reserve(bytes, kPageSize, sys::Purpose::table));
  staging_size_ = bytes;
  std::byte* memory = machine_.view(staging_);
  const auto take = [&memory](std::uint64_t size) {
    std::byte* const here = memory;
    memory += round_up(size, kPageSize);
    return here;
  };
  buffers_ = std::make_unique<Buffer[]>(options_.staging);
  for (std::uint32_t i = 0; i < options_.staging; ++i) {
    buffers_[i].tier = this;
    buffers_[i].data = take(options_.object_bytes);
    buffers_[i].entries = reinterpret_cast<SegmentEntry*>(take(entries));
  }
  move_bytes_ = take(options_.object_bytes);
  move_entries_ = reinterpret_cast<SegmentEntry*>(take(entries));
  move_area_.page = take(kPageSize);
  read_areas_ = std::make_unique<ReadArea[]>(read_pool_.count());
  for (std::uint32_t i = 0; i < read_pool_.count(); ++i) {
    read_areas_[i].buffer = take(read_bytes_);
    read_areas_[i].page = take(kPageSize);
  }
  for (Removal& removal : removals_) removal.tier = this;
  return {};
}

// --- writing ---

Error FarTier::refusal(int error) const noexcept {
  Error e{.code = Errc::swap_full, .os_errno = error, .doing = "write to far memory"};
  switch (error) {
    case 0:
      e.what = "far memory";
      e.value = held_bytes();
      e.limit = options_.limit_bytes;
      break;
    case ENOSPC:
    case EDQUOT:
      e.what = "pool";
      e.remedy = "the pool is full: give it room";
      break;
    case ETIMEDOUT:
      e.what = "cluster";
      e.remedy = "the cluster does not answer";
      break;
    case ESTALE:
      e.code = Errc::io_error;
      e.what = "lock of the session";
      e.remedy = "somebody else has taken it: nothing more is written under it";
      break;
    default:
      e.code = Errc::io_error;
      e.what = "pool";
      break;
  }
  return e;
}

Verdict FarTier::add(std::uint32_t&, const Image& image, const WriteTerms& terms, Completion&,
                     std::uint64_t& place, Error& error) noexcept {
  HF_DCHECK2(image.length > 0 && image.length <= kPageSize, image.length, image.slot.value);
  Spot spot;
  for (;;) {
    const std::uint32_t seen = answers_.load(std::memory_order_acquire);
    const Room room = reserve(image, terms, spot, error);
    if (room == Room::granted) break;
    if (room == Room::refused) {
      counters_.refused.fetch_add(1, std::memory_order_relaxed);
      if (error.os_errno == ESTALE) tell_of_loss();
      return Verdict::refused;
    }
    sync::check_may_wait();
    sync::parking().wait(answers_, seen, kLook);
  }
  fill(spot, image);
  drop_filler(spot.buffer);
  counters_.pages.fetch_add(1, std::memory_order_relaxed);
  counters_.image_bytes.fetch_add(image.length, std::memory_order_relaxed);
  (terms.compacting ? counters_.moved : counters_.stores).fetch_add(1, std::memory_order_relaxed);
  place = std::uint64_t{spot.object} * object_units_ + spot.offset / kPlaceUnit;
  return Verdict::stored;
}

// Once: for its pages there will be room elsewhere, or there will not.
void FarTier::tell_of_loss() noexcept {
  if (told_of_loss_.exchange(true, std::memory_order_relaxed)) return;
  char line[200];
  base::Text(line, sizeof line)
      .add("holdfast: somebody else has taken the lock of this session (")
      .add(store_->description())
      .add("): nothing more is written there, what is there is still read");
  machine_.print_line(line);
}

FarTier::Room FarTier::reserve(const Image& image, const WriteTerms& terms, Spot& spot,
                               Error& error) noexcept {
  Deeds deeds;
  std::uint32_t full = base::kNoLink;
  Room room = Room::granted;
  {
    const Guard guard(mutex_);
    tend(deeds);
    if (open_ != base::kNoLink) {
      Object& o = objects_[buffers_[open_].object];
      if (static_cast<std::uint32_t>(o.uses.load(std::memory_order_acquire)) == 1) {
        o.number = next_number_++;  // all that was in it has been freed: it begins anew
        o.fill = o.count = 0;
      }
      const std::uint64_t more = sealed_units(image.length) * kPlaceUnit + sizeof(SegmentEntry);
      if (o.count == images_max_ || object_size(o) + more > options_.object_bytes) {
        full = std::exchange(open_, base::kNoLink);
      }
    }
    if (open_ == base::kNoLink) room = open_anew(terms, error);
    if (room == Room::granted) take_spot(image, spot);
  }
  if (full != base::kNoLink) drop_filler(full);
  carry_out(deeds);
  return room;
}

FarTier::Room FarTier::open_anew(const WriteTerms& terms, Error& error) noexcept {
  // What has failed keeps its buffer. While it does, nothing is added to it, but for a stall, which
  // the other buffers may outlast.
  const int last = store_->owns_session() ? last_error_.load(std::memory_order_relaxed) : ESTALE;
  const bool broken =
      last == ESTALE || (failed_.load(std::memory_order_relaxed) != 0 && last != ETIMEDOUT);
  // Every buffer that fills will be an object.
  std::uint64_t to_come = options_.object_bytes;
  for (std::uint32_t b = 0; b < options_.staging; ++b) {
    const std::uint32_t index = buffers_[b].object;
    const bool fills = index != base::kNoLink && objects_[index].state == State::filling;
    to_come += fills ? options_.object_bytes : 0;
  }
  const bool over = options_.limit_bytes != 0 && !terms.compacting &&
                    held_bytes() + to_come > options_.limit_bytes;
  if (broken || over) {
    error = refusal(broken ? last : 0);
    return Room::refused;
  }
  const std::uint32_t b = free_buffer();
  if (b == base::kNoLink) {
    if (in_flight_ == 0 || machine_.now_ns() - heard_at_ < kPatience) return Room::none_now;
    error = refusal(ETIMEDOUT);
    return Room::refused;
  }
  const std::uint32_t index = free_object();
  if (index == base::kNoLink) {
    error = refusal(0);
    return Room::refused;
  }
  Object& o = objects_[index];
  o.number = next_number_++;
  o.fill = o.count = 0;
  o.buffer = b + 1;
  o.state = State::filling;
  o.sent = o.damaged = false;
  o.uses.store(use_word(1, 0), std::memory_order_relaxed);
  Buffer& buffer = buffers_[b];
  buffer.object = index;
  buffer.attached = true;
  buffer.fillers.store(1, std::memory_order_relaxed);
  open_ = b;
  return Room::granted;
}

std::uint32_t FarTier::free_buffer() noexcept {
  for (std::uint32_t b = 0; b < options_.staging; ++b) {
    if (buffers_[b].object == base::kNoLink) return b;
  }
  return base::kNoLink;
}

std::uint32_t FarTier::free_object() noexcept {
  const std::uint32_t index = free_objects_;
  if (index != base::kNoLink) {
    free_objects_ = objects_[index].link;
    return index;
  }
  const std::uint32_t fresh = touched_.load(std::memory_order_relaxed);
  if (fresh >= objects_.size()) return base::kNoLink;
  touched_.store(fresh + 1, std::memory_order_release);
  return fresh;
}

void FarTier::take_spot(const Image& image, Spot& spot) noexcept {
  Buffer& buffer = buffers_[open_];
  Object& o = objects_[buffer.object];
  const std::uint32_t units = sealed_units(image.length);
  spot = {.buffer = open_,
          .object = buffer.object,
          .offset = o.fill,
          .entry = o.count,
          .number = o.number};
  o.fill += units * kPlaceUnit;
  ++o.count;
  o.uses.fetch_add(use_word(1, units), std::memory_order_relaxed);
  live_units_.fetch_add(units, std::memory_order_relaxed);
  buffer.fillers.fetch_add(1, std::memory_order_relaxed);
}

void FarTier::fill(const Spot& spot, const Image& image) noexcept {
  const SegmentEntry entry{.slot = image.slot.value,
                           .unit = static_cast<std::uint16_t>(spot.offset / kPlaceUnit),
                           .shape = static_cast<std::uint16_t>(
                               static_cast<unsigned>(image.encoding) << 13 | image.length)};
  Buffer& buffer = buffers_[spot.buffer];
  buffer.entries[spot.entry] = entry;
  sealer_->seal({.object = spot.number,
                 .offset = spot.offset,
                 .slot = image.slot.value,
                 .shape = entry.shape},
                image.data, image.length, buffer.data + spot.offset);
}

// The last one out sends it: nobody fills it any more.
void FarTier::drop_filler(std::uint32_t buffer) noexcept {
  HF_INTERLEAVE();
  if (buffers_[buffer].fillers.fetch_sub(1, std::memory_order_acq_rel) == 1) seal_up(buffer);
}

void FarTier::seal_up(std::uint32_t b) noexcept {
  Buffer& buffer = buffers_[b];
  {
    const Guard guard(mutex_);
    Object& o = objects_[buffer.object];
    if (static_cast<std::uint32_t>(o.uses.load(std::memory_order_acquire)) == 1) {
      return abandon(buffer.object);  // all that was in it has been freed again
    }
    o.state = State::sealed;
    o.sent = true;
    held_.fetch_add(object_size(o), std::memory_order_relaxed);
    if (in_flight_++ == 0) heard_at_ = machine_.now_ns();
  }
  const Object& o = objects_[buffer.object];
  const auto bytes = static_cast<std::uint32_t>(o.count * sizeof(SegmentEntry));
  sealer_->seal(directory_place(o), reinterpret_cast<const std::byte*>(buffer.entries), bytes,
                buffer.data + o.fill);
  send(b);
}

void FarTier::send(std::uint32_t b) noexcept {
  Buffer& buffer = buffers_[b];
  const Object& o = objects_[buffer.object];
  buffer.request = {.action = sys::ObjectAction::write,
                    .object = o.number,
                    .data = buffer.data,
                    .bytes = object_size(o),
                    .done = &FarTier::write_answered,
                    .context = &buffer};
  store_->submit(buffer.request);
}

// Interrupt context, as the two below.
void FarTier::write_answered(sys::ObjectRequest& request) noexcept {
  auto& buffer = *static_cast<Buffer*>(request.context);
  buffer.tier->note_answer(buffer.answered);
}

void FarTier::removal_answered(sys::ObjectRequest& request) noexcept {
  auto& removal = *static_cast<Removal*>(request.context);
  removal.tier->note_answer(removal.answered);
}

void FarTier::read_answered(sys::ObjectRequest& request) noexcept {
  auto& area = *static_cast<ReadArea*>(request.context);
  if (area.left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
    sync::parking().wake(area.left, sync::kWakeAll);
  }
}

void FarTier::note_answer(std::atomic<bool>& answered) noexcept {
  answered.store(true, std::memory_order_release);
  answers_.fetch_add(1, std::memory_order_release);
  sync::parking().wake(answers_, sync::kWakeAll);
}

}  // namespace holdfast::swap
