#include "sys/sim/sim_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "sys/sim/sim_pages.h"

namespace holdfast::sys {
namespace {

constexpr std::uint64_t kSector = 512;  // what a disk writes whole or not at all

}  // namespace

SimFile::SimFile(SimCore& core) : core_(core) {
  HF_CHECK2(block_bytes() == 512 || block_bytes() == 4096, block_bytes(), 0);
}

SimFile::~SimFile() {
  HF_CHECK(flights_.empty());
  for (const auto& [index, block] : blocks_) give_sim_page(block);
}

void SimFile::read(std::span<IoRequest> requests) noexcept { transfer(requests, Direction::read); }

void SimFile::write(std::span<IoRequest> requests) noexcept {
  transfer(requests, Direction::write);
}

// Extents complete in an order of the seed's choosing, with other threads running in between.
void SimFile::transfer(std::span<IoRequest> requests, Direction direction) noexcept {
  core_.scheduler.point();
  take_off(requests, direction);
  std::vector<std::uint32_t> order(requests.size());
  for (std::uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  for (std::size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[core_.random.below(i)]);
  }
  for (std::uint32_t index : order) {
    wait_in_flight();
    run_one(requests[index], direction);
  }
  wait_in_flight();
  for (const IoRequest& request : requests) land(request);
}

void SimFile::take_off(std::span<IoRequest> requests, Direction direction) noexcept {
  const std::uint64_t mask = block_bytes() - 1;
  for (const IoRequest& r : requests) {
    HF_CHECK2(r.bytes > 0 && (r.bytes & mask) == 0 && (r.offset & mask) == 0, r.offset, r.bytes);
    HF_CHECK2((reinterpret_cast<std::uintptr_t>(r.data) & mask) == 0, r.offset, r.bytes);
    for (const Flight& f : flights_) {
      const bool meets = r.offset < f.end && r.offset + r.bytes > f.begin;
      if (meets && (direction == Direction::write || f.direction == Direction::write)) {
        ++core_.stats.io_overlaps;
      }
    }
    flights_.push_back({r.offset, r.offset + r.bytes, direction});
  }
  core_.stats.in_flight_max = std::max<std::uint64_t>(core_.stats.in_flight_max, flights_.size());
}

void SimFile::land(const IoRequest& request) noexcept {
  const auto flight = std::find_if(flights_.begin(), flights_.end(), [&](const Flight& f) {
    return f.begin == request.offset && f.end == request.offset + request.bytes;
  });
  HF_CHECK2(flight != flights_.end(), request.offset, request.bytes);
  flights_.erase(flight);
}

void SimFile::wait_in_flight() noexcept {
  if (core_.scheduler.current() == nullptr || core_.options.io_latency_ns_max == 0) return;
  if (core_.random.chance(1, 2)) {
    core_.scheduler.sleep_ns(core_.random.between(1, core_.options.io_latency_ns_max));
  } else {
    core_.scheduler.point();
  }
}

void SimFile::run_one(IoRequest& request, Direction direction) noexcept {
  request.error = 0;
  if (direction == Direction::read) {
    read_one(request);
  } else {
    write_one(request);
  }
  core_.scheduler.note(direction == Direction::read ? SimEvent::read : SimEvent::write,
                       request.offset, request.bytes << 8 | static_cast<unsigned>(request.error));
}

void SimFile::read_one(IoRequest& request) noexcept {
  ++core_.stats.extents_read;
  if (core_.failures.hit(FailureKind::file_read)) {
    request.error = EIO;
    std::memset(request.data, 0xE1, request.bytes);
    return;
  }
  for (std::uint64_t done = 0; done < request.bytes; done += kSector) {
    const std::uint64_t at = request.offset + done;
    const auto block = blocks_.find(at >> kPageShift);
    if (block == blocks_.end()) {
      std::memset(request.data + done, 0, kSector);
    } else {
      std::memcpy(request.data + done, block->second + (at & (kPageSize - 1)), kSector);
    }
    if (bad_sectors_.contains(at / kSector)) {
      // Always the same bit of the same sector: a fault of the medium, not of the transfer.
      const std::uint64_t bit = (at / kSector * 0x9e3779b97f4a7c15ULL) >> 52;
      request.data[done + bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
      ++core_.stats.corrupt_reads;
    }
  }
}

void SimFile::write_one(IoRequest& request) noexcept {
  ++core_.stats.extents_written;
  if (core_.failures.hit(FailureKind::file_full) || !has_room(request)) {
    request.error = ENOSPC;
    return;
  }
  if (core_.failures.hit(FailureKind::file_write)) {
    request.error = EIO;
    tear(request);
    return;
  }
  write_sectors(request.offset, request.data, request.bytes);
  if (core_.failures.hit(FailureKind::file_corrupt)) {
    bad_sectors_.insert(request.offset / kSector + core_.random.below(request.bytes / kSector));
  }
}

// A failed write may have reached any of its sectors.
void SimFile::tear(const IoRequest& request) noexcept {
  for (std::uint64_t done = 0; done < request.bytes; done += kSector) {
    if (core_.random.chance(1, 2)) {
      write_sectors(request.offset + done, request.data + done, kSector);
    }
  }
}

void SimFile::write_sectors(std::uint64_t offset, const std::byte* data,
                            std::uint64_t bytes) noexcept {
  for (std::uint64_t done = 0; done < bytes; done += kSector) {
    const std::uint64_t at = offset + done;
    std::byte*& block = blocks_[at >> kPageShift];
    if (block == nullptr) {
      block = take_sim_page();
      std::memset(block, 0, kPageSize);
    }
    std::memcpy(block + (at & (kPageSize - 1)), data + done, kSector);
    if (!bad_sectors_.empty()) bad_sectors_.erase(at / kSector);
  }
}

bool SimFile::has_room(const IoRequest& request) const noexcept {
  if (core_.options.file_limit_bytes == 0) return true;
  std::uint64_t fresh = 0;
  const std::uint64_t last = (request.offset + request.bytes - 1) >> kPageShift;
  for (std::uint64_t b = request.offset >> kPageShift; b <= last; ++b) {
    fresh += blocks_.contains(b) ? 0 : 1;
  }
  return (blocks_.size() + fresh) << kPageShift <= core_.options.file_limit_bytes;
}

int SimFile::punch(std::uint64_t offset, std::uint64_t bytes) noexcept {
  core_.scheduler.point();
  core_.scheduler.note(SimEvent::punch, offset, bytes);
  const std::uint64_t end = offset + bytes;
  for (std::uint64_t at = offset; at < end; at += kSector) {
    bad_sectors_.erase(at / kSector);
    const auto block = blocks_.find(at >> kPageShift);
    if (block == blocks_.end()) continue;
    std::memset(block->second + (at & (kPageSize - 1)), 0, kSector);
    if ((at & (kPageSize - 1)) == 0 && end - at >= kPageSize) {
      give_sim_page(block->second);
      blocks_.erase(block);
    }
  }
  return 0;
}

}  // namespace holdfast::sys
