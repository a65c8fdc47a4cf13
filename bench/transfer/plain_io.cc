#include "transfer/plain_io.h"

#include <fmt/format.h>
#include <liburing.h>
#include <unistd.h>

#include "kernel_peer/text_file.h"
#include "plain_memory.h"
#include "scene.h"
#include "transfer/disk_file.h"

namespace holdfast::bench {
namespace {

class PlainIo final : public Worker {
 public:
  explicit PlainIo(const IoScene& scene) : scene_(scene) {}
  ~PlainIo() override {
    if (open_) io_uring_queue_exit(&ring_);
    if (fd_ >= 0) close(fd_);
  }

  Result<void> prepare() override {
    auto fd = DiskFile::open_direct(scene_.path);
    if (!fd) return std::unexpected(fd.error());
    fd_ = *fd;
    auto memory = PlainMemory::map(scene_.memory_bytes);
    if (!memory) return std::unexpected(memory.error());
    memory_ = std::move(*memory);
    Workload(memory_->data(), 0, scene_.memory_bytes / kPageBytes, kSideSeed).fill();
    const int result =
        io_uring_queue_init(64, &ring_, IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    if (result < 0) return skip(fmt::format("io_uring is refused here: errno {}", -result));
    open_ = true;
    return {};
  }

  Result<double> round(unsigned) override {
    std::uint64_t completed = 0, failed = 0;
    unsigned in_flight = 0;
    const double start = now_seconds();
    double now = start;
    while (now - start < scene_.seconds) {
      while (in_flight < scene_.depth) {
        prepare_one();
        ++in_flight;
      }
      if (io_uring_submit_and_wait(&ring_, 1) < 0) return failure("io_uring_submit_and_wait");
      const unsigned reaped = reap(failed);
      completed += reaped;
      in_flight -= reaped;
      now = now_seconds();
    }
    const double figure = double(completed) / (now - start) / 1e3;
    while (in_flight > 0) {
      if (io_uring_submit_and_wait(&ring_, 1) < 0) return failure("io_uring_submit_and_wait");
      in_flight -= reap(failed);
    }
    if (failed != 0) return failure(fmt::format("{} transfers failed", failed));
    return figure;
  }

  std::string report() override {
    return fmt::format("kernel: {} MiB resident, {} MiB swapped", status_kilobytes("RssAnon") >> 10,
                       status_kilobytes("VmSwap") >> 10);
  }

 private:
  void prepare_one() {
    io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
    std::byte* const page =
        memory_->data() + random_.below(scene_.memory_bytes / kPageBytes) * kPageBytes;
    const std::uint64_t offset = random_.below(scene_.file_bytes / kPageBytes) * kPageBytes;
    if (scene_.writes) {
      io_uring_prep_write(entry, fd_, page, kPageBytes, offset);
    } else {
      io_uring_prep_read(entry, fd_, page, kPageBytes, offset);
    }
  }
  unsigned reap(std::uint64_t& failed) {
    unsigned reaped = 0;
    io_uring_cqe* entry = nullptr;
    while (io_uring_peek_cqe(&ring_, &entry) == 0) {
      failed += entry->res == int(kPageBytes) ? 0 : 1;
      io_uring_cqe_seen(&ring_, entry);
      ++reaped;
    }
    return reaped;
  }

  IoScene scene_;
  int fd_ = -1;
  io_uring ring_{};
  bool open_ = false;
  std::unique_ptr<PlainMemory> memory_;
  Random random_{20};
};

}  // namespace

std::unique_ptr<Worker> make_plain_io(const IoScene& scene) {
  return std::make_unique<PlainIo>(scene);
}

}  // namespace holdfast::bench
