// Our side of the aio comparisons: O_DIRECT transfers of 4 KiB at random places of a file, into and
// out of pages of managed memory, `depth` in flight.
#pragma once

#include <holdfast/holdfast.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "trouble.h"
#include "worker_process.h"
#include "workload.h"

namespace holdfast::bench {

// Which pages are transferred: one for each transfer in flight, as fio has it, or any of the
// memory.
enum IoPart : unsigned { kOwnPages, kAnyPages };

struct IoScene {
  std::string path;
  std::uint64_t file_bytes = 0;
  std::uint64_t memory_bytes = 0;
  bool writes = false;
  unsigned depth = 32;
  double seconds = 2;
};

// One worker: rounds of `seconds`; a figure is thousands of transfers a second.
class ManagedIo final : public Worker {
 public:
  // resident_bytes: what the engine's frames come to; of more memory than that, reclaim evicts the
  // rest continually.
  ManagedIo(const IoScene& scene, std::uint64_t resident_bytes)
      : scene_(scene), resident_bytes_(resident_bytes) {}
  ~ManagedIo() override;

  Result<void> prepare() override;
  Result<double> round(unsigned part) override;
  std::string report() override;

 private:
  static constexpr unsigned kDepthMost = 64;
  struct Slot {
    ManagedIo* owner;
    Buffer buffer;
  };
  static void on_complete(const AioCompletion& done, void* slot) noexcept;
  Result<void> submit(const std::uint32_t* slots, std::size_t count, unsigned part);

  IoScene scene_;
  std::uint64_t resident_bytes_;
  int fd_ = -1;
  std::unique_ptr<Engine> engine_;
  Region region_;
  std::unique_ptr<Aio> aio_;
  Random random_{20};
  std::array<Slot, kDepthMost> slots_{};
  std::array<std::uint32_t, kDepthMost> idle_{};  // slots whose transfer has completed
  std::uint32_t idle_count_ = 0;
  std::uint64_t completed_ = 0;
  std::uint64_t failed_ = 0;
};

}  // namespace holdfast::bench
