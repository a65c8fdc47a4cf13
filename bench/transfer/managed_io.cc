#include "transfer/managed_io.h"

#include <fmt/format.h>
#include <unistd.h>

#include <utility>

#include "paging/engine_side.h"
#include "transfer/disk_file.h"

namespace holdfast::bench {

ManagedIo::~ManagedIo() {
  aio_.reset();
  if (fd_ >= 0) close(fd_);
}

Result<void> ManagedIo::prepare() {
  auto fd = DiskFile::open_direct(scene_.path);
  if (!fd) return std::unexpected(fd.error());
  fd_ = *fd;
  // Compressed pages are part of the budget: half of what does not fit, and 2 % for tables.
  const std::uint64_t excess =
      scene_.memory_bytes > resident_bytes_ ? scene_.memory_bytes - resident_bytes_ : 0;
  auto engine = make_engine(Medium::zram, resident_bytes_ + excess / 2 + scene_.memory_bytes / 50,
                            "/var/tmp");
  if (!engine) return std::unexpected(engine.error());
  engine_ = std::move(*engine);
  auto region = engine_->map_anonymous(scene_.memory_bytes);
  if (!region) return engine_trouble(region.error());
  region_ = std::move(*region);
  Workload(region_.data(), 0, scene_.memory_bytes / kPageBytes, kSideSeed).fill();
  AioOptions options;
  options.drain = AioDrain::caller;
  options.queue_limit = kDepthMost;
  auto aio = Aio::create(*engine_, options);
  if (!aio) return engine_trouble(aio.error());
  aio_ = std::move(*aio);
  for (Slot& slot : slots_) slot.owner = this;
  return {};
}

void ManagedIo::on_complete(const AioCompletion& done, void* context) noexcept {
  auto& slot = *static_cast<Slot*>(context);
  ManagedIo& self = *slot.owner;
  self.failed_ += done.is_whole() ? 0 : 1;
  ++self.completed_;
  self.idle_[self.idle_count_++] = static_cast<std::uint32_t>(&slot - self.slots_.data());
}

Result<void> ManagedIo::submit(const std::uint32_t* slots, std::size_t count, unsigned part) {
  std::array<AioRequest, kDepthMost> requests;
  for (std::size_t i = 0; i < count; ++i) {
    Slot& slot = slots_[slots[i]];
    const std::uint64_t page =
        part == kOwnPages ? slots[i] : random_.below(scene_.memory_bytes / kPageBytes);
    slot.buffer = {region_.data() + page * kPageBytes, kPageBytes};
    const std::uint64_t offset = random_.below(scene_.file_bytes / kPageBytes) * kPageBytes;
    requests[i] = scene_.writes ? AioRequest::write(fd_, {&slot.buffer, 1}, offset)
                                : AioRequest::read(fd_, {&slot.buffer, 1}, offset);
    requests[i].on_complete = &ManagedIo::on_complete;
    requests[i].context = &slot;
  }
  auto accepted = aio_->submit(std::span(requests).first(count));
  if (!accepted) return engine_trouble(accepted.error());
  return {};
}

Result<double> ManagedIo::round(unsigned part) {
  completed_ = failed_ = 0;
  idle_count_ = 0;
  std::array<std::uint32_t, kDepthMost> ready;
  for (std::uint32_t i = 0; i < scene_.depth; ++i) ready[i] = i;
  std::size_t count = scene_.depth;
  const double start = now_seconds();
  double now = start;
  while (now - start < scene_.seconds) {
    if (auto accepted = submit(ready.data(), count, part); !accepted) {
      return std::unexpected(accepted.error());
    }
    if (auto polled = aio_->poll(1); !polled) return engine_trouble(polled.error());
    count = std::exchange(idle_count_, 0);
    std::copy_n(idle_.begin(), count, ready.begin());
    now = now_seconds();
  }
  const double figure = double(completed_) / (now - start) / 1e3;
  if (auto idle = aio_->wait_idle(); !idle) return engine_trouble(idle.error());
  if (failed_ != 0) return failure(fmt::format("{} transfers failed", failed_));
  return figure;
}

std::string ManagedIo::report() {
  return fmt::format("ours: {}, {}\n{}", aio_->backend(), engine_->description(),
                     engine_->stats().to_string());
}

}  // namespace holdfast::bench
