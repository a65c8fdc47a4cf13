#include "files/extents.h"

#include <fmt/format.h>

namespace holdfast::bench {
namespace {

constexpr unsigned kDepth = 1024;  // in flight

}  // namespace

void Extents::clear() {
  extents_.clear();
  vectors_.clear();
}

void Extents::add(std::uint64_t offset, std::byte* data, std::uint64_t bytes) {
  const bool joins = !extents_.empty() &&
                     extents_.back().offset + extents_.back().bytes == offset &&
                     extents_.back().bytes + bytes <= kBytesMost;
  if (!joins) extents_.push_back({.offset = offset, .first = vectors_.size()});
  Extent& extent = extents_.back();
  extent.bytes += bytes;
  if (extent.count > 0) {
    iovec& last = vectors_.back();
    if (static_cast<std::byte*>(last.iov_base) + last.iov_len == data) {
      last.iov_len += bytes;
      return;
    }
  }
  vectors_.push_back({.iov_base = data, .iov_len = bytes});
  ++extent.count;
}

Result<std::unique_ptr<ExtentIo>> ExtentIo::create() {
  std::unique_ptr<ExtentIo> made(new ExtentIo());
  const int result = io_uring_queue_init(kDepth, &made->ring_,
                                         IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
  if (result < 0) return skip(fmt::format("io_uring is refused here: errno {}", -result));
  made->open_ = true;
  return made;
}

ExtentIo::~ExtentIo() {
  if (open_) io_uring_queue_exit(&ring_);
}

Result<void> ExtentIo::transfer(int fd, const Extents& extents, bool writes) {
  const auto all = extents.all();
  std::size_t begun = 0;
  unsigned in_flight = 0, failed = 0;
  while (begun < all.size() || in_flight > 0) {
    for (; begun < all.size() && in_flight < kDepth; ++begun, ++in_flight) {
      io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
      const Extents::Extent& extent = all[begun];
      const auto prepare = writes ? io_uring_prep_writev : io_uring_prep_readv;
      prepare(entry, fd, extents.vectors_of(extent), static_cast<unsigned>(extent.count),
              extent.offset);
      entry->user_data = begun;
    }
    // A thread that is woken for each of them would take time from the disk's next requests.
    const unsigned enough = begun < all.size() ? kDepth / 2 : in_flight;
    if (io_uring_submit_and_wait(&ring_, enough) < 0) return failure("io_uring_submit_and_wait");
    in_flight -= reap(all, failed);
  }
  if (failed > 0) return failure(fmt::format("{} of {} transfers failed", failed, all.size()));
  return {};
}

unsigned ExtentIo::reap(std::span<const Extents::Extent> extents, unsigned& failed) {
  unsigned reaped = 0;
  io_uring_cqe* entry = nullptr;
  while (io_uring_peek_cqe(&ring_, &entry) == 0) {
    const bool whole =
        entry->res >= 0 && std::uint64_t(entry->res) == extents[entry->user_data].bytes;
    failed += whole ? 0 : 1;
    io_uring_cqe_seen(&ring_, entry);
    ++reaped;
  }
  return reaped;
}

Result<void> ExtentIo::write_cached(int fd, const Extents& extents) {
  for (const Extents::Extent& extent : extents.all()) {
    const ssize_t written = pwritev(fd, extents.vectors_of(extent), static_cast<int>(extent.count),
                                    static_cast<off_t>(extent.offset));
    if (written < 0) return system_trouble("write");
    if (std::uint64_t(written) != extent.bytes) return failure("a write was cut short");
  }
  return {};
}

}  // namespace holdfast::bench
