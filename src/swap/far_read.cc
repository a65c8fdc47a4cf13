// FarTier: reading images back.
#include <algorithm>
#include <cerrno>

#include "swap/far_tier.h"

namespace holdfast::swap {
namespace {

// Two images this far apart come in one read: what lies between costs less than a second request.
constexpr std::uint32_t kGapMax = 16 * 1024;
constexpr std::uint64_t kTellAfter = 2'000'000'000;   // ns
constexpr std::uint64_t kTellAgain = 10'000'000'000;  // ns

}  // namespace

void FarTier::hold(Location location) noexcept {
  [[maybe_unused]] const std::uint64_t old =
      objects_[object_of(location)].uses.fetch_add(1, std::memory_order_relaxed);
  HF_DCHECK2(static_cast<std::uint32_t>(old) != 0, location.place(), old);
}

void FarTier::free(Location location, Freeing freeing) noexcept {
  if (freeing == Freeing::hold_only) return drop(object_of(location), 0);
  counters_.pages.fetch_sub(1, std::memory_order_relaxed);
  counters_.image_bytes.fetch_sub(location.length(), std::memory_order_relaxed);
  if (freeing == Freeing::image) counters_.frees.fetch_add(1, std::memory_order_relaxed);
  drop(object_of(location), sealed_units(location.length()));
}

void FarTier::count_loads(std::uint64_t count) noexcept {
  counters_.loads.fetch_add(count, std::memory_order_relaxed);
}

void FarTier::read(std::span<ReadItem> items, ReadSink& sink) noexcept {
  HF_CHECK2(items.size() <= kReadItemsMax, items.size(), kReadItemsMax);
  sync::check_may_wait();
  std::ranges::sort(items, {}, [](const ReadItem& item) { return item.location.place(); });
  const std::uint32_t lease = read_pool_.take();
  ReadArea& area = read_areas_[lease];
  std::uint32_t far = 0;
  sort_out(items, area, far);
  const std::uint32_t extents = merge(items, area, far);
  fetch(area, extents);
  // While those are under way: what has not left, or not for certain.
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    const std::uint32_t b = area.near[i];
    if (b == base::kNoLink) continue;
    open_image(items[i], buffers_[b].data + offset_of(items[i].location), area, sink);
    let_go(b);
  }
  if (extents != 0) await(area);
  for (std::uint32_t e = 0; e < extents; ++e) deliver(items, area, e, sink);
  read_pool_.give(lease);
}

void FarTier::sort_out(std::span<const ReadItem> items, ReadArea& area,
                       std::uint32_t& far) noexcept {
  const Guard guard(mutex_);
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    const Object& o = objects_[object_of(items[i].location)];
    area.near[i] = o.buffer == 0 ? base::kNoLink : o.buffer - 1;
    if (o.buffer == 0) {
      area.far[far++] = i;
    } else {
      ++buffers_[area.near[i]].readers;
    }
  }
}

void FarTier::let_go(std::uint32_t b) noexcept {
  bool freed = false;
  {
    const Guard guard(mutex_);
    Buffer& buffer = buffers_[b];
    freed = --buffer.readers == 0 && !buffer.attached;
    if (freed) release_buffer(b);
  }
  if (!freed) return;
  answers_.fetch_add(1, std::memory_order_release);  // somebody may wait for it
  sync::parking().wake(answers_, sync::kWakeAll);
}

std::uint32_t FarTier::merge(std::span<const ReadItem> items, ReadArea& area,
                             std::uint32_t far) noexcept {
  std::uint32_t extents = 0;
  std::uint64_t bytes = 0;
  for (std::uint32_t k = 0; k < far; ++k) {
    const Location location = items[area.far[k]].location;
    const std::uint32_t begin = offset_of(location);
    const std::uint32_t end = begin + location.length() + Sealer::kTagBytes;
    const std::uint64_t still_needed =
        (far - k) * std::uint64_t{sealed_units(kPageSize)} * kPlaceUnit;
    if (extents > 0) {
      Extent& last = area.extents[extents - 1];
      const std::uint32_t gap = begin > last.end ? begin - last.end : 0;
      if (last.object == object_of(location) && gap <= kGapMax &&
          bytes + gap + still_needed <= read_bytes_) {
        bytes += std::max(end, last.end) - last.end;
        last.end = std::max(end, last.end);
        ++last.count;
        continue;
      }
    }
    area.extents[extents++] = {
        .object = object_of(location), .begin = begin, .end = end, .first = k, .count = 1};
    bytes += end - begin;
  }
  HF_CHECK2(bytes <= read_bytes_, bytes, read_bytes_);
  return extents;
}

void FarTier::fetch(ReadArea& area, std::uint32_t extents) noexcept {
  area.left.store(extents, std::memory_order_release);
  std::uint64_t used = 0;
  for (std::uint32_t e = 0; e < extents; ++e) {
    const Extent& x = area.extents[e];
    area.requests[e] = {.action = sys::ObjectAction::read,
                        .object = objects_[x.object].number,  // constant while it is held
                        .offset = x.begin,
                        .data = area.buffer + used,
                        .bytes = x.end - x.begin,
                        .done = &FarTier::read_answered,
                        .context = &area};
    used += x.end - x.begin;
    store_->submit(area.requests[e]);
  }
}

// The store answers every request, at the latest when its own patience has ended.
void FarTier::await(ReadArea& area) noexcept {
  const std::uint64_t begun = machine_.now_ns();
  bool told = false;
  for (;;) {
    const std::uint32_t left = area.left.load(std::memory_order_acquire);
    if (left == 0) break;
    sync::parking().wait(area.left, left, kTellAfter);
    if (area.left.load() == 0 || machine_.now_ns() - begun < kTellAfter) continue;
    tell_of_waiting(area);
    told = true;
  }
  const std::uint64_t waited = machine_.now_ns() - begun;
  if (!told || waited >= options_.far.wait_ns) return;
  char line[160];
  base::Text(line, sizeof line)
      .add("holdfast: far memory answers again, after ")
      .add(waited / 1'000'000)
      .add(" ms");
  machine_.print_line(line);
}

// Once in a while, whoever waits.
void FarTier::tell_of_waiting(const ReadArea& area) noexcept {
  const std::uint64_t now = machine_.now_ns();
  std::uint64_t last = told_at_.load(std::memory_order_relaxed);
  if (last != 0 && now - last < kTellAgain) return;
  if (!told_at_.compare_exchange_strong(last, now, std::memory_order_relaxed)) return;
  char line[200];
  base::Text(line, sizeof line)
      .add("holdfast: waiting for far memory (")
      .add(store_->description())
      .add(", object ")
      .add_hex(area.requests[0].object)
      .add("), for ")
      .add(options_.far.wait_ns / 1'000'000'000)
      .add(" s at most");
  machine_.print_line(line);
}

void FarTier::deliver(std::span<const ReadItem> items, ReadArea& area, std::uint32_t extent,
                      ReadSink& sink) noexcept {
  const Extent& x = area.extents[extent];
  const sys::ObjectRequest& request = area.requests[extent];
  if (request.error == 0) counters_.read.fetch_add(request.bytes, std::memory_order_relaxed);
  for (std::uint32_t k = x.first; k < x.first + x.count; ++k) {
    const ReadItem& item = items[area.far[k]];
    if (request.error == 0) {
      open_image(item, request.data + (offset_of(item.location) - x.begin), area, sink);
      continue;
    }
    counters_.read_errors.fetch_add(1, std::memory_order_relaxed);
    sink.failed(item, {.code = request.error == ETIMEDOUT ? Errc::timed_out : Errc::io_error,
                       .os_errno = request.error,
                       .doing = "read from far memory",
                       .what = "object",
                       .value = request.object});
  }
}

void FarTier::open_image(const ReadItem& item, const std::byte* sealed, ReadArea& area,
                         ReadSink& sink) noexcept {
  const Location location = item.location;
  const std::uint64_t number = objects_[object_of(location)].number;
  const auto shape = static_cast<std::uint16_t>(static_cast<unsigned>(location.encoding()) << 13 |
                                                location.length());
  // A raw page is opened where it belongs.
  std::byte* const plain = location.encoding() == Encoding::raw ? item.item->page : area.page;
  const bool genuine = sealer_->open({.object = number,
                                      .offset = offset_of(location),
                                      .slot = item.item->slot.value,
                                      .shape = shape},
                                     sealed, location.length(), plain);
  if (genuine) return sink.arrived(item, plain);
  counters_.read_errors.fetch_add(1, std::memory_order_relaxed);
  sink.failed(item, {.code = Errc::corrupted,
                     .os_errno = EBADMSG,
                     .doing = "read from far memory",
                     .what = "object",
                     .value = number});
}

}  // namespace holdfast::swap
