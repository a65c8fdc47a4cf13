// FileTier: reading images back.
#include <algorithm>
#include <cerrno>

#include "swap/file_tier.h"

namespace holdfast::swap {
namespace {
// Two images this far apart come in one read: what lies between costs less than a second request.
constexpr std::uint64_t kGapMax = 16 * 1024;
}  // namespace

void FileTier::hold(Location location) noexcept { clusters_.use(cluster_of(location), 1, 0); }

void FileTier::free(Location location, Freeing freeing) noexcept {
  const std::uint32_t cluster = cluster_of(location);
  if (freeing == Freeing::hold_only) return clusters_.drop(cluster, 1, 0);
  counters_.pages.fetch_sub(1, std::memory_order_relaxed);
  counters_.image_bytes.fetch_sub(location.length(), std::memory_order_relaxed);
  if (freeing == Freeing::image) counters_.frees.fetch_add(1, std::memory_order_relaxed);
  clusters_.drop(cluster, 1, units_of(room_for(location.length())));
}

void FileTier::count_loads(std::uint64_t count) noexcept {
  counters_.loads.fetch_add(count, std::memory_order_relaxed);
}

void FileTier::read(std::span<ReadItem> items, ReadSink& sink) noexcept {
  HF_CHECK2(items.size() <= kReadItemsMax, items.size(), kReadItemsMax);
  sync::check_may_wait();
  std::sort(items.begin(), items.end(), [](const ReadItem& a, const ReadItem& b) {
    return a.location.place() < b.location.place();
  });
  const std::uint32_t lease = read_pool_.take();
  ReadArea& area = read_areas_[lease];
  const std::uint32_t extents = merge(items, area);
  prepare_requests(items, area, extents);
  file_->read({area.requests.data(), extents});
  for (std::uint32_t e = 0; e < extents; ++e) {
    if (area.requests[e].error == 0) {
      deliver(items, area, e, sink);
    } else {
      read_singly(items, area, e, sink);
    }
  }
  read_pool_.give(lease);
}

FileTier::Extent FileTier::extent_of(Location location, std::uint32_t i) const noexcept {
  const std::uint64_t block = file_->block_bytes();
  const std::uint64_t at = location.place() * kPlaceUnit;
  return {.begin = at / block * block,
          .end = round_up(at + room_for(location.length()), block),
          .first = i,
          .count = 1};
}

std::uint32_t FileTier::merge(std::span<const ReadItem> items, ReadArea& area) noexcept {
  std::uint32_t extents = 0;
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; i < items.size(); ++i) {
    const Extent next = extent_of(items[i].location, i);
    const std::uint64_t still_needed = (items.size() - i) * 2 * kPageSize;
    if (extents > 0) {
      Extent& last = area.extents[extents - 1];
      const std::uint64_t gap = next.begin > last.end ? next.begin - last.end : 0;
      if (gap <= kGapMax && (gap == 0 || bytes + gap + still_needed <= read_bytes_)) {
        const std::uint64_t end = std::max(last.end, next.end);
        bytes += end - last.end;
        last.end = end;
        ++last.count;
        continue;
      }
    }
    area.extents[extents++] = next;
    bytes += next.end - next.begin;
  }
  HF_CHECK2(bytes <= read_bytes_, bytes, read_bytes_);
  return extents;
}

void FileTier::prepare_requests(std::span<const ReadItem> items, ReadArea& area,
                                std::uint32_t extents) noexcept {
  std::uint64_t used = 0;
  for (std::uint32_t e = 0; e < extents; ++e) {
    const Extent& extent = area.extents[e];
    const ReadItem& first = items[extent.first];
    const std::uint64_t bytes = extent.end - extent.begin;
    // A raw page by itself needs no stop on the way.
    const bool direct = sealer_ == nullptr && extent.count == 1 && bytes == kPageSize &&
                        first.location.encoding() == Encoding::raw;
    area.requests[e] = {.data = direct ? first.item->page : area.buffer + used,
                        .bytes = bytes,
                        .offset = extent.begin};
    if (!direct) used += bytes;
    counters_.read.fetch_add(bytes, std::memory_order_relaxed);
  }
}

void FileTier::deliver(std::span<const ReadItem> items, const ReadArea& area, std::uint32_t extent,
                       ReadSink& sink) noexcept {
  const Extent& x = area.extents[extent];
  for (const ReadItem& item : items.subspan(x.first, x.count)) {
    hand_over(item, area.requests[extent].data + (item.location.place() * kPlaceUnit - x.begin),
              area, sink);
  }
}

void FileTier::hand_over(const ReadItem& item, const std::byte* image, const ReadArea& area,
                         ReadSink& sink) noexcept {
  if (sealer_ == nullptr) return sink.arrived(item, image);
  const bool raw = item.location.encoding() == Encoding::raw;
  std::byte* const plain = raw ? item.item->page : area.page;
  const SegmentEntry entry{
      .slot = item.item->slot.value,
      .shape = static_cast<std::uint16_t>(static_cast<unsigned>(item.location.encoding()) << 13 |
                                          item.location.length())};
  if (open(entry, image, plain)) return sink.arrived(item, plain);
  counters_.read_errors.fetch_add(1, std::memory_order_relaxed);
  sink.failed(item, {.code = Errc::corrupted,
                     .os_errno = EBADMSG,
                     .doing = "read from swap",
                     .what = "slot",
                     .value = entry.slot});
}

// A long read failed: only the block that is bad may cost its image.
void FileTier::read_singly(std::span<const ReadItem> items, const ReadArea& area,
                           std::uint32_t extent, ReadSink& sink) noexcept {
  const Extent& x = area.extents[extent];
  const sys::IoRequest& whole = area.requests[extent];
  for (const ReadItem& item : items.subspan(x.first, x.count)) {
    const Extent own = extent_of(item.location, 0);
    sys::IoRequest request{.data = whole.data + (own.begin - x.begin),
                           .bytes = own.end - own.begin,
                           .offset = own.begin,
                           .error = whole.error};
    if (x.count > 1) {
      request.error = 0;
      file_->read({&request, 1});
    }
    if (request.error == 0) {
      hand_over(item, request.data + (item.location.place() * kPlaceUnit - own.begin), area, sink);
    } else {
      counters_.read_errors.fetch_add(1, std::memory_order_relaxed);
      sink.failed(item, {.code = Errc::io_error,
                         .os_errno = request.error,
                         .doing = "read from swap",
                         .what = "slot",
                         .value = item.item->slot.value});
    }
  }
}

}  // namespace holdfast::swap
