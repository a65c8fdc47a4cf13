// Reads and writes of extents through io_uring, all of them in flight at once.
//
// Who owns what: a RingPool owns a few rings; each serves one caller at a time, claimed with one
// atomic exchange, so no lock is held around I/O and a fault handler may wait here. A caller that
// finds none free (more callers than CPUs + 2) goes the plain way.
//
// No buffer is registered with the kernel: that pins its pages, and pinned pages cannot be moved.
// The ring is not set up for a single issuer: whichever thread faults may claim it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>

#include "sys/machine.h"
#include "sys/real/plain_io.h"

namespace holdfast::sys::real {

class Ring;

class RingPool {
 public:
  RingPool() noexcept;
  ~RingPool();
  RingPool(const RingPool&) = delete;
  RingPool& operator=(const RingPool&) = delete;

  // Sets up `count` rings; the errno of the first that fails, unless one was had before. Once.
  [[nodiscard]] int open(std::uint32_t count);

  // Transfers all extents; false: no ring is free and nothing was done. May wait;
  // async-signal-safe.
  [[nodiscard]] bool run(int fd, std::span<IoRequest> requests, IoDirection direction) noexcept;

  // Whether this kernel and container allow io_uring: 0, or the errno of trying. Task context.
  [[nodiscard]] static int probe() noexcept;

 private:
  std::unique_ptr<Ring[]> rings_;
  std::uint32_t count_ = 0;
};

}  // namespace holdfast::sys::real
